"""Which weights of a matrix are of like size, so that one may stand for another?

Drift depends on |W| even where it depends on nothing else, so a group is only
compared with weights of its own size. Bins are cut at observed values: equal
values always share a bin, whatever their order.
"""

import numpy as np
from jaxtyping import Float, Int16

from driftmap.core.errors import MeasureError


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
    edges = np.partition(flat, np.unique(ranks))[ranks]
    bins = np.searchsorted(edges, flat, side="right")
    return bins.astype(np.int16).reshape(values.shape)
