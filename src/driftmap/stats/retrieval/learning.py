"""Which weights of the tensors tell the truth of a query from its other candidates?"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64
from scipy.optimize import nnls

from driftmap.stats.retrieval.pairs import SetPairs
from driftmap.stats.retrieval.scoring import inverse_norm

_RIDGE = 1e-3

PerTensor = Float64[np.ndarray, " tensor"]


def equal_weights(pairs: SetPairs) -> PerTensor:
    """`1 / sqrt(mean A * mean B)`: every tensor heard alike; 0 where it is silent."""
    asked = pairs.query_energy.mean(axis=0)
    found = pairs.products.original_energy.mean(axis=0)
    return inverse_norm((asked * found)[None])[0]


def per_weight(pairs: SetPairs) -> PerTensor | None:
    """`1 / num_weights`; None where a size is not known."""
    sizes = [tensor.num_weights for tensor in pairs.products.tensors]
    known = [size for size in sizes if size]
    return 1 / np.array(known, dtype=float) if len(known) == len(sizes) else None


def learnt_weights(
    pairs: SetPairs, chosen: Bool[np.ndarray, " query"]
) -> PerTensor | None:
    """Fit weights that are not negative on some queries.

    The equal-weighted cosine of a pair is a sum of one term per tensor. Least squares
    of "is right" on these terms, both minus their mean over the query's candidates,
    finds the direction that best tells right from wrong within lists (Fisher's
    discriminant); each coefficient multiplies the tensor's equal weight. A ridge of a
    thousandth of the mean variance keeps tensors that say the same from cancelling.

    Args:
        pairs: One set.
        chosen: Queries to fit on; those whose truth is no candidate say nothing.

    Returns:
        One weight per tensor; None where no tensor goes with being right.
    """
    equal = equal_weights(pairs)
    scales = _Scales(
        query=inverse_norm((pairs.query_energy @ equal)[:, None])[:, 0],
        original=inverse_norm((pairs.products.original_energy @ equal)[:, None])[:, 0],
    )
    gram, goal = np.zeros((equal.size, equal.size)), np.zeros(equal.size)
    for query in np.flatnonzero(chosen & (pairs.num_right > 0)).tolist():
        places = pairs.places(query)
        candidates = pairs.candidates[query][places]
        scale = scales.query[query] * scales.original[candidates]
        terms = pairs.dots(query) * equal * scale[:, None]
        right = pairs.right[query][places].astype(float)
        terms -= terms.mean(axis=0)
        gram += terms.T @ terms
        goal += terms.T @ (right - right.mean())
    found = _not_negative(gram, goal) * equal
    return found if found.any() else None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Scales:
    query: Float64[np.ndarray, " query"]
    original: Float64[np.ndarray, " original"]


def _not_negative(
    gram: Float64[np.ndarray, "tensor tensor"], goal: PerTensor
) -> PerTensor:
    """Least squares from its normal equations, through their Cholesky root."""
    size = np.trace(gram) / goal.size
    if size == 0:
        return np.zeros_like(goal)
    root = np.linalg.cholesky(gram / size + _RIDGE * np.eye(goal.size)).T
    return nnls(root, np.linalg.solve(root.T, goal / size))[0]
