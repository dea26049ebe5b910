"""Which weights of a matrix are of like size, so that one may stand for another?

Drift depends on |W| even where it depends on nothing else, so a group is only
compared with weights of its own size. Bins are cut at observed values: equal
values always share a bin, whatever their order.
"""

import numpy as np
from jaxtyping import Float, Float32, Int16, Int64, UInt32

from driftmap.core.errors import MeasureError

_MANY = 1 << 20
_PREFIX = 20


def quantile_bins(
    values: Float[np.ndarray, "*place"], num_bins: int = 40
) -> Int16[np.ndarray, "*place"]:
    """Sort values into bins of equal count, ties kept together.

    Bin edges are the order statistics number `k * n // num_bins`; a value is in
    bin k when exactly k edges are at or below it. Ties make bins larger, or
    leave some empty.

    Args:
        values: Any finite values, usually |W0| of one matrix.
        num_bins: 1 to 32,767.

    Returns:
        Bin numbers from 0 to `num_bins - 1`, in the shape of `values`.

    Raises:
        MeasureError: A value is NaN or infinite, or `num_bins` is out of range.

    >>> quantile_bins(np.array([0.4, 0.1, 0.3, 0.2]), 2)
    array([1, 0, 1, 0], dtype=int16)
    >>> quantile_bins(np.array([1.0, 1.0, 1.0, 2.0]), 2)
    array([1, 1, 1, 1], dtype=int16)
    """
    if not 1 <= num_bins <= np.iinfo(np.int16).max:
        raise MeasureError(f"num_bins is {num_bins}: give a number from 1 to 32767")
    if not np.isfinite(values).all():
        raise MeasureError(
            "the values to bin hold NaN or infinity; is the matrix damaged?"
        )
    flat = values.reshape(-1)
    if flat.size == 0 or num_bins == 1:
        return np.zeros(values.shape, dtype=np.int16)
    ranks = np.arange(1, num_bins) * flat.size // num_bins
    if flat.dtype == np.float32 and flat.size >= _MANY and not np.signbit(flat).any():
        return _by_prefix(flat, ranks).reshape(values.shape)
    edges = np.partition(flat, np.unique(ranks))[ranks]
    bins = np.searchsorted(edges, flat, side="right")
    return bins.astype(np.int16).reshape(values.shape)


def _by_prefix(
    flat: Float32[np.ndarray, " place"], ranks: Int64[np.ndarray, " edge"]
) -> Int16[np.ndarray, " place"]:
    """Sort many numbers, none below 0, into bins without comparing most of them.

    Such numbers are ordered as their bits are: the first 20 of them say in which bin
    a number is, unless an edge begins with the same 20.
    """
    bits = flat.view(np.uint32)
    counts = np.zeros(1 << _PREFIX, dtype=np.int64)
    for start in range(0, flat.size, _MANY):
        counts += np.bincount(_prefix(bits, start), minlength=counts.size)
    ends = np.cumsum(counts)
    shared = np.searchsorted(ends, ranks, side="right")
    is_shared = np.zeros(counts.size, dtype=bool)
    is_shared[shared] = True
    below = np.searchsorted(shared, np.arange(counts.size)).astype(np.int16)
    bins = np.empty(flat.size, dtype=np.int16)
    unsure = []
    for start in range(0, flat.size, _MANY):
        prefix = _prefix(bits, start)
        bins[start : start + prefix.size] = below[prefix]
        unsure.append(start + np.flatnonzero(is_shared[prefix]))
    places = np.concatenate(unsure)
    close = flat[places]
    # Among the close ones an edge's rank is less by all that lie in other prefixes.
    starts = np.cumsum(np.where(is_shared, counts, 0)) - counts
    edges = np.sort(close)[ranks - (ends - counts)[shared] + starts[shared]]
    bins[places] = np.searchsorted(edges, close, side="right")
    return bins


def _prefix(bits: UInt32[np.ndarray, " place"], start: int) -> Int64[np.ndarray, " _"]:
    return (bits[start : start + _MANY] >> (32 - _PREFIX)).astype(np.int64)
