"""How far apart do two groups' drifts lie, in words that readers know?

Description only: the weights of a group are not independent, so none of these
numbers comes with a p-value.
"""

from dataclasses import replace

import numpy as np
from jaxtyping import Float, Float64

from driftmap.core.errors import MeasureError
from driftmap.results.statistics import EffectLabel, EffectSize, Summary


def summary(values: Float[np.ndarray, " weight"]) -> Summary:
    """Count, mean, standard deviation (ddof 0) and median.

    Raises:
        MeasureError: There is no value.

    >>> summary(np.array([1.0, 2.0, 6.0]))
    Summary(count=3, mean=3.0, std=2.160246899469287, median=2.0)
    """
    if values.size == 0:
        raise MeasureError("an empty group has no mean; was any of it tuned?")
    wide = values.astype(np.float64)
    return Summary(
        count=values.size,
        mean=float(wide.mean()),
        std=float(wide.std()),
        median=float(np.median(wide)),
    )


def cohens_d(group: Summary, baseline: Summary) -> float | None:
    """`(m_g - m_b) / sqrt((s_g^2 + s_b^2) / 2)`, ddof 0 (Cohen 1988).

    Returns:
        d, or None where neither group varies.

    >>> low = Summary(count=2, mean=1.0, std=1.0, median=1.0)
    >>> high = Summary(count=2, mean=1.5, std=1.0, median=1.5)
    >>> cohens_d(high, low)
    0.5
    """
    pooled = ((group.std**2 + baseline.std**2) / 2) ** 0.5
    return (group.mean - baseline.mean) / pooled if pooled > 0 else None


def effect_label(d: float) -> EffectLabel:
    """Cohen's words: below .2 negligible, .5 small, .8 medium, else large.

    >>> effect_label(-0.3)
    'small'
    """
    size = abs(d)
    if size < 0.2:
        return "negligible"
    if size < 0.5:
        return "small"
    return "medium" if size < 0.8 else "large"


def cliffs_delta(
    group: Float[np.ndarray, " weight"], baseline: Float[np.ndarray, " other"]
) -> float:
    """P(group > baseline) - P(group < baseline), ties count for neither.

    Equal to 2 AUC - 1 (Cliff 1993). One sort of the smaller side and a binary
    search of the other: O((n + m) log min(n, m)).

    Args:
        group: Drift of the group's weights.
        baseline: Drift of the baseline's.

    Returns:
        From -1 (all of the group below) to 1.

    Raises:
        MeasureError: One side is empty or holds NaN.

    >>> cliffs_delta(np.array([1.0, 2.0]), np.array([1.0, 0.0, 0.0, 3.0]))
    0.375
    """
    if group.size == 0 or baseline.size == 0:
        raise MeasureError("an empty group compares with nothing; was any of it tuned?")
    if np.isnan(group).any() or np.isnan(baseline).any():
        raise MeasureError("a drift is NaN; did training diverge?")
    if group.size < baseline.size:
        return -cliffs_delta(baseline, group)
    ordered = np.sort(baseline)
    below = np.searchsorted(ordered, group, side="left").sum(dtype=np.int64)
    not_above = np.searchsorted(ordered, group, side="right").sum(dtype=np.int64)
    wins_less_losses = int(below) - (group.size * baseline.size - int(not_above))
    return wins_less_losses / (group.size * baseline.size)


def effect_size(
    group: tuple[str, Float64[np.ndarray, " weight"]],
    baseline: tuple[str, Float64[np.ndarray, " other"]],
    metric: str = "absolute",
) -> EffectSize:
    """Compare the drift of two groups of weights.

    Args:
        group: Name and drift of the group, mobile weights alone.
        baseline: Name and drift of what it is compared with.
        metric: What drifted.

    Raises:
        MeasureError: One side is empty or holds NaN.
    """
    (name, values), (other, others) = group, baseline
    described = effect_from_summaries(
        (name, summary(values)), (other, summary(others)), metric
    )
    return replace(described, cliffs_delta=cliffs_delta(values, others))


def effect_from_summaries(
    group: tuple[str, Summary], baseline: tuple[str, Summary], metric: str = "absolute"
) -> EffectSize:
    """Compare two groups of which only summaries are known.

    Args:
        group: Name and summary of the group.
        baseline: Name and summary of what it is compared with.
        metric: What drifted.

    Returns:
        The effect without Cliff's delta, which needs every value.
    """
    d = cohens_d(group[1], baseline[1])
    return EffectSize(
        group=group[0],
        baseline=baseline[0],
        metric=metric,
        cohens_d=d,
        label=None if d is None else effect_label(d),
        mean_difference=group[1].mean - baseline[1].mean,
        median_difference=group[1].median - baseline[1].median,
        cliffs_delta=None,
        of_group=group[1],
        of_baseline=baseline[1],
    )
