"""Which samples of an index score highest for a query, without holding the index?

One pass over the shards. For every chosen tensor the kept rows of a block of samples
are widened, multiplied with the queries' rows, and dropped; the best of each query are
kept. The cosine over chosen tensors is

    sum_l w_l sqrt(A_l B_l) <u_l, v_l> / sqrt(sum_l w_l a_l * sum_l w_l b_l)

with rows u and v divided by the gradients' own lengths, energies A and B of the
gradients, and a and b of what is kept of them. Dividing by a and b makes the cosine of
a sample with itself 1 and cuts the error where cosines are high (by `1 - c^2`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64, Int64

from driftmap.core.errors import UsageError
from driftmap.core.progress import progress
from driftmap.results.index import IndexHeader, Keep
from driftmap.results.index_search import NOBODY, Nearest
from driftmap.results.sketches import SketchedSamples
from driftmap.store.index.folder import Index
from driftmap.store.index.rows import widened
from driftmap.store.index.shards import Shard

_ROUNDING: dict[Keep, float] = {"fp16": 3e-4, "int8": 2.3e-3}
"""Most that rounding kept numbers adds to the standard error of a cosine."""

_BLOCK = 1 << 18
"""Numbers that are widened at once: what stays in a core's own cache."""

_FEW_PAIRS = 256
"""Pairs from which errors are read, per tensor, at most."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Query:
    """What is looked for.

    Args:
        sketched: Sketches of the queries, made as those of the index.
        tensors: Numbers of the tensors that are compared, ascending.
        weights: One weight per chosen tensor.
    """

    sketched: SketchedSamples
    tensors: tuple[int, ...]
    weights: Float64[np.ndarray, " tensor"]


def nearest(index: Index, query: Query, num: int) -> Nearest:
    """Find the samples with the highest estimated cosines.

    Args:
        index: Where to look.
        query: What to look for.
        num: Samples to keep per query (count).

    Returns:
        `num` samples per query; samples without direction are never among them.

    Raises:
        UsageError: A query has no direction in the chosen tensors.
        StoreError: A shard is damaged.
    """
    asked = _Asked(query)
    asked.require_direction()
    errors = tensor_errors(index, query)
    best = _Best(len(query.sketched.sample_ids), num)
    with progress("searching", index.num_samples) as bar:
        for shard in index.shards():
            _search(shard, asked, best)
            bar.advance(shard.planned.num_samples)
    return Nearest(
        samples=best.samples,
        score=np.where(best.samples == NOBODY, np.nan, best.score),
        error=_errors(index, asked, best.samples, errors),
    )


def chosen_weights(
    index: Index, sketched: SketchedSamples, tensors: Sequence[int], weighting: str
) -> Float64[np.ndarray, " tensor"]:
    """Weigh tensors against each other.

    Args:
        index: Whose mean energies count, for `equal`.
        sketched: The queries, whose mean energies count as well.
        tensors: Numbers of the chosen tensors.
        weighting: `plain` (1), `equal` (1 / sqrt(mean A * mean B)) or `per_weight`
            (1 / number of weights).

    Returns:
        One weight per chosen tensor; 0 where a tensor has no energy.
    """
    if weighting == "plain":
        return np.ones(len(tensors))
    if weighting == "per_weight":
        table = index.header.tensors
        return np.array([1 / (table[n].place.num_weights or 1) for n in tensors])
    assert weighting == "equal", weighting
    total = np.zeros(len(index.header.tensors))
    for shard in index.shards():
        total += shard.energies()[0].sum(0)
    there = (total / index.num_samples)[list(tensors)]
    mean = np.sqrt(sketched.energies[:, list(tensors)].mean(0) * there)
    return np.divide(1, mean, out=np.zeros(len(tensors)), where=mean > 0)


def tensor_errors(index: Index, query: Query) -> Float64[np.ndarray, " tensor"]:
    """Standard error of the cosine of one tensor, for each chosen tensor.

    Two halves of a row are independent sketches, so the difference of their inner
    products tells the error; it counts where it is larger than `1 / sqrt(k)`.

    Args:
        index: Where rows are compared with the queries'.
        query: The queries and chosen tensors.
    """
    shard = next(index.shards())
    keep = index.header.settings.keep
    num_queries = len(query.sketched.sample_ids)
    rows = -(-_FEW_PAIRS // num_queries)
    return np.array(
        [
            np.hypot(
                _of_tensor(index.header, shard, query, number, rows), _ROUNDING[keep]
            )
            for number in query.tensors
        ]
    )


def _of_tensor(
    header: IndexHeader, shard: Shard, query: Query, number: int, num_rows: int
) -> float:
    tensor = header.tensors[number]
    if tensor.is_exact:
        return 0.0
    kept, scales = shard.kept(number)
    there = widened(kept[:num_rows]) * scales[:num_rows, None]
    asked = query.sketched.rows[number][:_FEW_PAIRS]
    half = tensor.num_numbers // 2
    difference = (
        there[:, :half] @ asked[:, :half].T - there[:, half:] @ asked[:, half:].T
    )
    measured = np.sqrt(np.square(difference, dtype=np.float64).mean())
    return max(float(measured), tensor.num_numbers**-0.5)


class _Asked:
    """The queries, ready to be multiplied."""

    def __init__(self, query: Query) -> None:
        self.ids = query.sketched.sample_ids
        self.tensors = list(query.tensors)
        self.weights = query.weights
        self.energies = query.sketched.energies[:, self.tensors]
        kept = np.zeros_like(self.energies)
        self.rows: list[Float32[np.ndarray, "number query"]] = []
        for column, number in enumerate(query.tensors):
            rows = query.sketched.rows[number]
            kept[:, column] = np.square(rows, dtype=np.float64).sum(1)
            factor = self.weights[column] * np.sqrt(self.energies[:, column])
            self.rows.append(np.ascontiguousarray(rows.T * factor.astype(np.float32)))
        self.lengths = np.sqrt((self.energies * kept) @ self.weights)

    def require_direction(self) -> None:
        """Refuse queries that nothing can be compared with."""
        lost = [name for name, a in zip(self.ids, self.lengths, strict=True) if a == 0]
        if lost:
            raise UsageError(
                f"the gradient of {lost[:3]} is zero in the chosen tensors; choose "
                "others with --tensors, or leave these queries out"
            )


class _Best:
    """The best samples of each query so far."""

    def __init__(self, num_queries: int, num: int) -> None:
        self.samples = np.full((num_queries, num), NOBODY, np.int64)
        self.score = np.full((num_queries, num), -np.inf)

    def add(self, first: int, scores: Float32[np.ndarray, "sample query"]) -> None:
        """Compare with samples that follow each other."""
        better = scores > self.score[:, -1]
        for query in np.flatnonzero(better.any(0)).tolist():
            here = np.flatnonzero(better[:, query])
            self._merge(query, first + here, scores[here, query])

    def _merge(
        self,
        query: int,
        samples: Int64[np.ndarray, " sample"],
        scores: Float32[np.ndarray, " sample"],
    ) -> None:
        """Known samples come first, and an equal score leaves the order as it is."""
        together = np.concatenate([self.samples[query], samples])
        joint = np.concatenate([self.score[query], scores.astype(np.float64)])
        order = np.argsort(-joint, kind="stable")[: len(self.score[query])]
        self.samples[query], self.score[query] = together[order], joint[order]


def _search(shard: Shard, asked: _Asked, best: _Best) -> None:
    exact, kept = (energies[:, asked.tensors] for energies in shard.energies())
    lengths = np.sqrt(kept @ asked.weights)
    inverse = np.divide(1, lengths, out=np.zeros_like(lengths), where=lengths > 0)
    factors = (np.sqrt(exact) * inverse[:, None]).astype(np.float32)
    widest = max(len(rows) for rows in asked.rows)
    step = max(1, _BLOCK // widest)
    for start in range(0, shard.planned.num_samples, step):
        block = slice(start, min(start + step, shard.planned.num_samples))
        scores = _scores(shard, asked, factors, block)
        scores[inverse[block] == 0] = -np.inf
        best.add(shard.planned.start + start, scores)


def _scores(
    shard: Shard,
    asked: _Asked,
    factors: Float32[np.ndarray, "sample tensor"],
    block: slice,
) -> Float32[np.ndarray, "sample query"]:
    scores = np.zeros((block.stop - block.start, len(asked.ids)), np.float32)
    for column, number in enumerate(asked.tensors):
        rows, scales = shard.kept(number)
        products = widened(rows[block]) @ asked.rows[column]
        products *= (scales[block] * factors[block, column])[:, None]
        scores += products
    scores /= asked.lengths.astype(np.float32)
    return scores


def _errors(
    index: Index,
    asked: _Asked,
    samples: Int64[np.ndarray, "query rank"],
    errors: Float64[np.ndarray, " tensor"],
) -> Float64[np.ndarray, "query rank"]:
    """`sqrt(sum_l e_l(q) e_l(o) s_l^2)`: e are shares of energy, s tensors' errors."""
    found = np.full(samples.shape, np.nan)
    spread = asked.weights * errors**2
    asked_energy = asked.energies * asked.weights
    asked_share = asked_energy / asked_energy.sum(1, keepdims=True)
    for shard in index.shards():
        start, stop = shard.planned.start, shard.planned.stop
        query, rank = np.nonzero((samples >= start) & (samples < stop))
        if len(query) == 0:
            continue
        energies = shard.energies()[0][samples[query, rank] - start][:, asked.tensors]
        whole = energies @ asked.weights
        variance = (asked_share[query] * energies) @ spread / whole
        found[query, rank] = np.sqrt(variance)
    return found
