"""Do two kinds of training runs differ, over training seeds and over prompts?

Both are samples: another seed gives another model, another prompt another answer. With
few seeds neither interval alone covers both, so a difference must stand in each.
"""

import numpy as np
from jaxtyping import Float64
from scipy.special import stdtr, stdtrit

from driftmap.core.errors import MeasureError
from driftmap.results.freeze_study import ArmKind, FreezeContrast
from driftmap.results.statistics import Interval
from driftmap.stats.contrasts import mean_interval, paired_difference, sign_flip_p
from driftmap.stats.intervals import t_interval, wilson_interval

Readings = Float64[np.ndarray, "_ _"]
"""One row per training seed, one column per prompt."""

MOST_SEEDS = 1000
"""More seeds than this are not counted."""


def freeze_contrast(
    outcome: str,
    share: float,
    kinds: tuple[ArmKind, ArmKind],
    own: Readings,
    other: Readings,
    seed: int,
) -> FreezeContrast:
    """Compare two kinds of training runs of one share, paired by seed and prompt.

    Args:
        outcome: What was read.
        share: What part was frozen.
        kinds: What was frozen in the first, and in the second.
        own: Readings of the first, one row per training seed.
        other: The same of the second, in the same order.
        seed: The run's seed, for the bootstrap.

    Raises:
        MeasureError: The two cannot be paired.

    >>> one, none = np.ones((3, 20)), np.zeros((3, 20))
    >>> found = freeze_contrast("x", 1.0, ("group", "free"), one, none, seed=0)
    >>> found.by_seed, found.over_prompts.low, found.differs
    ((1.0, 1.0, 1.0), 1.0, True)
    """
    if own.shape != other.shape or own.size == 0:
        raise MeasureError(
            f"{outcome}: readings of {own.shape} and {other.shape} (seeds, prompts) "
            "cannot be paired; ask the same prompts each time"
        )
    by_seed = (own - other).mean(axis=1)
    means = own.mean(axis=0), other.mean(axis=0)[None]
    wide = paired_difference(*means, seed), paired_difference(*means, seed, 0.9)
    narrow = t_interval(by_seed, 0.9)
    return FreezeContrast(
        outcome=outcome,
        share=share,
        kind=kinds[0],
        against=kinds[1],
        own=level_of(own, seed),
        other=level_of(other, seed),
        by_seed=tuple(by_seed.tolist()),
        over_seeds=t_interval(by_seed, 0.95),
        over_prompts=wide[0],
        within=None
        if narrow is None
        else max(abs(end) for i in (narrow, wide[1]) for end in (i.low, i.high)),
        p_value=None
        if narrow is None
        else max(_t_p(by_seed), sign_flip_p(*means, seed)),
        p_adjusted=None,
        is_declared=False,
    )


def level_of(readings: Readings, seed: int) -> Interval:
    """Mean over seeds and prompts: Wilson over prompts for rates, else a bootstrap."""
    means = readings.mean(axis=0)
    if np.isin(readings, (0.0, 1.0)).all():
        return wilson_interval(float(means.sum()), means.size)
    return mean_interval(means, seed)


def seeds_needed(by_seed: Float64[np.ndarray, " seed"], margin: float) -> int | None:
    """Training seeds whose 95 % t interval would be no wider than the margin each way.

    Args:
        by_seed: Differences of the seeds at hand: their spread is taken as it is.
        margin: Difference that matters.

    Returns:
        At least 3; None with one seed, or where more than a thousand would be needed.

    >>> seeds_needed(np.array([-0.1, 0.0, 0.1]), 0.1)
    7
    """
    if by_seed.size < 2:
        return None
    spread = float(by_seed.std(ddof=1))
    for num in range(3, MOST_SEEDS + 1):
        if float(stdtrit(num - 1, 0.975)) * spread / num**0.5 <= margin:
            return num
    return None


def prompts_needed(over_prompts: Interval, margin: float) -> int:
    """Prompts at which the interval over prompts would be no wider than the margin.

    >>> interval = Interval(estimate=0.0, low=-0.2, high=0.2, level=0.95, num=50)
    >>> prompts_needed(interval, 0.1)
    200
    """
    half = (over_prompts.high - over_prompts.low) / 2
    return max(1, round(over_prompts.num * (half / margin) ** 2))


def _t_p(values: Float64[np.ndarray, " seed"]) -> float:
    """Two-sided p-value of the mean, t test over seeds."""
    mean, error = float(values.mean()), float(values.std(ddof=1)) / values.size**0.5
    if error == 0:
        return float(mean == 0)
    return float(2 * stdtr(values.size - 1, -abs(mean) / error))
