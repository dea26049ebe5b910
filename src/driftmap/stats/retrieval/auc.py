"""Does a matching pair lie above a non-matching one, over all pairs?

Accuracy saturates where the truth always wins its own list; this asks of all lists at
once whether one threshold could tell matching pairs from others.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64, Int64

from driftmap.stats.retrieval.scoring import Scorer

_TILE = 2**14


def auc_parts(
    scorer: Scorer,
    beside: Sequence[Float64[np.ndarray, "query candidate"]],
    truth: Float64[np.ndarray, "row query"],
) -> Float64[np.ndarray, "row query"] | None:
    """Split the area under the ROC curve into one number per query.

    Their mean is the area. Each holds what its query adds as a match and as the other
    side of non-matching pairs (DeLong et al. 1988), so resampling queries resamples
    the area to first order.

    Args:
        scorer: One set, every query compared with every original.
        beside: Scores of baselines on its queries.
        truth: Score of the truth under every row.

    Returns:
        None where there is no non-matching pair.
    """
    pairs = scorer.pairs
    num_other = pairs.num_candidates - pairs.num_right
    if not num_other.sum():
        return None
    rows = [_Row(scores, pairs.num_queries) for scores in truth]
    step = max(1, _TILE // max(1, int(pairs.num_candidates.max())))
    for first in range(0, pairs.num_queries, step):
        queries = range(first, min(first + step, pairs.num_queries))
        tile = [_others(scorer, beside, query) for query in queries]
        owner = np.repeat(np.array(queries), [t.shape[1] for t in tile])
        for row, scores in zip(rows, np.concatenate(tile, axis=1), strict=True):
            row.add(scores, owner)
    return np.array([row.parts(num_other) for row in rows])


class _Row:
    """One order: its matching scores, and how the others fall between them."""

    def __init__(self, truth: Float64[np.ndarray, " query"], num_queries: int) -> None:
        levels, level, counts = np.unique(
            truth, return_inverse=True, return_counts=True
        )
        self._levels, self._level = levels, level
        self._num = num_queries
        self._not_below = truth.size - np.concatenate([[0], np.cumsum(counts)])
        self._tied = np.append(counts, 0)
        self._lower = np.zeros(levels.size + 1)
        self._equal = np.zeros(levels.size + 1)
        self._above = np.zeros(num_queries)

    def add(
        self, scores: Float64[np.ndarray, " pair"], owner: Int64[np.ndarray, " pair"]
    ) -> None:
        place = np.searchsorted(self._levels, scores)
        equal = self._levels[np.minimum(place, self._levels.size - 1)] == scores
        above = self._not_below[place] - equal * self._tied[place] / 2
        self._above += np.bincount(owner, weights=above, minlength=self._num)
        size = self._lower.size
        self._lower += np.bincount(place + equal, minlength=size)[:size]
        self._equal += np.bincount(place[equal], minlength=size)

    def parts(
        self, num_other: Int64[np.ndarray, " query"]
    ) -> Float64[np.ndarray, " query"]:
        below = np.cumsum(self._lower)[:-1] + self._equal[:-1] / 2
        as_match = below[self._level] / num_other.sum()
        area = as_match.mean()
        as_other = self._above / self._num - num_other * area
        return as_match + as_other / num_other.mean()


def _others(
    scorer: Scorer,
    beside: Sequence[Float64[np.ndarray, "query candidate"]],
    query: int,
) -> Float64[np.ndarray, "row pair"]:
    pairs = scorer.pairs
    places = pairs.places(query)
    rows = [scorer.cosines(query), *(s[query][places][None] for s in beside)]
    return np.concatenate(rows)[:, ~pairs.right[query][places]]
