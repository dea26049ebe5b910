"""Do the chosen experts carry refusal, or would any others like them do as much?

Groups are taken away whole, beside random sets of the same layers and traffic; so is
ever more of each ranking. Then the best are taken one at a time, and compared with what
one backward foresees. After tuning, experts and routers are exchanged.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from driftmap.core.places import ExpertPlace
from driftmap.core.progress import progress
from driftmap.core.seeds import child_seed
from driftmap.intervene.experts import ModelParts, exchanged_parts
from driftmap.intervene.replay import recorded_choices, replayed_choices
from driftmap.recipes.steps.experts.acting import Readings, Subject
from driftmap.results.expert_effects import (
    OUTCOMES,
    AblationEstimate,
    Action,
    DoseCurve,
    EstimateCheck,
    ExampleOutcomes,
    ExpertEffect,
    OutcomeName,
    SwapTest,
)
from driftmap.results.expert_evidence import ExpertCounts
from driftmap.stats.experts.effects import (
    Treated,
    dose_curve,
    estimate_check,
    expert_effect,
)
from driftmap.stats.experts.nulls import matched_experts
from driftmap.stats.experts.paired import Chance
from driftmap.stats.experts.selection import members, places
from driftmap.stats.experts.swap import SwapReadings, swap_test

DOSES = (0, 5, 10, 25, 50, 100, 200)
"""How many of a ranking are taken (count)."""

Told = Callable[[str], None]
"""Hears the name of each set whose effects are known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranking:
    """Experts in the order in which a method would take them.

    Args:
        name: What tables call the group of the first `size`.
        method: How experts were ranked.
        experts: The best first.
        size: Experts of the group (count).
    """

    name: str
    method: str
    experts: tuple[ExpertPlace, ...]
    size: int

    @property
    def group(self) -> tuple[ExpertPlace, ...]:
        """The chosen ones."""
        return self.experts[: self.size]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Matching:
    """What random sets are drawn by.

    Args:
        routed_tokens: Tokens that each expert was sent, `[bank, expert]` (count).
        draws: Random sets beside each set (count).
        chance: Seed, goals and draws of the bootstrap.
    """

    routed_tokens: ExpertCounts
    draws: int
    chance: Chance


def group_effects(
    readings: Readings,
    rankings: Sequence[Ranking],
    matching: Matching,
    actions: Sequence[Action] = ("ablate",),
    told: Told | None = None,
) -> tuple[ExpertEffect, ...]:
    """Act on each group as a whole, beside matched random sets.

    Args:
        readings: Of the model; what was read before is not read again.
        rankings: One per method.
        matching: How random sets are drawn.
        actions: What is done.
        told: Hears of each group; optional.

    Returns:
        Group by group, action by action, every outcome that is read.
    """
    found: list[ExpertEffect] = []
    with progress("act on groups", len(rankings) * len(actions)) as bar:
        for ranking in rankings:
            for action in actions:
                treated = _treated(readings, ranking, ranking.group, matching, action)
                found += _every_outcome(readings, treated, matching.chance)
                bar.advance()
            if told is not None:
                told(ranking.name)
    return tuple(found)


def dose_curves(
    readings: Readings,
    rankings: Sequence[Ranking],
    matching: Matching,
    doses: Sequence[int] = DOSES,
    told: Told | None = None,
) -> tuple[DoseCurve, ...]:
    """Take ever more of each ranking away, beside as many matched random ones.

    Args:
        readings: Of the model.
        rankings: One per method.
        matching: How random sets are drawn.
        doses: k; those beyond the end of a ranking are left out (count).
        told: Hears of each ranking; optional.

    Returns:
        Method by method, every outcome that is read.
    """
    curves: list[DoseCurve] = []
    with progress("take ever more experts", len(rankings) * len(doses)) as bar:
        for ranking in rankings:
            by_outcome: dict[OutcomeName, dict[int, ExpertEffect]] = {}
            for k in sorted(set(doses)):
                if k <= len(ranking.experts):
                    some = ranking.experts[:k]
                    treated = _treated(readings, ranking, some, matching, "ablate")
                    for one in _every_outcome(readings, treated, matching.chance):
                        by_outcome.setdefault(one.outcome, {})[k] = one
                bar.advance()
            curves += [dose_curve(effects) for effects in by_outcome.values()]
            if told is not None:
                told(ranking.name)
    return tuple(curves)


def single_effects(
    readings: Readings, experts: Sequence[ExpertPlace], method: str, chance: Chance
) -> tuple[ExpertEffect, ...]:
    """Take experts away one at a time.

    Args:
        readings: Of the model.
        experts: Which; the best `2 x k` of a ranking, say.
        method: How they were ranked.
        chance: Seed, goals and draws of the bootstrap.

    Returns:
        Expert by expert, every outcome that is read.
    """
    found: list[ExpertEffect] = []
    with progress("take experts one at a time", len(experts)) as bar:
        for expert in dict.fromkeys(experts):
            treated = Treated(
                name=expert.key,
                method=method,
                action="ablate",
                experts=(expert,),
                changed=readings.under("ablate", [expert]),
            )
            found += _every_outcome(readings, treated, chance)
            bar.advance()
    return tuple(found)


def check_estimate(
    estimate: AblationEstimate, effects: Sequence[ExpertEffect]
) -> EstimateCheck | None:
    """Compare foreseen changes with those of experts that were taken one at a time.

    Args:
        estimate: From one backward.
        effects: Of whatever was done; single ablated experts are picked out.

    Returns:
        None where fewer than two single experts were ablated.
    """
    real = {
        one.experts[0]: one.change.estimate
        for one in effects
        if len(one.experts) == 1
        and one.action == "ablate"
        and one.outcome == "refusal_log_odds"
    }
    if len(real) < 2:
        return None
    rows = places(tuple(real), estimate.banks)
    foreseen = estimate.change[rows[:, 0], rows[:, 1]]
    return estimate_check(foreseen, np.array(list(real.values())))


def swap_tests(
    subject: Subject, old: ModelParts, new: ModelParts, chance: Chance
) -> tuple[SwapTest, ...]:
    """Exchange tuned experts and routers for what they were before, in both forms.

    Args:
        subject: The model, in whatever state; it comes back to it.
        old: Experts and routers before tuning.
        new: The same parts after it.
        chance: Seed, goals and draws of the bootstrap.

    Returns:
        By parameters and by replayed choices, every outcome that is read.
    """
    model, banks = subject.model, subject.banks

    def holding(experts: ModelParts, routers: ModelParts) -> ModelParts:
        return ModelParts(experts=experts.experts, parameters=routers.parameters)

    def read(parts: ModelParts) -> ExampleOutcomes:
        with exchanged_parts(model, banks, parts):
            return subject.read()

    with progress("exchange experts and routers", 6) as bar:
        with recorded_choices(model, banks) as old_choices:
            both_old = read(old)
            bar.advance()
        with recorded_choices(model, banks) as new_choices:
            both_new = read(new)
            bar.advance()
        found: dict[Literal["weights", "replay"], SwapReadings] = {}
        crossed = read(holding(new, old)), read(holding(old, new))
        bar.advance(2)
        found["weights"] = _swapped(both_old, both_new, crossed)
        with replayed_choices(model, banks, old_choices):
            new_experts = read(new)
            bar.advance()
        with replayed_choices(model, banks, new_choices):
            new_router = read(old)
            bar.advance()
        found["replay"] = _swapped(both_old, both_new, (new_experts, new_router))
    return tuple(
        swap_test(readings, form, outcome, chance)
        for form, readings in found.items()
        for outcome in _outcomes_of(both_old)
    )


def _swapped(
    both_old: ExampleOutcomes,
    both_new: ExampleOutcomes,
    crossed: tuple[ExampleOutcomes, ExampleOutcomes],
) -> SwapReadings:
    return SwapReadings(
        both_old=both_old,
        new_experts=crossed[0],
        new_router=crossed[1],
        both_new=both_new,
    )


def _treated(
    readings: Readings,
    ranking: Ranking,
    experts: tuple[ExpertPlace, ...],
    matching: Matching,
    action: Action,
) -> Treated:
    banks = [bank.place for bank in readings.subject.banks]
    seed = child_seed(matching.chance.seed, ranking.method, len(experts))
    draws = matching.draws if experts else 0
    matched = matched_experts(
        matching.routed_tokens, places(experts, banks), seed, draws
    )
    groups = [members(group, banks) for group in matched.groups]
    drawn = tuple(readings.under(action, group) for group in groups if group)
    first_k = f"{ranking.name}, first {len(experts)}"
    return Treated(
        name=ranking.name if experts == ranking.group else first_k,
        method=ranking.method,
        action=action,
        experts=experts,
        changed=readings.under(action, experts),
        drawn=drawn,
        num_unmatched=int(matched.num_unmatched.max(initial=0)),
        num_missing=int(matched.num_missing),
    )


def _every_outcome(
    readings: Readings, treated: Treated, chance: Chance
) -> list[ExpertEffect]:
    intact = readings.intact()
    return [
        expert_effect(intact, treated, outcome, chance)
        for outcome in _outcomes_of(intact)
    ]


def _outcomes_of(outcomes: ExampleOutcomes) -> list[OutcomeName]:
    return [name for name in OUTCOMES if outcomes.ids_of(name)]
