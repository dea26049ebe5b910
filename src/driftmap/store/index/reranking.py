"""How many of the best estimates must be measured exactly before the order is safe?"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float64, Int64

from driftmap.results.index_search import NOBODY, Nearest, Ranking

MeasureCosines = Callable[
    [Int64[np.ndarray, "query candidate"]], Float64[np.ndarray, "query candidate"]
]
"""Gives exact cosines of queries with samples of the index; `NOBODY` fills up."""

SAFETY = 4.0
"""Standard errors by which an estimate lies below the last one that is shown."""


def rerank(
    found: Nearest, top: int, max_rerank: int, measure: MeasureCosines
) -> Ranking:
    """Measure the best estimates exactly, until no other sample may belong among them.

    Measured are all samples down to the last one whose estimate is less than four
    standard errors below that of the last sample shown; then down to the last one that
    is so near to the exact cosine of the last sample shown, until none is left.

    Args:
        found: `max_rerank + 1` samples per query.
        top: Samples per query that are shown (count).
        max_rerank: Samples per query that are measured at most (count).
        measure: Measures exact cosines; called a few times with new pairs only.

    Returns:
        The best `top` by exact cosine; equal ones in index order.
    """
    there = found.samples != NOBODY
    exact = np.full(found.samples.shape, np.nan)
    highest = np.where(there, found.score + SAFETY * found.error, -np.inf)
    num_there = there.sum(1)
    last = np.minimum(top, num_there) - 1
    bar = np.where(last < 0, np.inf, found.score[np.arange(len(last)), last])
    num_measured = np.zeros(len(there), np.int64)
    while True:
        needed = np.maximum(_num_above(highest, bar), np.minimum(top, num_there))
        wanted = np.maximum(np.minimum(needed, max_rerank), num_measured)
        if (wanted == num_measured).all():
            break
        exact = np.fmax(exact, _measured(found, num_measured, wanted, measure))
        num_measured = wanted
        bar = np.array([_kth_best(row, top) for row in exact])
    order = _best_first(exact, found.samples)[:, :top]
    score = np.take_along_axis(exact, order, 1)
    nobody = np.isnan(score)
    samples = np.take_along_axis(found.samples, order, 1)
    return Ranking(
        samples=np.where(nobody, NOBODY, samples),
        score=score,
        error=np.zeros(score.shape),
        is_exact=~nobody,
        num_measured=num_measured,
        is_settled=needed <= num_measured,
    )


def as_estimated(found: Nearest, top: int) -> Ranking:
    """Show the best estimates as they are, nothing measured."""
    num_queries = len(found.samples)
    return Ranking(
        samples=found.samples[:, :top],
        score=found.score[:, :top],
        error=found.error[:, :top],
        is_exact=np.zeros((num_queries, min(top, found.samples.shape[1])), bool),
        num_measured=np.zeros(num_queries, np.int64),
        is_settled=np.zeros(num_queries, bool),
    )


def _num_above(
    highest: Float64[np.ndarray, "query rank"], bar: Float64[np.ndarray, " query"]
) -> Int64[np.ndarray, " query"]:
    """Samples down to the last one that may still belong above the bar."""
    near = highest >= bar[:, None]
    from_the_end = np.argmax(near[:, ::-1], axis=1)
    return np.where(near.any(1), near.shape[1] - from_the_end, 0)


def _measured(
    found: Nearest,
    begin: Int64[np.ndarray, " query"],
    end: Int64[np.ndarray, " query"],
    measure: MeasureCosines,
) -> Float64[np.ndarray, "query rank"]:
    """Exact cosines of ranks from `begin` to `end` of each query; NaN elsewhere."""
    ranks = np.arange(found.samples.shape[1])
    new = (ranks >= begin[:, None]) & (ranks < end[:, None])
    new &= found.samples != NOBODY
    first, stop = int(begin.min()), int(end.max())
    asked = np.where(new, found.samples, NOBODY)[:, first:stop]
    exact = np.full(found.samples.shape, np.nan)
    exact[:, first:stop] = np.where(asked == NOBODY, np.nan, measure(asked))
    return exact


def _kth_best(exact: Float64[np.ndarray, " rank"], top: int) -> float:
    known = np.sort(exact[~np.isnan(exact)])[::-1]
    return float(known[min(top, len(known)) - 1]) if len(known) else np.inf


def _best_first(
    exact: Float64[np.ndarray, "query rank"], samples: Int64[np.ndarray, "query rank"]
) -> Int64[np.ndarray, "query rank"]:
    descending = np.where(np.isnan(exact), np.inf, -exact)
    return np.lexsort((samples, descending), axis=1)
