"""How far did some weights shift between two models, with intervals that hold together?

Intervals draw subjects anew. Those of one call hold for all its columns together, by
the largest deviation of any column in each draw, in units of its standard error
(Westfall and Young 1993), and are widened as Student's t is against the normal.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64
from scipy.special import ndtr, stdtrit

from driftmap.core.seeds import child_seed
from driftmap.results.attention import LEAST_SUBJECTS
from driftmap.results.attention_change import Shift
from driftmap.results.statistics import Interval

NUM_RESAMPLES = 2000
LEVEL = 0.95


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Moved:
    """Changes of weight, one row for each subject.

    Args:
        plain: On the tokens that are asked about.
        control: On as many tokens elsewhere; None where nothing is taken off.
    """

    plain: Float64[np.ndarray, "subject column"]
    control: Float64[np.ndarray, "subject column"] | None

    @property
    def excess(self) -> Float64[np.ndarray, "subject column"]:
        """What moved beyond the control."""
        return self.plain if self.control is None else self.plain - self.control

    def times(self, matrix: Float64[np.ndarray, "column mean"]) -> "Moved":
        """Averages over columns, such as the heads of a layer."""
        control = None if self.control is None else self.control @ matrix
        return Moved(plain=self.plain @ matrix, control=control)


def shifts(edited: Moved, untouched: Moved | None, seed: int) -> list[Shift]:
    """Say how far each column shifted; its net intervals hold for all columns together.

    Args:
        edited: One row for each subject that was edited.
        untouched: One for each other subject; None without any.
        seed: The run's seed.

    Returns:
        With fewer than five subjects of either kind, net intervals are of single
        columns, for want of anything to correct by.

    >>> moved = Moved(plain=np.full((6, 1), 0.3), control=np.full((6, 1), 0.1))
    >>> shifts(moved, None, seed=0)[0].net.estimate.__round__(6)
    0.2
    """
    excess = edited.excess
    other = None if untouched is None else untouched.excess
    rng = np.random.default_rng(child_seed(seed, "attention change"))
    draws = _draws(rng, len(excess))
    other_draws = None if other is None else _draws(rng, len(other))
    net = _net(excess, draws, other, other_draws)
    plain = _simple(edited.plain, draws)
    control = None if edited.control is None else _simple(edited.control, draws)
    beside = None
    if other is not None and other_draws is not None:
        beside = _simple(other, other_draws)
    return [
        Shift(
            plain=plain[column],
            control=None if control is None else control[column],
            untouched=None if beside is None else beside[column],
            net=net[column],
        )
        for column in range(excess.shape[1])
    ]


def over_subjects(
    values: Sequence[float | None], subjects: Sequence[str], seed: int
) -> Interval | None:
    """Mean over subjects, the prompts of each averaged first; None without any value.

    Args:
        values: One for each prompt; None where it has none.
        subjects: Whose prompt each is.
        seed: The run's seed.

    >>> over_subjects([1.0, 3.0, 4.0, None], ["a", "a", "b", "c"], seed=0).estimate
    3.0
    """
    rows: dict[str, list[float]] = {}
    for value, subject in zip(values, subjects, strict=True):
        if value is not None:
            rows.setdefault(subject, []).append(value)
    if not rows:
        return None
    means = np.array([[np.mean(own)] for own in rows.values()])
    rng = np.random.default_rng(child_seed(seed, "attention change"))
    return _simple(means, _draws(rng, len(means)))[0]


def _draws(rng: np.random.Generator, num: int) -> Float64[np.ndarray, "draw subject"]:
    """Share of each subject in each resample."""
    drawn = rng.multinomial(num, np.full(num, 1 / num), NUM_RESAMPLES)
    return drawn / num


def _simple(
    values: Float64[np.ndarray, "subject column"], draws: np.ndarray
) -> list[Interval]:
    """Percentile intervals, each of its own column."""
    return _intervals(values.mean(axis=0), draws @ values, len(values))


def _intervals(means: np.ndarray, resampled: np.ndarray, num: int) -> list[Interval]:
    tail = (1 - LEVEL) / 2
    ends = np.quantile(resampled, [tail, 1 - tail], axis=0)
    return _told(means, ends[0], ends[1], num)


def _net(
    excess: Float64[np.ndarray, "subject column"],
    draws: np.ndarray,
    other: Float64[np.ndarray, "untouched column"] | None,
    other_draws: np.ndarray | None,
) -> list[Interval]:
    """Difference of two means; intervals of all columns together."""
    mean, square, moved = _spread(excess, draws)
    if other is not None and other_draws is not None:
        other_mean, other_square, other_moved = _spread(other, other_draws)
        mean, moved = mean - other_mean, moved - other_moved
        square = square + other_square
    num, error = len(excess), np.sqrt(square)
    if min(num, num if other is None else len(other)) < LEAST_SUBJECTS:
        return _intervals(mean, mean + moved, num)
    apart = np.divide(np.abs(moved), error, out=np.zeros_like(moved), where=error > 0)
    reach = float(np.quantile(apart.max(axis=1), LEVEL))
    half = float(stdtrit(num - 1, ndtr(reach))) * error
    return _told(mean, mean - half, mean + half, num)


def _spread(
    values: np.ndarray, draws: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean, its squared standard error, and how far every resample lies from it."""
    mean = values.mean(axis=0)
    centred = values - mean
    square = (centred**2).mean(axis=0) / max(1, len(values) - 1)
    return mean, square, draws @ centred


def _told(
    means: np.ndarray, lows: np.ndarray, highs: np.ndarray, num: int
) -> list[Interval]:
    return [
        Interval(estimate=float(m), low=float(low), high=float(high), level=LEVEL,
                 num=num)
        for m, low, high in zip(means, lows, highs, strict=True)
    ]  # fmt: skip
