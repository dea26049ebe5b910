"""When did behaviour change, against when the weights moved, and how sure is that?

The share of the final change that is reached at a checkpoint is a number for weights
and behaviour alike. Both pass one half at some step; between checkpoints a straight
line is taken. Intervals draw probes anew, each with all its steps, so that what one
probe has in common over training stays together.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64, Int64

from driftmap.core.seeds import child_seed
from driftmap.results.over_training import (
    Course,
    Level,
    OverTraining,
    ProbeCurve,
    Quantity,
    TrainingReadings,
)
from driftmap.results.statistics import Interval
from driftmap.stats.intervals import wilson_interval

NUM_RESAMPLES = 4000
LEVEL = 0.95
LEAST_CLUSTERS = 5
"""Fewer units than these tell nothing of their kind."""

RATES: tuple[Quantity, ...] = ("refusal", "over-refusal", "accuracy", "foil first")
"""Quantities that are 0 or 1 of each probe."""

NEVER_BELOW: tuple[Quantity, ...] = ("kl",)
"""Quantities that cannot fall below the base's 0: that they rise is no finding."""


def over_training(readings: TrainingReadings, seed: int) -> OverTraining:
    """Follow every quantity, and set its half-way step against that of the weights.

    Args:
        readings: Of the base and of each checkpoint.
        seed: The run's seed.
    """
    size = np.sqrt((readings.drift**2).mean(axis=1))
    shares = tuple((size / size[-1]).tolist()) if size[-1] > 0 else ()
    half = half_way(readings.steps, np.array(shares)) if shares else None
    level = 1 - (1 - LEVEL) / max(1, len(readings.curves))
    return OverTraining(
        readings=readings,
        weight_shares=shares,
        weight_half=half,
        courses=tuple(
            _course(curve, readings.steps, half, level, seed)
            for curve in readings.curves
        ),
    )


def half_way(steps: Sequence[int], shares: Float64[np.ndarray, " step"]) -> float:
    """Step at which a share first reaches one half.

    Args:
        steps: Ascending, the first one the base.
        shares: Share of the final change at each; the last one is 1.

    >>> round(half_way([0, 10, 20], np.array([0.0, 0.25, 1.0])), 3)
    13.333
    """
    first = int(np.argmax(shares >= 0.5))
    if first == 0:
        return float(steps[0])
    low, high = shares[first - 1], shares[first]
    part = (0.5 - low) / (high - low)
    return float(steps[first - 1] + part * (steps[first] - steps[first - 1]))


def _course(
    curve: ProbeCurve,
    steps: Sequence[int],
    weight_half: float | None,
    level: float,
    seed: int,
) -> Course:
    draws = _drawn(curve.clusters, child_seed(seed, "training", curve.quantity))
    num = len(set(curve.clusters))
    means = _means(curve.values, draws)
    own = curve.values.mean(axis=1)
    changes = means[:, -1] - means[:, 0]
    change = _interval(float(own[-1] - own[0]), changes, level, num)
    settled = (change.low > 0 or change.high < 0) and num >= LEAST_CLUSTERS
    shares: tuple[Interval, ...] = ()
    half = lag = None
    if settled:
        there = means[np.sign(changes) == np.sign(change.estimate)]
        drawn = (there - there[:, :1]) / (there[:, -1:] - there[:, :1])
        reached = (own - own[0]) / (own[-1] - own[0])
        shares = tuple(
            _interval(float(share), column, LEVEL, num)
            for share, column in zip(reached, drawn.T, strict=True)
        )
        halves = np.array([half_way(steps, row) for row in drawn])
        at = half_way(steps, reached)
        half = _interval(at, halves, LEVEL, num)
        if weight_half is not None:
            lag = _interval(at - weight_half, halves - weight_half, level, num)
    return Course(
        quantity=curve.quantity,
        levels=_levels(curve, steps, means),
        change=change,
        is_settled=settled,
        shares=shares,
        half=half,
        lag=lag,
    )


def _levels(
    curve: ProbeCurve,
    steps: Sequence[int],
    means: Float64[np.ndarray, "draw step"],
) -> tuple[Level, ...]:
    """Mean at each step; of rates of independent probes with Wilson's interval."""
    num = len(set(curve.clusters))
    is_plain = curve.quantity in RATES and num == len(curve.probes)
    return tuple(
        Level(
            step=step,
            value=wilson_interval(float(values.sum()), len(values))
            if is_plain
            else _interval(float(values.mean()), drawn, LEVEL, num),
        )
        for step, values, drawn in zip(steps, curve.values, means.T, strict=True)
    )


def _drawn(clusters: Sequence[str], seed: int) -> Int64[np.ndarray, "draw probe"]:
    """How often each probe comes in each resample of clusters."""
    names, of_probe = np.unique(np.array(clusters), return_inverse=True)
    rng = np.random.default_rng(seed)
    even = np.full(len(names), 1 / len(names))
    return rng.multinomial(len(names), even, NUM_RESAMPLES)[:, of_probe]


def _means(
    values: Float64[np.ndarray, "step probe"], draws: Int64[np.ndarray, "draw probe"]
) -> Float64[np.ndarray, "draw step"]:
    return (draws @ values.T) / draws.sum(axis=1, keepdims=True)


def _interval(
    estimate: float, drawn: Float64[np.ndarray, " draw"], level: float, num: int
) -> Interval:
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return Interval(
        estimate=estimate, low=float(low), high=float(high), level=level, num=num
    )
