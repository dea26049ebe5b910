"""Which values is an estimate compatible with, given what varies?

Training seeds are the sample, weights are not: with n seeds the t interval has
n - 1 degrees of freedom, however many millions of weights each mean is over.
Rates vary over prompts.
"""

import numpy as np
from jaxtyping import Bool, Float64, Int64
from scipy.special import ndtri, stdtrit

from driftmap.core.errors import MeasureError
from driftmap.core.seeds import child_seed
from driftmap.results.statistics import Interval

_CHUNK = 2**20


def t_interval(values: Float64[np.ndarray, " seed"], level: float) -> Interval | None:
    """Student's t interval of the mean over training seeds.

    Args:
        values: One number per seed.
        level: Nominal coverage, as .95.

    Returns:
        The interval, or None with fewer than two seeds: one has no spread.

    >>> i = t_interval(np.array([-1.0, 0.0, 1.0]), 0.95)
    >>> i.estimate, round(i.high, 3), i.num
    (0.0, 2.484, 3)
    """
    if values.size < 2:
        return None
    mean = float(values.mean())
    error = float(values.std(ddof=1)) / values.size**0.5
    half = float(stdtrit(values.size - 1, (1 + level) / 2)) * error
    return Interval(
        estimate=mean, low=mean - half, high=mean + half, level=level, num=values.size
    )


def exponentiated(interval: Interval) -> Interval:
    """Take an interval of a log ratio to the ratio itself."""
    low, middle, high = np.exp([interval.low, interval.estimate, interval.high])
    return Interval(
        estimate=float(middle),
        low=float(low),
        high=float(high),
        level=interval.level,
        num=interval.num,
    )


def cluster_bootstrap(
    values: Float64[np.ndarray, "seed matrix"],
    cells: Int64[np.ndarray, " matrix"],
    level: float,
    seed: int,
    num_resamples: int = 2000,
) -> Interval | None:
    """Percentile interval of the mean, seeds drawn first, cells within each.

    Stands beside the t interval and never replaces it: with few seeds it covers
    too little (.75 at 3 seeds and .83 at 5, for a nominal .95).

    Args:
        values: One number per seed and matrix.
        cells: Which (layer, part) cell each matrix belongs to, from 0; a cell is
            drawn with all its matrices.
        level: Nominal coverage.
        seed: The run's seed.
        num_resamples: Bootstrap draws.

    Returns:
        The interval, or None with fewer than two seeds.
    """
    num_seeds = len(values)
    if num_seeds < 2:
        return None
    size = np.bincount(cells)
    sums = np.stack([np.bincount(cells, weights=row) for row in values])
    rng = np.random.default_rng(child_seed(seed, "cluster bootstrap"))
    step = max(1, _CHUNK // (num_seeds * size.size))
    means = np.empty(num_resamples)
    for first in range(0, num_resamples, step):
        num = min(step, num_resamples - first)
        drawn = rng.integers(num_seeds, size=(num, num_seeds, 1))
        inside = rng.integers(size.size, size=(num, num_seeds, size.size))
        counted = size[inside].sum(axis=(1, 2))
        means[first : first + num] = sums[drawn, inside].sum(axis=(1, 2)) / counted
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(
        estimate=float(values.mean()),
        low=float(low),
        high=float(high),
        level=level,
        num=num_seeds,
    )


def wilson_interval(num_hits: float, num_trials: int, level: float = 0.95) -> Interval:
    """Score interval of a rate (Wilson 1927), sound near 0 and 1.

    `(k + z^2/2 +- z sqrt(k (n - k) / n + z^2/4)) / (n + z^2)`.

    Args:
        num_hits: k, from 0 to n; a mean over seeds may be fractional.
        num_trials: n, at least 1.
        level: Nominal coverage.

    Raises:
        MeasureError: There is no trial, or more hits than trials.

    >>> i = wilson_interval(50, 100)
    >>> round(i.high - i.estimate, 3)
    0.096
    """
    if not (num_trials >= 1 and 0 <= num_hits <= num_trials):
        raise MeasureError(f"{num_hits} hits in {num_trials} trials are no rate")
    z2 = float(ndtri((1 + level) / 2)) ** 2
    centre = num_hits + z2 / 2
    half = (z2 * (num_hits * (num_trials - num_hits) / num_trials + z2 / 4)) ** 0.5
    rate = num_hits / num_trials
    return Interval(
        estimate=rate,
        low=min(rate, max(0.0, (centre - half) / (num_trials + z2))),
        high=max(rate, min(1.0, (centre + half) / (num_trials + z2))),
        level=level,
        num=num_trials,
    )


def paired_change(
    before: Bool[np.ndarray, " _"],
    after: Bool[np.ndarray, "seed prompt"],
    seed: int,
    level: float = 0.95,
    num_resamples: int = 9999,
) -> Interval:
    """Change of a rate on the same prompts, percentile bootstrap over prompts.

    A prompt keeps all its answers together: the one before tuning and one per
    training seed after it. Seeds are taken as given; their spread is no part of
    this interval.

    Args:
        before: Outcome per prompt before tuning.
        after: Outcome per training seed and prompt after it.
        seed: The run's seed.
        level: Nominal coverage.
        num_resamples: Bootstrap draws.

    Raises:
        MeasureError: There is no prompt or no seed, or prompts differ in number.

    >>> before = np.ones(40, dtype=bool)
    >>> i = paired_change(before, np.zeros((3, 40), dtype=bool), seed=0)
    >>> i.estimate, i.low, i.high
    (-1.0, -1.0, -1.0)
    """
    if after.shape[0] == 0 or before.size == 0 or after.shape[1] != before.size:
        raise MeasureError(
            f"{before.size} outcomes before and {after.shape} after tuning cannot "
            "be paired; ask the same prompts each time"
        )
    change = after.mean(axis=0) - before
    levels, counts = np.unique(change, return_counts=True)
    rng = np.random.default_rng(child_seed(seed, "paired bootstrap"))
    drawn = rng.multinomial(before.size, counts / before.size, size=num_resamples)
    means = drawn @ levels / before.size
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(
        estimate=float(change.mean()),
        low=float(low),
        high=float(high),
        level=level,
        num=before.size,
    )
