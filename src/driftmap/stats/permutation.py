"""How often does chance alone give a sum as extreme as the observed one?

Groups chosen by score cluster in rows and columns, and so does the drift of a
low-rank adapter: single weights are no independent samples. A draw therefore
moves the whole group: its rows are permuted and its columns are permuted, so
its clustering survives. Where rows or columns belong to heads, whole heads are
permuted first, then the units inside each.
"""

import numpy as np
from jaxtyping import Float, Float64, Int64

from driftmap.core.places import Site
from driftmap.core.seeds import child_seed

_CHUNK = 2**18
_TIE = 1e-10


def permuted_sums(
    residuals: Float64[np.ndarray, "row column"],
    site: Site,
    groups: list[Int64[np.ndarray, " _"]],
    num_draws: int,
    seed: int,
) -> Float64[np.ndarray, "group draw"]:
    """Sum the residuals under every group, moved by each of many permutations.

    All groups are moved by the same permutations, and those depend on the seed
    and the site alone: neither other groups nor other sites change them.

    Args:
        residuals: e, drift in units of its bin's mean, less 1; one per weight.
        site: The matrix; its part and head size say what is a head.
        groups: Flat indices of each group, ascending.
        num_draws: B.
        seed: The run's seed.
    """
    num_rows, num_columns = residuals.shape
    rows_by_head = site.head_size if site.part in ("q", "k", "v") else None
    columns_by_head = site.head_size if site.part == "o" else None
    rng = np.random.default_rng(child_seed(seed, "permutation", site.key))
    row_orders = unit_orders(num_rows, rows_by_head, num_draws, rng)
    column_orders = unit_orders(num_columns, columns_by_head, num_draws, rng)
    starts = row_orders * num_columns
    flat = np.ascontiguousarray(residuals).reshape(-1)
    return np.stack([_moved_sums(flat, m, starts, column_orders) for m in groups])


def unit_orders(
    num_units: int, head_size: int | None, num_draws: int, rng: np.random.Generator
) -> Int64[np.ndarray, "draw unit"]:
    """Draw where each row (or column) moves to.

    Args:
        num_units: Rows or columns of the matrix.
        head_size: Units of one head, a divisor of `num_units`: heads move whole
            and units move inside their head. None: every unit moves freely.
        num_draws: Permutations.
        rng: Source of randomness.

    Returns:
        A permutation of `0 .. num_units - 1` per draw.
    """
    size = num_units if head_size is None else head_size
    num_heads, rest = divmod(num_units, size)
    assert rest == 0, f"{num_units} units do not split into heads of {size}"
    heads = rng.permuted(np.tile(np.arange(num_heads), (num_draws, 1)), axis=1)
    inside = rng.permuted(np.tile(np.arange(size), (num_draws * num_heads, 1)), axis=1)
    moved = heads[:, :, None] * size + inside.reshape(num_draws, num_heads, size)
    return moved.reshape(num_draws, num_units)


def permutation_p(
    observed: float, draws: Float[np.ndarray, " draw"], scale: float
) -> float:
    """Two-sided p-value of an observed sum among its permuted ones.

    `p = (1 + #{|T_pi - mean| >= |T - mean|}) / (1 + B)`: the observed value is
    one of the possible ones, so p is never 0 (Phipson and Smyth 2010). The mean
    is over all B + 1 values, which treats them alike and keeps the test exact.

    Args:
        observed: T.
        draws: T of each permutation.
        scale: Number of summed residuals; differences below 1e-10 of it are
            rounding and count as ties.

    >>> permutation_p(5.0, np.array([0.0, 1.0, -1.0]), 1.0)
    0.25
    """
    centre = (observed + draws.sum()) / (1 + draws.size)
    reached = np.abs(draws - centre) >= abs(observed - centre) - _TIE * scale
    return float((1 + reached.sum()) / (1 + draws.size))


def _moved_sums(
    flat: Float64[np.ndarray, " weight"],
    members: Int64[np.ndarray, " _"],
    starts: Int64[np.ndarray, "draw row"],
    column_orders: Int64[np.ndarray, "draw column"],
) -> Float64[np.ndarray, " draw"]:
    rows, columns = np.divmod(members, column_orders.shape[1])
    in_row = np.bincount(rows, minlength=starts.shape[1])
    step = max(1, _CHUNK // max(1, members.size))
    sums = np.empty(len(starts))
    for first in range(0, len(starts), step):
        draws = slice(first, first + step)
        index = np.repeat(starts[draws], in_row, axis=1)
        index += np.take(column_orders[draws], columns, axis=1)
        sums[draws] = flat.take(index).sum(axis=1)
    return sums
