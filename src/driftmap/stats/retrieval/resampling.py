"""Which values is a mean over queries compatible with, if ids were drawn again?"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64

from driftmap.core.seeds import child_seed
from driftmap.results.statistics import Interval
from driftmap.stats.intervals import wilson_interval

Values = Float64[np.ndarray, "row query"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Resamples:
    """Ids drawn again, the same draws for everything that is read of them.

    Args:
        ids: Number of each query's id, from 0.
        counts: How often each draw holds each id.
        level: Nominal coverage.
    """

    ids: Int64[np.ndarray, " query"]
    counts: Float64[np.ndarray, "id resample"]
    level: float

    def sums(self, values: Values) -> Float64[np.ndarray, "row id"]:
        """Sum queries of one id; what is NaN adds nothing."""
        order = np.argsort(self.ids, kind="stable")
        starts = np.searchsorted(self.ids[order], np.arange(len(self.counts)))
        return np.add.reduceat(np.nan_to_num(values)[:, order], starts, axis=1)

    def means(self, values: Values) -> Float64[np.ndarray, "row resample"]:
        """Mean over the queries of each draw; NaN where it holds none."""
        known = self.sums((~np.isnan(values)).astype(float))
        if (known == known[:1]).all():
            known = known[:1]
        with np.errstate(invalid="ignore"):
            return (self.sums(values) @ self.counts) / (known @ self.counts)

    def intervals(self, values: Values) -> tuple[Interval | None, ...]:
        """Mean and percentile interval of each row; None where nothing is known."""
        known = ~np.isnan(values)
        ends = [(1 - self.level) / 2, (1 + self.level) / 2]
        found: list[Interval | None] = [None] * len(values)
        rows = np.flatnonzero(known.any(axis=1))
        drawn = self.means(values[rows])
        low, high = _quantiles(drawn, ends)
        for place, row in enumerate(rows):
            found[row] = Interval(
                estimate=float(values[row][known[row]].mean()),
                low=float(low[place]),
                high=float(high[place]),
                level=self.level,
                num=int(np.unique(self.ids[known[row]]).size),
            )
        return tuple(found)

    def rates(self, values: Values) -> tuple[Interval | None, ...]:
        """The same of numbers from 0 to 1: Wilson's interval where all are 0, or 1.

        Resampling what does not vary gives no width; the trials are the ids.
        """
        found = self.intervals(values)
        return tuple(
            wilson_interval(i.estimate * i.num, i.num, self.level)
            if i is not None and is_certain(i)
            else i
            for i in found
        )


def is_certain(interval: Interval) -> bool:
    """All are right, or none is: resampling says nothing of the width."""
    return interval.estimate in (0.0, 1.0)


def draw_resamples(
    ids: Int64[np.ndarray, " query"], num: int, level: float, seed: int
) -> Resamples:
    """Draw as many ids as there are, with replacement, `num` times.

    Args:
        ids: Number of each query's id, each from 0 to the highest at least once.
        num: Draws.
        level: Nominal coverage.
        seed: The run's seed.
    """
    num_ids = int(ids.max()) + 1
    rng = np.random.default_rng(child_seed(seed, "retrieval bootstrap"))
    drawn = rng.multinomial(num_ids, np.full(num_ids, 1 / num_ids), size=num)
    return Resamples(ids=ids, counts=np.ascontiguousarray(drawn.T, float), level=level)


def reported_ids(
    classes: Int64[np.ndarray, " id"], holdout: float, seed: int
) -> frozenset[int]:
    """Draw the ids on which choices are reported and not made.

    Args:
        classes: Numbers of the originals' classes that are truths, each once.
        holdout: Share to report on.
        seed: The run's seed.
    """
    rng = np.random.default_rng(child_seed(seed, "retrieval halves"))
    return frozenset(rng.permutation(classes)[: round(holdout * classes.size)].tolist())


def _quantiles(
    drawn: Float64[np.ndarray, "row resample"], ends: list[float]
) -> Float64[np.ndarray, "end row"]:
    if not len(drawn):
        return np.empty((2, 0))
    if not np.isnan(drawn).any():
        return np.quantile(drawn, ends, axis=1)
    return np.nanquantile(drawn, ends, axis=1)
