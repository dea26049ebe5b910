"""Would the same experts be chosen again, from other examples or from half of them?"""

import numpy as np
from jaxtyping import Bool, Float64

from driftmap.core.seeds import child_seed
from driftmap.results.expert_evidence import (
    ChoiceRule,
    Chosen,
    ExpertFlags,
    ExpertIntervals,
    HalvesPoint,
    SplitHalves,
)
from driftmap.results.experts import ExpertMap
from driftmap.results.statistics import Interval
from driftmap.stats.experts.likeness import chance_jaccard, kendall_tau
from driftmap.stats.experts.sampled import SampledScore
from driftmap.stats.experts.selection import choose, normalised

Maps = Float64[np.ndarray, "draw bank expert"]
Flags = Bool[np.ndarray, "draw bank expert"]


def bootstrap(
    sampled: SampledScore,
    rule: ChoiceRule,
    unvisited: ExpertFlags | None,
    seed: int,
    num_resamples: int = 1000,
    level: float = 0.95,
) -> ExpertIntervals:
    """Draw clusters of examples again and choose anew from each draw.

    Args:
        sampled: The score.
        rule: How experts are chosen from it.
        unvisited: Experts that are never chosen.
        seed: The run's seed.
        num_resamples: Draws.
        level: Nominal coverage.

    Raises:
        UsageError: As `choose`.
        MeasureError: As `choose`, of all examples or of a draw.
    """
    score = sampled.score
    seen = flags(choose(score, rule, unvisited), score)
    drawn = sampled.resampled(num_resamples, seed)
    groups = chosen_flags(drawn, rule, unvisited)
    ends = [(1 - level) / 2, (1 + level) / 2]
    low, high = np.quantile(drawn, ends, axis=0)
    rank_low, rank_high = np.quantile(_ranks(drawn, rule), ends, axis=0)
    known = ~np.isnan(score)
    return ExpertIntervals(
        name=sampled.name,
        score=score,
        low=low,
        high=high,
        rank_low=np.where(known, rank_low, np.nan),
        rank_high=np.where(known, rank_high, np.nan),
        frequency=np.where(known, groups.mean(axis=0), np.nan),
        jaccard=interval_of(overlaps(groups, seen[None]), level, sampled.num_clusters),
        level=level,
        num_clusters=sampled.num_clusters,
        num_resamples=num_resamples,
    )


def split_halves(
    sampled: SampledScore,
    rule: ChoiceRule,
    unvisited: ExpertFlags | None,
    seed: int,
    num_splits: int = 50,
) -> SplitHalves | None:
    """Choose from two disjoint halves of the examples, again and again.

    Args:
        sampled: The score.
        rule: How experts are chosen from it.
        unvisited: Experts that are never chosen.
        seed: The run's seed.
        num_splits: Random splits.

    Returns:
        With a quarter, a half and all of the clusters, as far as they make two halves;
        None where not even all do.

    Raises:
        UsageError: As `choose`.
        MeasureError: As `choose`, of a half.
    """
    num = sampled.num_clusters
    points: list[HalvesPoint] = []
    for parts in (4, 2, 1):
        if num // parts >= 2:
            rng = np.random.default_rng(child_seed(seed, "expert halves", parts))
            first, second = _halves(sampled, parts, num_splits, rng)
            points.append(_point(first, second, rule, unvisited, num // parts))
    return SplitHalves(name=sampled.name, curve=tuple(points)) if points else None


def chosen_flags(drawn: Maps, rule: ChoiceRule, unvisited: ExpertFlags | None) -> Flags:
    """Which experts every draw chooses."""
    return np.stack([flags(choose(one, rule, unvisited), one) for one in drawn])


def flags(chosen: Chosen, score: ExpertMap) -> ExpertFlags:
    """A group as true and false."""
    marked = np.zeros(score.shape, dtype=bool)
    marked[chosen[:, 0], chosen[:, 1]] = True
    return marked


def overlaps(
    left: Flags, right: Bool[np.ndarray, "_ bank expert"]
) -> Float64[np.ndarray, " draw"]:
    """Jaccard of groups, draw by draw or with one; 1 for two empty ones."""
    common = (left & right).sum(axis=(1, 2))
    either = (left | right).sum(axis=(1, 2))
    return np.where(either > 0, common / np.maximum(either, 1), 1.0)


def interval_of(
    values: Float64[np.ndarray, " draw"],
    level: float,
    num: int,
    estimate: float | None = None,
) -> Interval:
    """The middle of some draws, about their mean or about what was seen.

    Args:
        values: One number per draw.
        level: Share of draws inside.
        num: Independent units behind them.
        estimate: What was seen; None for the mean.
    """
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return Interval(
        estimate=float(values.mean()) if estimate is None else estimate,
        low=float(low),
        high=float(high),
        level=level,
        num=num,
    )


def _ranks(drawn: Maps, rule: ChoiceRule) -> Float64[np.ndarray, "draw bank expert"]:
    """1 for the best of a draw; ties go to the earlier expert."""
    if rule.normalise == "layer":
        drawn = np.stack([normalised(one) for one in drawn])
    flat = drawn.reshape(len(drawn), -1)
    order = np.argsort(-flat, axis=1, kind="stable")
    ranks = np.empty(flat.shape)
    np.put_along_axis(ranks, order, np.arange(1.0, flat.shape[1] + 1), axis=1)
    return ranks.reshape(drawn.shape)


def _halves(
    sampled: SampledScore, parts: int, num_splits: int, rng: np.random.Generator
) -> tuple[Maps, Maps]:
    """Scores of two disjoint halves of one part of the clusters, split by split."""
    own = _half_counts(sampled.own.num_clusters, parts, num_splits, rng)
    if sampled.against is None:
        return sampled.drawn(own[0]), sampled.drawn(own[1])
    against = own
    if not sampled.paired:
        against = _half_counts(sampled.against.num_clusters, parts, num_splits, rng)
    return sampled.drawn(own[0], against[0]), sampled.drawn(own[1], against[1])


def _half_counts(
    num_clusters: int, parts: int, num_splits: int, rng: np.random.Generator
) -> Float64[np.ndarray, "half draw cluster"]:
    half = num_clusters // parts // 2
    everything = np.tile(np.arange(num_clusters), (num_splits, 1))
    order = rng.permuted(everything, axis=1)[:, : 2 * half]
    counts = np.zeros((2, num_splits, num_clusters))
    for side, own in enumerate((order[:, :half], order[:, half:])):
        np.put_along_axis(counts[side], own, 1.0, axis=1)
    return counts


def _point(
    first: Maps,
    second: Maps,
    rule: ChoiceRule,
    unvisited: ExpertFlags | None,
    num_clusters: int,
) -> HalvesPoint:
    a, b = (chosen_flags(half, rule, unvisited) for half in (first, second))
    taus = [kendall_tau(x, y) for x, y in zip(first, second, strict=True)]
    known = np.array([0.0 if tau is None else tau for tau in taus])
    sizes = round(float(a.sum(axis=(1, 2)).mean())), round(float(b.sum((1, 2)).mean()))
    return HalvesPoint(
        num_clusters=num_clusters,
        num_splits=len(first),
        jaccard=interval_of(overlaps(a, b), 0.95, num_clusters),
        tau=interval_of(known, 0.95, num_clusters),
        chance=chance_jaccard(*sizes, int((~np.isnan(first[0])).sum())),
    )
