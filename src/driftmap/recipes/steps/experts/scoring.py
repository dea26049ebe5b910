"""What do gradients, and what does routing, say of every expert?"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from driftmap.capture.expert_rows import show_experts
from driftmap.measure.experts.passes import ABS_OF_SUM, with_abs_of_sum
from driftmap.measure.experts.sums import ExpertSumFold
from driftmap.recipes.steps.experts.bench import ExpertBench
from driftmap.recipes.steps.experts.passes import Passed
from driftmap.results.expert_evidence import (
    ChoiceRule,
    ExpertCounts,
    ExpertFlags,
    ExpertPass,
)
from driftmap.results.expert_usage import RiskDifference
from driftmap.results.experts import ExpertMap, RoutingCounts
from driftmap.stats.experts.rates import (
    gate_share_score,
    risk_difference,
    token_share_score,
)
from driftmap.stats.experts.sampled import (
    SampledScore,
    cluster_numbers,
    contrast_score,
    gradient_score,
    risk_score,
    share_score,
)
from driftmap.stats.experts.selection import batch_overlaps, choose

ESTIMATE = "ablation_estimate"

_BEST = 4
"""How many times more experts than are chosen a second pass sums up."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scored:
    """All that one method says of every expert.

    Args:
        statistic: What experts are ranked by.
        score: That number.
        unvisited: Experts without tokens, which cannot be chosen.
        routed_tokens: Tokens that each expert was sent (count).
        sampled: What the score is made of; None where examples cannot be drawn again.
        maps: Other numbers by their column.
        others: Numbers that did not choose, to compare the choice by.
        risk: Shares of unsafe and safe tokens; None where routing was not counted.
        batches: Per batch the scores that published code ranks by; None without.
        arrays: What the run keeps, by name.
    """

    statistic: str
    score: ExpertMap
    unvisited: ExpertFlags
    routed_tokens: ExpertCounts
    sampled: SampledScore | None
    maps: Mapping[str, ExpertMap]
    others: Mapping[str, ExpertMap]
    risk: RiskDifference | None = None
    batches: np.ndarray | None = None
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)

    def batch_jaccard(self, rule: ChoiceRule) -> tuple[float, ...]:
        """Overlap of what each two consecutive batches would choose."""
        if self.batches is None:
            return ()
        return batch_overlaps(self.batches, rule, self.unvisited)


def by_gradient(bench: ExpertBench, passed: Passed) -> Scored:
    """Rank by what the loss of a refusal would move."""
    identify = bench.plan.identify
    found = passed.gradients("unsafe")
    if identify.statistic == ABS_OF_SUM:
        found = _with_sum(bench, found)
    clusters = cluster_numbers([item.cluster for item in bench.sides.train])
    sampled = gradient_score(found.scores, identify.statistic, clusters)
    score = found.scores.scores[identify.statistic]
    maps = {n: m for n, m in found.scores.scores.items() if n != identify.statistic}
    arrays = _arrays_of(found)
    if bench.sides.contrast:
        against = passed.gradients("contrast")
        other = against.scores.scores[identify.statistic]
        maps |= {"unsafe": score, "contrast": other}
        score = score - other
        arrays |= {f"contrast.{n}": a for n, a in _arrays_of(against).items()}
        own = cluster_numbers(against.scores.sample_ids)
        taken_off = gradient_score(against.scores, identify.statistic, own)
        if sampled is not None and taken_off is not None:
            sampled = contrast_score(sampled, taken_off)
    routed = found.scores.routed_tokens.sum(axis=0)
    return Scored(
        statistic=identify.statistic,
        score=score,
        unvisited=routed == 0,
        routed_tokens=routed,
        sampled=sampled,
        maps=maps,
        others={"routed_tokens": routed.astype(np.float64)},
        batches=found.batches,
        arrays=arrays,
    )


def by_routing(bench: ExpertBench, passed: Passed) -> Scored:
    """Rank by how much more unsafe text is sent to an expert than safe text."""
    pool = bench.plan.identify.pool
    unsafe = passed.counts("unsafe text")
    safe = passed.counts("safe text")
    clusters = cluster_numbers([item.cluster for item in bench.sides.train])
    sampled = risk_score(unsafe, safe, pool, clusters)
    routed = unsafe.chosen.sum(axis=0)
    score = sampled.score
    return Scored(
        statistic="risk_difference",
        score=score,
        unvisited=routed == 0,
        routed_tokens=routed,
        sampled=sampled,
        maps={
            "token_share": token_share_score(unsafe, clusters).score,
            "gate_share": gate_share_score(unsafe, clusters).score,
        },
        others={"routed_tokens": routed.astype(np.float64)},
        risk=risk_difference(unsafe, safe, pool),
        arrays={
            f"{side}.{name}": array
            for side, counts in (("unsafe", unsafe), ("safe", safe))
            for name, array in (
                ("tokens", counts.tokens),
                ("chosen", counts.chosen),
                ("gate", counts.gate),
            )
        },
    )


def by_effect(bench: ExpertBench, passed: Passed) -> Scored:
    """Rank by how much more the model would refuse without an expert, foreseen."""
    foreseen = passed.foreseen("prompts")
    found = foreseen.estimate
    routed = foreseen.routing.chosen.sum(axis=0)
    clusters = cluster_numbers([item.cluster for item in bench.sides.train])
    return Scored(
        statistic=ESTIMATE,
        score=found.change,
        unvisited=routed == 0,
        routed_tokens=routed,
        sampled=share_score(ESTIMATE, found.examples, clusters),
        maps={},
        others={"routed_tokens": routed.astype(np.float64)},
        arrays={f"example.{ESTIMATE}": found.examples},
    )


RANKED_BY: Mapping[str, Callable[[ExpertBench, Passed], Scored]] = {
    "gradient": by_gradient,
    "routing": by_routing,
    "effect": by_effect,
}
"""How each method ranks experts."""


def _with_sum(bench: ExpertBench, found: ExpertPass) -> ExpertPass:
    """Sum the gradients of the best experts in a second pass."""
    first = found.scores.scores["mean_batch_abs"]
    num = int((~np.isnan(first)).sum())
    count = min(num, _BEST * bench.plan.identify.top_k_experts)
    best = choose(first, ChoiceRule(k=count))
    fold = ExpertSumFold(bench.banks, best)
    batches = bench.batches(bench.sides.unsafe)
    show_experts(bench.study.loaded.model, bench.banks, batches, fold.take)
    return with_abs_of_sum(found, fold.result())


def _arrays_of(found: ExpertPass) -> dict[str, np.ndarray]:
    """What is kept of a pass."""
    scores = found.scores
    arrays: dict[str, np.ndarray] = {
        f"score.{name}": score for name, score in scores.scores.items()
    }
    arrays |= {f"example.{name}": maps for name, maps in scores.examples.items()}
    return arrays | {"routed_tokens": scores.routed_tokens}


def sampled_again(
    bench: ExpertBench, method: str, arrays: Mapping[str, np.ndarray]
) -> dict[str, SampledScore]:
    """What the scores of a finished choice are made of, from what the run kept.

    Args:
        bench: The study.
        method: How experts were chosen.
        arrays: From `Scored.arrays`.

    Returns:
        By the score's column; none of scores that are no means over examples.
    """
    clusters = cluster_numbers([item.cluster for item in bench.sides.train])
    if method != "routing":
        head = "example."
        named = {
            n.removeprefix(head): a for n, a in arrays.items() if n.startswith(head)
        }
        return {n: share_score(n, a, clusters) for n, a in named.items()}
    unsafe, safe = (_counts_again(bench, arrays, side) for side in ("unsafe", "safe"))
    scores = (
        risk_score(unsafe, safe, bench.plan.identify.pool, clusters),
        token_share_score(unsafe, clusters),
        gate_share_score(unsafe, clusters),
    )
    return {score.name: score for score in scores}


def _counts_again(
    bench: ExpertBench, arrays: Mapping[str, np.ndarray], side: str
) -> RoutingCounts:
    return RoutingCounts(
        banks=tuple(bank.place for bank in bench.banks),
        sample_ids=tuple(item.id for item in bench.sides.train),
        tokens=arrays[f"{side}.tokens"],
        chosen=arrays[f"{side}.chosen"],
        gate=arrays[f"{side}.gate"],
    )
