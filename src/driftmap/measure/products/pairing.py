"""Which queries is an original compared with?"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Int64

from driftmap.core.errors import MeasureError
from driftmap.results.pair_products import NONE


@dataclass(frozen=True, kw_only=True, eq=False)
class Pairs:
    """Pairs of queries and originals, to be found by original.

    Args:
        candidates: Numbers of the originals of every query; `NONE` fills up.
        num_originals: Originals there are (count).

    Raises:
        MeasureError: A candidate is no original.
    """

    candidates: Int64[np.ndarray, "query candidate"]
    num_originals: int

    def __post_init__(self) -> None:
        """Check that every number is one of an original."""
        wrong = (self.candidates < NONE) | (self.candidates >= self.num_originals)
        if wrong.any():
            query = int(wrong.any(axis=1).argmax())
            number = int(self.candidates[query][wrong[query]][0])
            raise MeasureError(
                f"query {query}: its candidate {number} is none of the "
                f"{self.num_originals} originals; give numbers from 0, or -1 for none"
            )

    def of(self, originals: Int64[np.ndarray, " original"]) -> "BatchPairs":
        """Pairs of some originals."""
        first, last = self._ends[originals], self._ends[originals + 1]
        place = np.concatenate(
            [np.arange(a, b) for a, b in zip(first, last, strict=True)]
            + [self._ends[:0]]
        )
        return BatchPairs(
            query=self._query[place],
            column=self._column[place],
            batch_row=np.repeat(np.arange(len(originals)), last - first),
        )

    @cached_property
    def _order(self) -> Int64[np.ndarray, " pair"]:
        flat = self.candidates.ravel()
        order = np.argsort(flat, kind="stable")
        return order[np.searchsorted(flat[order], 0) :]

    @cached_property
    def _query(self) -> Int64[np.ndarray, " pair"]:
        return self._order // max(1, self.candidates.shape[1])

    @cached_property
    def _column(self) -> Int64[np.ndarray, " pair"]:
        return self._order % max(1, self.candidates.shape[1])

    @cached_property
    def _ends(self) -> Int64[np.ndarray, " end"]:
        found = self.candidates.ravel()[self._order]
        return np.searchsorted(found, np.arange(self.num_originals + 1))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BatchPairs:
    """Pairs of a batch of originals.

    Args:
        query: Number of the query.
        column: Which of the query's candidates it is.
        batch_row: Row of the original in its batch.
    """

    query: Int64[np.ndarray, " pair"]
    column: Int64[np.ndarray, " pair"]
    batch_row: Int64[np.ndarray, " pair"]

    def mask(
        self, num_queries: int, num_originals: int
    ) -> Bool[np.ndarray, "query original"]:
        """Which query is paired with which original of the batch."""
        paired = np.zeros((num_queries, num_originals), dtype=bool)
        paired[self.query, self.batch_row] = True
        return paired

    def of_queries(self, held: Bool[np.ndarray, " query"]) -> "BatchPairs":
        """Pairs of some queries."""
        if held.all():
            return self
        here = held[self.query]
        return BatchPairs(
            query=self.query[here],
            column=self.column[here],
            batch_row=self.batch_row[here],
        )


def all_pairs(num_queries: int, num_originals: int) -> Int64[np.ndarray, "_ _"]:
    """Candidates where every query is compared with every original.

    >>> all_pairs(2, 3).tolist()
    [[0, 1, 2], [0, 1, 2]]
    """
    return np.tile(np.arange(num_originals), (num_queries, 1))
