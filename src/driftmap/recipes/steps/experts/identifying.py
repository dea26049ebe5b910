"""Which experts does a method choose, by the model as it now is?

The choice, and all that is known of every expert, is a step of the run with files of
its own; the scores stay there sample by sample.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from driftmap.core.progress import phase
from driftmap.recipes.steps.experts.bench import ExpertBench
from driftmap.recipes.steps.experts.passes import Passed
from driftmap.recipes.steps.experts.scoring import RANKED_BY, Scored
from driftmap.results.expert_evidence import ChoiceRule, MatchedScores
from driftmap.results.expert_evidence import Chosen as ChosenRows
from driftmap.results.expert_study import Identified
from driftmap.results.experts import ExpertGroup
from driftmap.stats.experts.nulls import matched_experts, matched_scores
from driftmap.stats.experts.relabelling import relabelled
from driftmap.stats.experts.resampling import bootstrap, split_halves
from driftmap.stats.experts.selection import choose, group_shape, members
from driftmap.store.arrays_apart import load_apart, save_apart
from driftmap.store.codec import open_tensors, save_tensors
from driftmap.store.plain import save_json
from driftmap.store.steps import StepOutcome

IDENTIFIED_KIND = "driftmap.identified_experts"
GROUP_KIND = "driftmap.expert_group"
SCORES_KIND = "driftmap.expert_scores"

MATCHED_DRAWS = 200
"""Matched random groups beside the chosen one (count)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """One method's choice in one round.

    Args:
        identified: The experts, and all that is known.
        step: The step that keeps it.
    """

    identified: Identified
    step: StepOutcome


def identify_step(
    bench: ExpertBench,
    method: str,
    number: int,
    before: Sequence[str],
    passed: Passed | None = None,
) -> Chosen:
    """Choose experts unless it is done: `scores/...`, `groups/...`.

    Args:
        bench: The study; the model is as the rounds before left it.
        method: `gradient` or `routing`.
        number: The round, from 1.
        before: Keys of the steps that made the model what it is.
        passed: What passes over the samples left; by default they are read here.
    """
    name = f"{method}.identify.{number}"

    def make(folder: Path) -> None:
        with phase(f"choose experts by {method}, round {number}"):
            scored = RANKED_BY[method](bench, passed or bench.passed)
        identified = _identified(bench, method, number, scored)
        _save(folder, identified, scored, name)

    identify = bench.plan.identify
    inputs = {
        **bench.inputs,
        "before": list(before),
        "round": number,
        "identify": {
            field: getattr(identify, field)
            for field in (
                "top_k_experts", "statistic", "selection", "top_p", "normalise",
                "contrast", "positions", "pool", "num_bootstrap",
            )
        },
        "texts": bench.sides.texts if method == "routing" else "",
        "batch_size": bench.plan.tune.batch_size,
    }  # fmt: skip
    step = bench.study.run.step(name, inputs, make)
    kept = load_apart(
        bench.study.run.path / "scores", name, Identified, IDENTIFIED_KIND
    )
    return Chosen(identified=kept, step=step)


def kept_arrays(bench: ExpertBench, found: Identified) -> dict[str, np.ndarray]:
    """What the scores of a finished choice are made of, as the run kept it."""
    name = f"{found.group.method}.identify.{found.round}.experts.safetensors"
    statistics = (found.group.statistic, *found.maps)
    wanted = {f"example.{one}": ("float32", 3) for one in statistics}
    for side in ("unsafe", "safe"):
        wanted |= {
            f"{side}.tokens": ("int64", 1),
            f"{side}.chosen": ("int64", 3),
            f"{side}.gate": ("float64", 3),
        }
    with open_tensors(bench.study.run.path / "scores" / name, SCORES_KIND) as file:
        return {
            key: file.read(key, dtype, axes)
            for key, (dtype, axes) in wanted.items()
            if key in file
        }


def rule_of(bench: ExpertBench, method: str) -> ChoiceRule:
    """How experts are chosen from a map of scores."""
    identify = bench.plan.identify
    top_p = identify.selection == "top_p"
    return ChoiceRule(
        k=None if top_p else identify.top_k_experts,
        selection=identify.selection,
        normalise=identify.normalise,
        p=identify.top_p,
        only_positive=method != "gradient" or identify.contrast != "none",
    )


def _identified(
    bench: ExpertBench, method: str, number: int, scored: Scored
) -> Identified:
    rule, seed = rule_of(bench, method), bench.study.seed
    chosen = choose(scored.score, rule, scored.unvisited)
    places = [bank.place for bank in bench.banks]
    rows = tuple(map(tuple, chosen.tolist()))
    group = ExpertGroup(
        name=f"{method}, round {number}",
        method=method,
        statistic=scored.statistic,
        selection=rule.selection,
        experts=members(chosen, places),
        scores=tuple(float(scored.score[row]) for row in rows),
        model_sha256=bench.study.loaded.identity.sha256,
        settings={"normalise": rule.normalise, "round": str(number)},
    )
    sampled, unvisited = scored.sampled, scored.unvisited
    resamples = bench.plan.identify.num_bootstrap
    tests = None
    if sampled is not None and sampled.against is not None:
        tests = relabelled(sampled, seed) if sampled.own.sizes is None else None
    return Identified(
        round=number,
        group=group,
        score=scored.score,
        routed_tokens=scored.routed_tokens,
        intervals=sampled
        and bootstrap(sampled, rule, unvisited, seed, num_resamples=resamples),
        halves=sampled and split_halves(sampled, rule, unvisited, seed),
        shape=group_shape(scored.score, rule, unvisited, scored.routed_tokens),
        tests=tests,
        risk=scored.risk,
        maps=scored.maps,
        matched=_matched(bench, scored, chosen),
        batch_jaccard=scored.batch_jaccard(rule),
    )


def _matched(
    bench: ExpertBench, scored: Scored, chosen: ChosenRows
) -> tuple[MatchedScores, ...]:
    """The group beside random ones, in numbers that did not choose it."""
    if not len(chosen):
        return ()
    sizes = [bank.place.num_experts for bank in bench.banks]
    tokens, seed = scored.routed_tokens, bench.study.seed
    drawn = matched_experts(tokens, chosen, seed, MATCHED_DRAWS, sizes)
    return tuple(
        matched_scores(name, values, chosen, drawn)
        for name, values in scored.others.items()
    )


def _save(folder: Path, identified: Identified, scored: Scored, name: str) -> None:
    scores, groups = folder / "scores", folder / "groups"
    scores.mkdir()
    groups.mkdir()
    save_apart(scores, name, identified, IDENTIFIED_KIND)
    arrays: dict[str, np.ndarray] = dict(scored.arrays)
    save_tensors(scores / f"{name}.experts.safetensors", arrays, SCORES_KIND, {})
    save_json(groups / f"{name}.json", {"group": identified.group}, GROUP_KIND)
