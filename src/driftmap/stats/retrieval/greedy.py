"""Which few tensors, taken one after the other, say the same as all of them?

Sums of D, A and B over the tensors taken so far are kept; one step scores the cosine
with every further tensor at once, a tile of queries at a time.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64

from driftmap.results.retrieval import TopTies
from driftmap.results.selection import SelectionGoal
from driftmap.stats.retrieval.pairs import SetPairs
from driftmap.stats.retrieval.scoring import inverse_norm

_TILE = 2**17
_SAME = 1e-12

PerTensor = Float64[np.ndarray, " tensor"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Taken:
    """Sums over the tensors taken so far.

    Args:
        dot: D of every pair; 0 where there is no candidate.
        query: A of every query.
        original: B of every original.
    """

    dot: Float64[np.ndarray, "query candidate"]
    query: Float64[np.ndarray, " query"]
    original: Float64[np.ndarray, " original"]

    def cosines(self, pairs: SetPairs) -> Float64[np.ndarray, "query candidate"]:
        """Cosine of the tensors together; 0 without a direction or a candidate."""
        scale = inverse_norm(self.original[:, None])[:, 0][pairs.candidates]
        return self.dot * inverse_norm(self.query[:, None]) * scale

    def with_tensor(self, pairs: SetPairs, tensor: int) -> "Taken":
        """Take one more."""
        products = pairs.products
        return Taken(
            dot=self.dot + products.dot[pairs.rows, :, tensor],
            query=self.query + pairs.query_energy[:, tensor],
            original=self.original + products.original_energy[:, tensor],
        )


def nothing_taken(pairs: SetPairs) -> Taken:
    """Start empty."""
    return Taken(
        dot=np.zeros(pairs.candidates.shape),
        query=np.zeros(pairs.num_queries),
        original=np.zeros(len(pairs.products.originals)),
    )


def full_cosines(pairs: SetPairs) -> Float64[np.ndarray, "query candidate"]:
    """Take all tensors at once."""
    taken = Taken(
        dot=np.concatenate([tile.sum(axis=2) for _, tile in _tiles(pairs)]),
        query=pairs.query_energy.sum(axis=1),
        original=pairs.products.original_energy.sum(axis=1),
    )
    return taken.cosines(pairs)


def next_scores(
    pairs: SetPairs,
    taken: Taken,
    goal: SelectionGoal,
    full: Float64[np.ndarray, "query candidate"],
    ties: TopTies,
) -> PerTensor:
    """Score every tensor as the next one.

    Args:
        pairs: The queries to choose on.
        taken: What is taken already.
        goal: What is scored.
        full: Full cosines of the same queries.
        ties: How ties at the top count, for accuracy.

    Returns:
        Mean accuracy, or agreement with full; -1 where nothing has a direction.
    """
    scale = inverse_norm(taken.original[:, None] + pairs.products.original_energy)
    norms = inverse_norm(taken.query[:, None] + pairs.query_energy)
    products, squares = np.zeros(norms.shape[1]), np.zeros(norms.shape[1])
    hits = np.zeros(norms.shape[1])
    for queries, tile in _tiles(pairs):
        cosines = tile + taken.dot[queries][:, :, None]
        cosines *= scale[pairs.candidates[queries]]
        if goal == "accuracy":
            hits += _hits(cosines, _Lists.of(pairs, queries), ties).sum(axis=0)
            continue
        cosines *= norms[queries][:, None]
        flat = cosines.reshape(-1, cosines.shape[2])
        products += full[queries].reshape(-1) @ flat
        squares += np.einsum("pt,pt->t", flat, flat)
    if goal == "accuracy":
        return hits / pairs.num_queries
    return agreement(products, squares, float(np.square(full).sum()))


def agreement(products: PerTensor, squares: PerTensor, full: float) -> PerTensor:
    """Uncentred cosine from its sums; -1 where there is none."""
    norms = np.sqrt(squares * full)
    found = np.full(norms.shape, -1.0)
    np.divide(products, norms, out=found, where=norms > 0)
    return found


def hits_of(
    pairs: SetPairs, cosines: Float64[np.ndarray, "query candidate"], ties: TopTies
) -> Float64[np.ndarray, " query"]:
    """Share of a right answer of every query under one order."""
    lists = _Lists.of(pairs, slice(None))
    return _hits(cosines[:, :, None].copy(), lists, ties)[:, 0]


def tied_best(
    scores: PerTensor, free: Bool[np.ndarray, " tensor"]
) -> Int64[np.ndarray, " tied"]:
    """Numbers of the tensors that are best among those still free."""
    best = scores[free].max()
    return np.flatnonzero(free & (scores >= best - _SAME))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Lists:
    """Some queries' right candidates, one after the other, and what is no candidate.

    Args:
        query: Query of each right candidate, ascending.
        place: Its column.
        absent: Columns without a candidate.
    """

    query: Int64[np.ndarray, " right"]
    place: Int64[np.ndarray, " right"]
    absent: Bool[np.ndarray, "query candidate"]

    @classmethod
    def of(cls, pairs: SetPairs, queries: slice) -> "_Lists":
        query, place = np.nonzero(pairs.right[queries])
        return cls(query=query, place=place, absent=pairs.candidates[queries] < 0)


def _hits(
    scores: Float64[np.ndarray, "query candidate tensor"], lists: _Lists, ties: TopTies
) -> Float64[np.ndarray, "query tensor"]:
    """Share of a right answer; `scores` is overwritten."""
    num_queries, _, num_tensors = scores.shape
    hits = np.zeros((num_queries, num_tensors))
    if not lists.query.size:
        return hits
    with_truth, first = np.unique(lists.query, return_index=True)
    right = scores[lists.query, lists.place]
    best_right = np.maximum.reduceat(right, first, axis=0)
    scores[lists.query, lists.place] = -np.inf
    scores[lists.absent] = -np.inf
    best_other = scores.max(axis=1)[with_truth]
    found = (best_right > best_other).astype(float)
    rows, tensors = np.nonzero(best_right == best_other)
    wrong = scores[with_truth[rows], :, tensors] == best_right[rows, tensors][:, None]
    same = right == np.repeat(best_right, np.diff(first, append=len(right)), axis=0)
    if ties == "first":
        places = np.where(same, lists.place[:, None], scores.shape[1])
        listed = np.minimum.reduceat(places, first, axis=0)[rows, tensors]
        found[rows, tensors] = listed < wrong.argmax(axis=1)
    else:
        num_same = np.add.reduceat(same.astype(int), first, axis=0)[rows, tensors]
        found[rows, tensors] = num_same / (num_same + wrong.sum(axis=1))
    hits[with_truth] = found
    return hits


def _tiles(
    pairs: SetPairs,
) -> Iterator[tuple[slice, Float64[np.ndarray, "query candidate tensor"]]]:
    """Products of a few queries at a time; they may lie on disk."""
    size = pairs.candidates.shape[1] * len(pairs.products.tensors)
    step = max(1, _TILE // size)
    for first in range(0, pairs.num_queries, step):
        queries = slice(first, first + step)
        yield queries, np.asarray(pairs.products.dot[pairs.rows[queries]])
