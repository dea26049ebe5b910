"""Which few tensors, taken one after the other, say the same as all of them?

Sums of D, A and B over the tensors taken so far are kept; one step scores the cosine
with every further tensor at once, query by query, so that nothing is copied.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64

from driftmap.results.pair_products import NONE
from driftmap.results.retrieval import RetrievalSettings
from driftmap.results.selection import SelectionGoal
from driftmap.stats.retrieval.pairs import SetPairs
from driftmap.stats.retrieval.scoring import inverse_norm
from driftmap.stats.retrieval.standing import stand

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
    products = pairs.products
    dots = [np.asarray(products.dot[row]).sum(axis=1) for row in pairs.rows]
    taken = Taken(
        dot=np.array(dots),
        query=pairs.query_energy.sum(axis=1),
        original=products.original_energy.sum(axis=1),
    )
    return taken.cosines(pairs)


def next_scores(
    pairs: SetPairs,
    taken: Taken,
    goal: SelectionGoal,
    full: Float64[np.ndarray, "query candidate"],
    settings: RetrievalSettings,
) -> PerTensor:
    """Score every tensor as the next one.

    Args:
        pairs: The queries to choose on.
        taken: What is taken already.
        goal: What is scored.
        full: Full cosines of the same queries.
        settings: How ties at the top count, for accuracy.

    Returns:
        Mean accuracy, or agreement with full; -1 where nothing has a direction.
    """
    norms = inverse_norm(taken.query[:, None] + pairs.query_energy)
    products, squares, hits = np.zeros((3, norms.shape[1]))
    for query, scores in _numerators(pairs, taken):
        places = pairs.places(query)
        if goal == "accuracy":
            hits += _hit(scores, pairs.right[query][places], settings)
        else:
            products += norms[query] * (full[query][places] @ scores)
            squares += norms[query] ** 2 * np.einsum("ct,ct->t", scores, scores)
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
    pairs: SetPairs,
    cosines: Float64[np.ndarray, "query candidate"],
    settings: RetrievalSettings,
) -> Float64[np.ndarray, " query"]:
    """Share of a right answer of every query under one order."""
    absent = pairs.candidates == NONE
    right = np.where(pairs.right, cosines, -np.inf).max(axis=1)
    other = np.where(pairs.right | absent, -np.inf, cosines).max(axis=1)
    hits = (right > other).astype(float)
    for query in np.flatnonzero(right == other).tolist():
        places = pairs.places(query)
        scores, among = cosines[query][places][None], pairs.right[query][places]
        hits[query] = stand(scores, among, settings).hit[0]
    return hits


def tied_best(
    scores: PerTensor, free: Bool[np.ndarray, " tensor"]
) -> Int64[np.ndarray, " tied"]:
    """Numbers of the tensors that are best among those still free."""
    best = scores[free].max()
    return np.flatnonzero(free & (scores >= best - _SAME))


def _numerators(
    pairs: SetPairs, taken: Taken
) -> Iterator[tuple[int, Float64[np.ndarray, "candidate tensor"]]]:
    """Cosines with each further tensor, but for the query's own norm.

    Each is given in the same memory, which may be overwritten.
    """
    products = pairs.products
    scale = inverse_norm(taken.original[:, None] + products.original_energy)
    held = np.empty((pairs.candidates.shape[1], len(products.tensors)))
    in_order = np.arange(len(products.originals))
    for query in range(pairs.num_queries):
        places, dots = pairs.places(query), pairs.dots(query)
        candidates, scores = pairs.candidates[query][places], held[: len(dots)]
        np.add(dots, taken.dot[query][places][:, None], out=scores)
        is_whole = np.array_equal(candidates, in_order)
        scores *= scale if is_whole else scale[candidates]
        yield query, scores


def _hit(
    scores: Float64[np.ndarray, "candidate tensor"],
    right: Bool[np.ndarray, " candidate"],
    settings: RetrievalSettings,
) -> PerTensor:
    """Share of a right answer under every tensor."""
    best_right = scores[right].max(axis=0, initial=-np.inf)
    kept = scores[right]
    scores[right] = -np.inf
    best_other = scores.max(axis=0)
    hit = (best_right > best_other).astype(float)
    tied = np.flatnonzero(best_right == best_other)
    if tied.size:
        scores[right] = kept
        hit[tied] = stand(scores[:, tied].T, right, settings).hit
    return hit
