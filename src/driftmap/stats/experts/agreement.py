"""Do different methods name the same experts, more than chance would?"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from driftmap.results.expert_evidence import (
    Agreement,
    ChoiceRule,
    ExpertFlags,
    PairAgreement,
)
from driftmap.results.experts import ExpertMap
from driftmap.results.statistics import Interval
from driftmap.stats.experts.likeness import chance_jaccard, kendall_tau
from driftmap.stats.experts.resampling import (
    Flags,
    Maps,
    chosen_flags,
    flags,
    interval_of,
    overlaps,
)
from driftmap.stats.experts.sampled import SampledScore
from driftmap.stats.experts.selection import choose

_LEVEL = 0.95
_MOST_TAUS = 200


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Method:
    """One way of ranking experts.

    Args:
        name: What tables call it.
        score: Of every expert.
        rule: How experts are chosen from it.
        unvisited: Experts that it never chooses; None where it may choose any.
        sampled: What the score is made of; None where examples cannot be drawn again.
    """

    name: str
    score: ExpertMap
    rule: ChoiceRule
    unvisited: ExpertFlags | None = None
    sampled: SampledScore | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Drawn:
    """A method's maps and groups: of all examples, and of every draw."""

    method: Method
    group: ExpertFlags
    maps: Maps | None
    groups: Flags | None


def agreement(
    methods: Sequence[Method], seed: int, num_resamples: int = 1000
) -> Agreement:
    """Compare every method with every other.

    Examples are drawn together for all methods, so that what varies is the examples
    and not the draws. Rank correlations are of the first 200 draws.

    Args:
        methods: Scores over the same experts, of the same examples where they have
            such.
        seed: The run's seed.
        num_resamples: Draws.

    Raises:
        UsageError: As `choose`.
        MeasureError: As `choose`.
    """
    drawn = [_drawn(method, seed, num_resamples) for method in methods]
    return Agreement(
        methods=tuple(method.name for method in methods),
        pairs=tuple(_pair(a, b) for a, b in combinations(drawn, 2)),
    )


def _drawn(method: Method, seed: int, num: int) -> _Drawn:
    group = flags(choose(method.score, method.rule, method.unvisited), method.score)
    maps = groups = None
    if method.sampled is not None:
        maps = method.sampled.resampled(num, seed)
        groups = chosen_flags(maps, method.rule, method.unvisited)
    return _Drawn(method=method, group=group, maps=maps, groups=groups)


def _pair(a: _Drawn, b: _Drawn) -> PairAgreement:
    known = ~np.isnan(a.method.score) & ~np.isnan(b.method.score)
    left, right = a.group.sum(axis=1), b.group.sum(axis=1)
    by_chance = left * right / np.maximum(known.sum(axis=1), 1)
    return PairAgreement(
        left=a.method.name,
        right=b.method.name,
        jaccard=_jaccard(a, b),
        tau=_tau(a, b),
        shared_by_bank=tuple((a.group & b.group).sum(axis=1).tolist()),
        shared_interval=_shared(a, b),
        chance=chance_jaccard(int(left.sum()), int(right.sum()), int(known.sum())),
        chance_by_bank=tuple(by_chance.tolist()),
    )


def _jaccard(a: _Drawn, b: _Drawn) -> Interval:
    seen = float(overlaps(a.group[None], b.group[None])[0])
    if a.groups is None or b.groups is None:
        return _unknown(seen, 0.0)
    return interval_of(overlaps(a.groups, b.groups), _LEVEL, _clusters(a, b), seen)


def _tau(a: _Drawn, b: _Drawn) -> Interval | None:
    seen = kendall_tau(a.method.score, b.method.score)
    if seen is None:
        return None
    if a.maps is None or b.maps is None:
        return _unknown(seen, -1.0)
    pairs = zip(a.maps[:_MOST_TAUS], b.maps[:_MOST_TAUS], strict=True)
    taus = [tau for x, y in pairs if (tau := kendall_tau(x, y)) is not None]
    if not taus:
        return _unknown(seen, -1.0)
    return interval_of(np.array(taus), _LEVEL, _clusters(a, b), seen)


def _shared(a: _Drawn, b: _Drawn) -> tuple[Interval, ...]:
    if a.groups is None or b.groups is None:
        return ()
    counts = (a.groups & b.groups).sum(axis=2).astype(np.float64)
    seen = (a.group & b.group).sum(axis=1)
    num = _clusters(a, b)
    return tuple(
        interval_of(of_bank, _LEVEL, num, float(estimate))
        for of_bank, estimate in zip(counts.T, seen, strict=True)
    )


def _clusters(a: _Drawn, b: _Drawn) -> int:
    return min(d.method.sampled.num_clusters for d in (a, b) if d.method.sampled)


def _unknown(estimate: float, lowest: float) -> Interval:
    """All that is possible: nothing was drawn again."""
    return Interval(estimate=estimate, low=lowest, high=1.0, level=_LEVEL, num=0)
