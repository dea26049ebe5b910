"""Are pairs of one class more alike than pairs that share nothing?

AUC = P(within > against) + half of ties. Pairs are not independent, since a prompt is
in many of them. So chance deals labels anew, over whole prompts, facts or subjects, and
an interval draws whole subjects.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float64, Int64

from driftmap.core.errors import MeasureError
from driftmap.core.seeds import child_seed
from driftmap.results.statistics import Interval
from driftmap.results.trace_comparison import (
    PAIR_CLASSES,
    SIMILARITIES,
    Ceiling,
    ClassContrast,
    ClassLikeness,
    MeasureArea,
    PairClass,
    ProfileComparison,
)
from driftmap.stats.profile_labels import relabelled
from driftmap.stats.profile_pairs import (
    CODES,
    Labels,
    answer_overlap,
    labels_of,
    length_differences,
    pair_classes,
)

LEVEL = 0.95

CONTRASTS: tuple[tuple[PairClass, PairClass], ...] = (
    ("paraphrase", "nothing shared"),
    ("paraphrase", "same relation"),
    ("same subject", "nothing shared"),
    ("same relation", "nothing shared"),
    ("reversed", "nothing shared, reversed"),
)
"""What is asked, the declared question first. Wordings of a fact share its relation,
and often its answer, so they are also compared with facts of that relation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chance:
    """How chance is drawn.

    Args:
        seed: The run's seed.
        num_permutations: B, relabellings (count).
        num_resamples: Bootstrap draws of subjects (count).
    """

    seed: int
    num_permutations: int = 999
    num_resamples: int = 1000


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Pairs:
    """All pairs of prompts whose profiles are not flat."""

    num: int
    labels: Labels
    first: Int64[np.ndarray, " pair"]
    second: Int64[np.ndarray, " pair"]
    closeness: Float64[np.ndarray, " pair"]
    classes: Int64[np.ndarray, " pair"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Side:
    """Pairs of one class: one and the other of each, and how alike they are."""

    first: Int64[np.ndarray, " pair"]
    second: Int64[np.ndarray, " pair"]
    close: Float64[np.ndarray, " pair"]

    def both(self) -> Int64[np.ndarray, " one"]:
        """Both of each."""
        return np.concatenate([self.first, self.second])


def auc(
    within: Float64[np.ndarray, " pair"], against: Float64[np.ndarray, " other"]
) -> float:
    """How often a pair of one side lies above one of the other, ties half.

    Raises:
        MeasureError: A side is empty.

    >>> auc(np.array([1.0, 2.0]), np.array([1.0, 0.0]))
    0.875
    """
    if not (within.size and against.size):
        raise MeasureError("an area needs pairs on both sides")
    ordered = np.sort(against)
    below = np.searchsorted(ordered, within, "left").sum(dtype=np.int64)
    not_above = np.searchsorted(ordered, within, "right").sum(dtype=np.int64)
    return float((below + not_above) / 2 / (within.size * against.size))


def class_contrasts(
    compared: ProfileComparison,
    chance: Chance,
    own: Float64[np.ndarray, "seed prompt"] | None = None,
    questions: Sequence[tuple[PairClass, PairClass]] = CONTRASTS,
) -> tuple[ClassContrast, ...]:
    """Ask every question that the prompts allow.

    Args:
        compared: All pairs.
        chance: How chance is drawn.
        own: Likeness of each prompt with itself under other noise; NaN without.
        questions: A class, and the one that it is compared with.

    Returns:
        Questions with pairs on both sides; p-values are not adjusted yet.
    """
    pairs = _pairs(compared)
    asked = [
        _contrast(compared, pairs, names, chance, own)
        for names in questions
        if all((pairs.classes == CODES[name]).any() for name in names)
    ]
    return tuple(asked)


def class_likeness(compared: ProfileComparison) -> tuple[ClassLikeness, ...]:
    """Say how alike pairs of each class are, and what else they share."""
    pairs = _pairs(compared)
    found: list[ClassLikeness] = []
    for name in PAIR_CLASSES:
        side = _of(pairs, pairs.classes == CODES[name])
        if not side.close.size:
            continue
        low, high = np.quantile(side.close, [0.1, 0.9])
        shared = answer_overlap(compared.profiles, side.first, side.second)
        longer = length_differences(compared.profiles, side.first, side.second)
        found.append(
            ClassLikeness(
                name=name,
                num_pairs=side.close.size,
                num_facts=np.unique(pairs.labels.fact[side.both()]).size,
                num_subjects=np.unique(pairs.labels.subject[side.both()]).size,
                mean=float(side.close.mean()),
                low=float(low),
                high=float(high),
                answer_overlap=float(shared.mean()),
                length_difference=float(longer.mean()),
            )
        )
    return tuple(found)


def ceiling(own: Float64[np.ndarray, "seed prompt"] | None) -> Ceiling | None:
    """Say how alike prompts are to themselves under other noise.

    Args:
        own: As of `class_contrasts`.

    Returns:
        None where no prompt was traced again.
    """
    if own is None or not np.isfinite(own).any():
        return None
    known = own[np.isfinite(own)]
    return Ceiling(
        likeness=float(known.mean()),
        low=float(np.quantile(known, 0.1)),
        num_prompts=int(np.isfinite(own).any(axis=0).sum()),
        num_seeds=int(np.isfinite(own).any(axis=1).sum()),
    )


def measure_areas(compared: ProfileComparison) -> tuple[MeasureArea, ...]:
    """Say how well every measure tells each class from pairs that share nothing."""
    matrices = {
        "pearson": compared.pearson,
        "earth mover": compared.earth_mover,
        "centre of mass": compared.centres,
        "peak layer": compared.peaks,
        **compared.compat,
    }
    upper = np.triu_indices(len(compared.profiles), 1)
    classes = compared.classes[upper]
    found: list[MeasureArea] = []
    for measure, matrix in matrices.items():
        values = matrix[upper]
        sign = 1.0 if measure in SIMILARITIES else -1.0
        for name, against in CONTRASTS:
            within = values[(classes == CODES[name]) & np.isfinite(values)]
            other = values[(classes == CODES[against]) & np.isfinite(values)]
            if against.startswith("nothing") and within.size and other.size:
                found.append(
                    MeasureArea(
                        measure=measure,
                        name=name,
                        mean=float(within.mean()),
                        mean_other=float(other.mean()),
                        auc=auc(sign * within, sign * other),
                    )
                )
    return tuple(found)


def _pairs(compared: ProfileComparison) -> _Pairs:
    """Pairs of prompts that have a direction; a flat profile is like nothing."""
    first, second = np.triu_indices(len(compared.profiles), 1)
    there = np.isfinite(compared.pearson[first, second])
    first, second = first[there], second[there]
    return _Pairs(
        num=len(compared.profiles),
        labels=labels_of(compared.profiles),
        first=first,
        second=second,
        closeness=compared.pearson[first, second],
        classes=compared.classes[first, second].astype(np.int64),
    )


def _of(pairs: _Pairs, there: Bool[np.ndarray, " pair"]) -> _Side:
    return _Side(
        first=pairs.first[there],
        second=pairs.second[there],
        close=pairs.closeness[there],
    )


def _contrast(
    compared: ProfileComparison,
    pairs: _Pairs,
    names: tuple[PairClass, PairClass],
    chance: Chance,
    own: Float64[np.ndarray, "seed prompt"] | None,
) -> ClassContrast:
    inside, outside = (pairs.classes == CODES[name] for name in names)
    within, against = _of(pairs, inside), _of(pairs, outside)
    themselves = None if own is None else own[np.isfinite(own)]

    def area_of(
        measure: Callable[..., Float64[np.ndarray, " pair"]], sign: float
    ) -> float:
        one, other = (
            sign * measure(compared.profiles, side.first, side.second)
            for side in (within, against)
        )
        return auc(one, other)

    highest = None
    if themselves is not None and themselves.size:
        highest = auc(themselves, against.close)
    return ClassContrast(
        kind=compared.kind,
        name=names[0],
        against=names[1],
        auc=_interval(pairs, within, against, chance),
        ceiling=highest,
        p_value=_p_value(pairs, names, auc(within.close, against.close), chance),
        p_adjusted=None,
        num_permutations=chance.num_permutations,
        num_pairs=within.close.size,
        num_against=against.close.size,
        num_facts=np.unique(pairs.labels.fact[within.both()]).size,
        answer_auc=area_of(answer_overlap, 1.0),
        length_auc=area_of(length_differences, -1.0),
    )


def _p_value(
    pairs: _Pairs, names: tuple[PairClass, PairClass], observed: float, chance: Chance
) -> float:
    """`p = (1 + #{AUC_pi >= AUC}) / (1 + B)`, over relabellings."""
    level = np.full((pairs.num, pairs.num), -1)
    levels, numbers = np.unique(pairs.closeness, return_inverse=True)
    level[pairs.first, pairs.second] = numbers
    labels = pairs.labels
    if names[0] != "reversed":
        there = np.flatnonzero(~pairs.labels.is_reversed)
        level = level[np.ix_(there, there)]
        labels = labels.of(there)
    rng = np.random.default_rng(child_seed(chance.seed, "profiles", *names))
    is_pair, reached = level >= 0, 0
    for drawn in relabelled(labels, names, chance.num_permutations, rng):
        classes = pair_classes(drawn)
        inside, outside = (level[is_pair & (classes == CODES[name])] for name in names)
        if inside.size and outside.size:
            counts = np.bincount(outside, minlength=levels.size)
            below = np.cumsum(counts) - counts / 2
            area = below[inside].sum() / (inside.size * outside.size)
            reached += area >= observed - 1e-12
    return float((1 + reached) / (1 + chance.num_permutations))


def _interval(pairs: _Pairs, within: _Side, against: _Side, chance: Chance) -> Interval:
    """Percentile interval of the area; whole subjects are drawn."""
    subject = pairs.labels.subject
    among = np.unique(subject[np.concatenate([within.both(), against.both()])])
    place = np.searchsorted(among, subject)
    areas = _drawn_areas(
        replace(within, first=place[within.first], second=place[within.second]),
        replace(against, first=place[against.first], second=place[against.second]),
        chance,
    )
    estimate = auc(within.close, against.close)
    ends = np.quantile(areas, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]) if areas else (0, 1)
    return Interval(
        estimate=estimate,
        low=float(min(estimate, ends[0])),
        high=float(max(estimate, ends[1])),
        level=LEVEL,
        num=np.unique(subject[within.both()]).size,
    )


def _drawn_areas(within: _Side, against: _Side, chance: Chance) -> list[float]:
    """Areas when subjects are drawn with replacement; draws without pairs have none.

    A pair of two subjects counts as often as both are drawn, one inside a subject as
    often as that one is: a subject drawn twice is not compared with itself.
    """
    order = np.argsort(against.close, kind="stable")
    left, right = against.first[order], against.second[order]
    other = against.close[order]
    low, high = (np.searchsorted(other, within.close, s) for s in ("left", "right"))
    # Weights are only summed up to where a pair of the class lies.
    cuts = np.unique(np.concatenate([[0], low, high]))
    cuts = cuts[cuts < other.size]
    low, high = np.searchsorted(cuts, low), np.searchsorted(cuts, high)
    first, second = within.first, within.second
    is_inner, is_inner_other = first == second, left == right
    num = 1 + int(max(within.both().max(), against.both().max()))
    rng = np.random.default_rng(child_seed(chance.seed, "profile subjects"))
    areas: list[float] = []
    for _ in range(chance.num_resamples):
        times = rng.multinomial(num, np.full(num, 1 / num)).astype(np.float64)
        weight = times[first] * np.where(is_inner, 1.0, times[second])
        weights = times[left] * np.where(is_inner_other, 1.0, times[right])
        before = np.append(0.0, np.cumsum(np.add.reduceat(weights, cuts)))
        total = weight.sum() * before[-1]
        if total > 0:
            areas.append(float(weight @ (before[low] + before[high]) / 2 / total))
    return areas
