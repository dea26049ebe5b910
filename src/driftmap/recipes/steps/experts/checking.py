"""Does refusal change when chosen experts are taken out of the untouched model?"""

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from peft import PeftModel
from transformers import PreTrainedModel

from driftmap.capture.expert_estimate import estimate_ablation
from driftmap.core.errors import FamilyError
from driftmap.core.places import ExpertPlace
from driftmap.core.progress import phase, say
from driftmap.evaluate.refusal_odds import OutcomeSamples, opening_ids
from driftmap.families.expert_routing import find_law, see_routing
from driftmap.families.routing_law import RoutingLaw
from driftmap.recipes.steps.experts.acting import Readings, Subject
from driftmap.recipes.steps.experts.bench import ExpertBench
from driftmap.recipes.steps.experts.effects import (
    Matching,
    Ranking,
    check_estimate,
    dose_curves,
    group_effects,
    single_effects,
)
from driftmap.recipes.steps.experts.identifying import Chosen, rule_of
from driftmap.recipes.steps.experts.sides import prompt_of
from driftmap.results.expert_effects import AblationEstimate, Action, ExpertEffects
from driftmap.stats.experts.selection import choose, members
from driftmap.store.arrays_apart import load_apart, save_apart
from driftmap.store.steps import StepFolders

EFFECTS_KIND = "driftmap.expert_effects"
STEP = "effects"


_Groups = Sequence[tuple[ExpertPlace, ...]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Checked:
    """Causal checks of the untouched model.

    Args:
        effects: What taking experts away does.
        estimate: What one backward foresees; None where it was not made.
    """

    effects: ExpertEffects
    estimate: AblationEstimate | None


def checked(bench: ExpertBench, chosen: tuple[Chosen, ...]) -> Checked:
    """Take the chosen experts away unless it is done: `effects/`.

    Args:
        bench: The study; the model is untouched.
        chosen: Each method's choice of the first round.
    """
    checks = bench.plan.checks

    def make(folders: StepFolders) -> None:
        with phase("take chosen experts away"):
            found = _effects(bench, chosen, folders.work)
        home = folders.folder / STEP
        home.mkdir()
        save_apart(home, "effects", found.effects, EFFECTS_KIND)
        if found.estimate is not None:
            save_apart(home, "estimate", found.estimate, EFFECTS_KIND)

    inputs = {
        **bench.inputs,
        "chosen": [one.step.key for one in chosen],
        "draws": checks.ablation_draws,
        "best": checks.ablate_best or 0,
        "resamples": bench.plan.identify.num_bootstrap,
    }
    home = bench.study.run.long_step(STEP, inputs, make).root / STEP
    estimate = None
    if (home / "estimate.json").exists():
        estimate = load_apart(home, "estimate", AblationEstimate, EFFECTS_KIND)
    effects = load_apart(home, "effects", ExpertEffects, EFFECTS_KIND)
    return Checked(effects=effects, estimate=estimate)


def subject_of(bench: ExpertBench) -> Subject:
    """The model and the held-out texts that it is read on."""
    model, sides = bench.study.loaded.model, bench.sides
    assert isinstance(model, PreTrainedModel | PeftModel)
    known = {one.sample_id for one in sides.gave_in}
    return Subject(
        model=model,
        banks=bench.banks,
        samples=OutcomeSamples(
            prompts=tuple(prompt_of(one) for one in sides.asked),
            first_ids=opening_ids((*sides.unsafe, *sides.asked)),
            refusals=tuple(one for one in sides.asked if one.sample_id in known),
            answers=sides.gave_in,
            benign=sides.benign,
        ),
        batch_size=bench.read_size,
        laws=laws_of(bench),
    )


def laws_of(bench: ExpertBench) -> dict[str, RoutingLaw]:
    """The laws of the routers that have a known one, by path of the bank."""
    model, samples = bench.study.loaded.model, bench.sides.unsafe
    device = bench.study.loaded.device
    seen = [
        see_routing(model, bench.banks, torch.from_numpy(ids).long()[None].to(device))
        for ids in (samples[0].token_ids, samples[-1].token_ids)
    ]
    laws: dict[str, RoutingLaw] = {}
    for bank in bench.banks:
        path = bank.place.path
        with suppress(FamilyError):
            laws[path] = find_law(model, bank, seen[0][path], seen[1][path])
    return laws


def _actions(
    bench: ExpertBench, subject: Subject, chosen: _Groups
) -> tuple[Action, ...]:
    """What can be done to these groups: re-routing needs a law, and room for others."""
    if any(bank.place.path not in subject.laws for bank in bench.banks):
        say("routers without a known law: experts are taken away, not re-routed")
        return ("ablate",)
    room = {b.place.path: b.place for b in bench.banks}
    counts = [Counter(expert.path for expert in group) for group in chosen]
    many = [(room[path], n) for count in counts for path, n in count.items()]
    actions: list[Action] = ["ablate"]
    if all(n <= place.num_experts - place.num_chosen for place, n in many):
        actions.append("suppress")
    if all(n <= place.num_chosen for place, n in many):
        actions.append("promote")
    return tuple(actions)


def _effects(bench: ExpertBench, chosen: tuple[Chosen, ...], work: Path) -> Checked:
    subject = subject_of(bench)
    readings = Readings(subject, work)
    rankings = [_ranking(bench, one) for one in chosen if one.identified.group.experts]
    matching = Matching(
        routed_tokens=chosen[0].identified.routed_tokens,
        draws=bench.plan.checks.ablation_draws,
        chance=bench.chance,
    )
    actions = _actions(bench, subject, [ranking.group for ranking in rankings])
    groups = group_effects(readings, rankings, matching, actions)
    k = max((ranking.size for ranking in rankings), default=0)
    doses = dose_curves(readings, rankings, matching, (0, k // 4, k // 2, k, 2 * k))
    best = bench.plan.checks.ablate_best
    singles = tuple(
        effect
        for ranking in rankings
        for effect in single_effects(
            readings, ranking.experts[: best or 0], ranking.method, bench.chance
        )
    )
    estimate = None
    if all(bank.told_choice for bank in bench.banks):
        estimate = estimate_ablation(
            subject.model,
            bench.banks,
            bench.batches(subject.samples.prompts, "all"),
            subject.samples.first_ids,
        )
    effects = ExpertEffects(
        intact=readings.intact(),
        effects=(*groups, *singles),
        doses=doses,
        estimate=estimate and check_estimate(estimate, singles),
    )
    return Checked(effects=effects, estimate=estimate)


def _ranking(bench: ExpertBench, one: Chosen) -> Ranking:
    """All experts that a method could choose, the chosen ones first."""
    identified = one.identified
    group = identified.group
    rule = replace(
        rule_of(bench, group.method),
        k=int((~np.isnan(identified.score)).sum()),
        selection="global",
        p=None,
    )
    order = choose(identified.score, rule, identified.routed_tokens == 0)
    ranked = members(order, [bank.place for bank in bench.banks])
    others = tuple(expert for expert in ranked if expert not in set(group.experts))
    return Ranking(
        name=group.method,
        method=group.method,
        experts=(*group.experts, *others),
        size=len(group.experts),
    )
