"""How do the products of queries with originals come together, batch by batch?"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64

from driftmap.measure.products.checks import require_cosines, settled_energies
from driftmap.measure.products.keeper import QueryKeeper
from driftmap.measure.products.pairing import BatchPairs, Pairs
from driftmap.measure.products.pieces import PROMISE
from driftmap.signals.gradients import TensorSignal


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Asked:
    """Pairs of one batch, looked up once for all of its tensors."""

    sample_index: tuple[int, ...]
    pairs: BatchPairs
    mask: Bool[np.ndarray, "query original"]


class PairFold:
    """Takes the signals of originals and fills the products with kept queries.

    Args:
        keeper: The queries; their signals came before.
        pairs: Which pairs, of the queries kept.
        dot: Filled with inner products; it may lie on disk.
        energies: Filled with the squared norms of the originals.
        query_ids: One id per query kept, for what is said of errors.
        promise: Largest error of a cosine that is promised.
    """

    def __init__(
        self,
        *,
        keeper: QueryKeeper,
        pairs: Pairs,
        dot: Float64[np.ndarray, "query candidate tensor"],
        energies: Float64[np.ndarray, "original tensor"],
        query_ids: tuple[str, ...],
        promise: float = PROMISE,
    ) -> None:
        assert dot.shape[:2] == pairs.candidates.shape
        assert dot.shape[2] == energies.shape[1] == keeper.energies.shape[1]
        self._keeper, self._pairs = keeper, pairs
        self._dot, self._energies = dot, energies
        self._query_ids, self._promise = query_ids, promise
        self._asked: _Asked | None = None

    def take(self, signal: TensorSignal) -> None:
        """Multiply a batch of originals; `sample_index` counts from the first original.

        Raises:
            MeasureError: A gradient is NaN or infinite, or a cosine above 1.
        """
        if not signal.pieces:
            return
        name = signal.tensor.name
        held = self._keeper.held(name)
        asked = self._asked_of(signal)
        found, energies = self._keeper.multiply(signal, asked.mask & held[:, None])
        norms = settled_energies(signal, energies)
        column = self._keeper.columns[name]
        self._energies[list(signal.sample_index), column] = norms
        self._write(signal, asked.pairs.of_queries(held), found, norms)

    def _write(
        self,
        signal: TensorSignal,
        pairs: BatchPairs,
        found: Float64[np.ndarray, "query original"],
        norms: Float64[np.ndarray, " original"],
    ) -> None:
        name = signal.tensor.name
        column = self._keeper.columns[name]
        query, row = pairs.query, pairs.batch_row
        both = self._keeper.energies[query, column], norms[row]
        value = np.where((both[0] > 0) & (both[1] > 0), found[query, row], 0.0)
        require_cosines(
            name,
            value,
            both,
            lambda at: (self._query_ids[query[at]], signal.sample_ids[row[at]]),
            self._promise,
        )
        self._dot[query, pairs.column, column] = value

    def _asked_of(self, signal: TensorSignal) -> _Asked:
        if self._asked is None or self._asked.sample_index != signal.sample_index:
            pairs = self._pairs.of(np.array(signal.sample_index, dtype=np.int64))
            mask = pairs.mask(self._keeper.num_queries, len(signal.sample_index))
            self._asked = _Asked(
                sample_index=signal.sample_index, pairs=pairs, mask=mask
            )
        return self._asked
