"""How are two sets of places in one matrix joined, met and told apart?

Sets are flat indices, ascending and unique. Small ones are merged by sorting; of large
ones one becomes a map of the matrix, one byte a weight, so that the other is looked up
without sorting.
"""

import numpy as np
from jaxtyping import Bool, Int64

FlatIndex = Int64[np.ndarray, " _"]

_SPARSE = 64


def united(left: FlatIndex, right: FlatIndex, num_weights: int) -> FlatIndex:
    """Places of either set.

    >>> united(np.array([0, 2]), np.array([1, 2]), 4)
    array([0, 1, 2])
    """
    if _is_sparse(left, right, num_weights):
        return np.union1d(left, right)
    held = _map_of(left, num_weights)
    held[right] = True
    return np.flatnonzero(held)


def common(left: FlatIndex, right: FlatIndex, num_weights: int) -> FlatIndex:
    """Places of both sets.

    >>> common(np.array([0, 2]), np.array([1, 2]), 4)
    array([2])
    """
    if _is_sparse(left, right, num_weights):
        return np.intersect1d(left, right, assume_unique=True)
    return left[_map_of(right, num_weights)[left]]


def without(left: FlatIndex, right: FlatIndex, num_weights: int) -> FlatIndex:
    """Places of the first set that are not in the second.

    >>> without(np.array([0, 2]), np.array([1, 2]), 4)
    array([0])
    """
    if _is_sparse(left, right, num_weights):
        return np.setdiff1d(left, right, assume_unique=True)
    return left[~_map_of(right, num_weights)[left]]


def _is_sparse(left: FlatIndex, right: FlatIndex, num_weights: int) -> bool:
    return (left.size + right.size) * _SPARSE < num_weights


def _map_of(index: FlatIndex, num_weights: int) -> Bool[np.ndarray, " weight"]:
    held = np.zeros(num_weights, dtype=bool)
    held[index] = True
    return held
