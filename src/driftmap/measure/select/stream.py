"""Which weights of many matrices come first, when only one matrix is seen at a time?

Candidates are kept as long as they may still be among the first: those beyond a
running border, which is never beyond the final one. When they are too many, all but
the best `count` of them go and the border rises. The result is that of a sort of all
scores, ties included; at most 2.5 times `count` candidates are held, 8 bytes each.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int64
from torch import Tensor

from driftmap.core.places import Site, canonical_order
from driftmap.measure.select.ranked import Ranked, best, beyond, distinct, ranked

_CHUNK = 1 << 22


@dataclass(slots=True)
class _Segment:
    """Neighbouring candidates of one matrix: its place in the order, and how many."""

    rank: int
    size: int


class RunningTop:
    """The first weights of all matrices together, given one matrix after another.

    Args:
        sites: All matrices that compete; they may arrive in any order.
        counts: Weights that each cut takes.
    """

    def __init__(self, sites: Sequence[Site], counts: Sequence[int]) -> None:
        """Hold no candidate yet."""
        self._sites = sorted(sites, key=canonical_order)
        self._rank = {site: number for number, site in enumerate(self._sites)}
        self._steps, self._reach = distinct(counts)
        self._count = self._steps[-1] if self._steps else 0
        num_weights = sum(site.num_weights for site in sites)
        capacity = min(num_weights, self._count * 5 // 2)
        self._keys = np.empty(capacity, dtype=np.float32)
        self._index = np.empty(capacity, dtype=np.uint32)
        self._segments: list[_Segment] = []
        self._size = 0
        self._border = -np.inf
        self._last_tie = len(self._sites)

    def add(self, site: Site, scored: Float32[Tensor, "row column"]) -> None:
        """Look at one matrix; each is given once."""
        assert site.num_weights < 1 << 32, site.key
        values, rank = scored.reshape(-1), self._rank[site]
        for start in range(0, values.numel() if self._count else 0, _CHUNK):
            # Equals of the border count only before the last of them that was kept.
            index, keys = beyond(
                values[start : start + _CHUNK],
                self._border,
                ties=rank < self._last_tie,
            )
            self._keep(rank, index + start, keys)

    def members(self) -> dict[Site, Ranked]:
        """The first of all matrices, once all of them were given."""
        self._cut()
        whole = ranked(
            np.arange(self._size), self._keys[: self._size], self._steps, self._reach
        )
        sizes = {segment.rank: segment.size for segment in self._segments}
        found: dict[Site, Ranked] = {}
        start = 0
        for rank, site in enumerate(self._sites):
            part = slice(start, start + sizes.get(rank, 0))
            found[site] = Ranked(
                index=self._index[part].astype(np.int64),
                level=whole.level[part],
                reach=self._reach,
            )
            start = part.stop
        return found

    def _keep(
        self,
        rank: int,
        index: Int64[np.ndarray, " weight"],
        keys: Float32[np.ndarray, " weight"],
    ) -> None:
        """Add candidates of one matrix, beyond those of it that are there."""
        if self._size + keys.size > self._keys.size:
            self._cut()
            beyond = keys >= self._border
            index, keys = index[beyond], keys[beyond]
        if self._size + keys.size > self._keys.size:
            beyond = best(keys, self._count)
            index, keys = index[beyond], keys[beyond]
        room = slice(self._size, self._size + keys.size)
        self._keys[room], self._index[room] = keys, index
        self._size = room.stop
        self._segments.append(_Segment(rank=rank, size=keys.size))

    def _cut(self) -> None:
        """Let all but the best go."""
        self._sort_segments()
        size = self._size
        if size <= self._count:
            return
        kept = best(self._keys[:size], self._count)
        start = 0
        for segment in self._segments:
            stop = start + segment.size
            segment.size = int(np.count_nonzero(kept[start:stop]))
            start = stop
        self._size = self._count
        self._keys[: self._count] = self._keys[:size][kept]
        self._index[: self._count] = self._index[:size][kept]
        self._border = float(self._keys[: self._count].min())
        last = np.flatnonzero(self._keys[: self._count] == self._border)[-1]
        stops = np.cumsum([segment.size for segment in self._segments])
        number = int(np.searchsorted(stops, last, side="right"))
        self._last_tie = self._segments[number].rank

    def _sort_segments(self) -> None:
        """Put candidates into canonical order, one segment per matrix."""
        ranks = [segment.rank for segment in self._segments]
        if ranks != sorted(ranks):
            starts = np.cumsum([0, *(segment.size for segment in self._segments)])
            order = sorted(range(len(ranks)), key=ranks.__getitem__)
            for held in (self._keys, self._index):
                held[: self._size] = np.concatenate(
                    [held[starts[n] : starts[n + 1]] for n in order]
                )
            self._segments = [self._segments[n] for n in order]
        joined: dict[int, int] = {}
        for segment in self._segments:
            joined[segment.rank] = joined.get(segment.rank, 0) + segment.size
        self._segments = [_Segment(rank=r, size=s) for r, s in joined.items()]
