"""How often does chance alone give a sum as extreme as the observed one?

Groups chosen by score cluster in rows and columns, and so does the drift of a
low-rank adapter: single weights are no independent samples. A draw therefore
moves the whole group: its rows are permuted and its columns are permuted, so
its clustering survives. Where rows or columns belong to heads, whole heads are
permuted first, then the units inside each.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64

from driftmap.core.places import Site
from driftmap.core.seeds import child_seed

_CHUNK = 2**18
_TIE = 1e-10


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Moves:
    """Where each draw takes every row and every column of a matrix."""

    rows: Int64[np.ndarray, "draw row"]
    columns: Int64[np.ndarray, "draw column"]

    def first(self, num_draws: int) -> "Moves":
        """The first draws, or all if there are fewer."""
        return Moves(rows=self.rows[:num_draws], columns=self.columns[:num_draws])


def draw_moves(
    site: Site,
    num_draws: int,
    seed: int,
    mobile: Bool[np.ndarray, "row column"] | None = None,
) -> Moves:
    """Draw permutations of a matrix, heads whole where it has heads.

    They depend on the seed, the site and what of it can move: neither groups nor
    other sites change them. Rows and columns that hold nothing but weights that
    cannot move stay out: the others change places among themselves.

    Args:
        site: The matrix; its part and head size say what is a head.
        num_draws: B.
        seed: The run's seed.
        mobile: Weights that training can move; None for all.
    """
    rows_by_head = site.head_size if site.part in ("q", "k", "v") else None
    columns_by_head = site.head_size if site.part == "o" else None
    rng = np.random.default_rng(child_seed(seed, "permutation", site.key))
    if mobile is None:
        return Moves(
            rows=unit_orders(site.num_rows, rows_by_head, num_draws, rng),
            columns=unit_orders(site.num_columns, columns_by_head, num_draws, rng),
        )
    return Moves(
        rows=orders_among(np.any(mobile, axis=1), rows_by_head, num_draws, rng),
        columns=orders_among(np.any(mobile, axis=0), columns_by_head, num_draws, rng),
    )


def permuted_sums(
    residuals: Float64[np.ndarray, "row column"],
    moves: Moves,
    groups: Sequence[Int64[np.ndarray, " _"]],
    mobile: Bool[np.ndarray, "row column"] | None = None,
) -> Float64[np.ndarray, "group draw"]:
    """Sum the residuals under every group, moved by each permutation.

    Where single weights cannot move, a draw takes some of the group to such
    weights, whose residual means nothing: `T = n * mean of e where it can move`,
    over the members that land there. Fewer weights make that mean no less noisy,
    so the test stays on the safe side.

    Args:
        residuals: e, drift in units of its bin's mean, less 1; one per weight, and 0
            at those that cannot move.
        moves: The permutations, the same for all groups.
        groups: Flat indices of each group, ascending.
        mobile: Weights that training can move; None for all.
    """
    flat = np.ascontiguousarray(residuals).reshape(-1)
    starts = moves.rows * residuals.shape[1]
    landing = None if mobile is None else mobile.reshape(-1).astype(np.float64)
    sums = np.empty((len(groups), len(starts)))
    for number, members in enumerate(groups):
        sums[number] = _moved_sums(flat, members, starts, moves.columns)
        if landing is not None:
            landed = _moved_sums(landing, members, starts, moves.columns)
            sums[number] *= members.size / np.maximum(landed, 1)
    return sums


def log_bias(ratios: Float64[np.ndarray, " draw"]) -> float:
    """By how much the log of a noisy ratio misses the log of its mean.

    `mean_pi log x_pi - log mean_pi x_pi`, at most 0 (Jensen), over the ratios that
    chance gives; to first order `-var / (2 mean^2)`, which overshoots for groups
    of ten weights and fewer. Draws in which the group did not move have no log
    and are left out, as such a matrix is left out of a ratio.

    Args:
        ratios: x, the group's ratio under each permutation; 0 without any.

    >>> round(log_bias(np.array([0.5, 1.5])), 4)
    -0.1438
    """
    moved = ratios[ratios > 0]
    if moved.size == 0:
        return 0.0
    return float(np.log(moved).mean() - np.log(moved.mean()))


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


def orders_among(
    moving: Bool[np.ndarray, " unit"],
    head_size: int | None,
    num_draws: int,
    rng: np.random.Generator,
) -> Int64[np.ndarray, "draw unit"]:
    """Draw where each row (or column) moves to when some stay where they are.

    Heads that keep different numbers of moving units cannot change places exactly:
    they are laid out whole in a new order, so that one head's units land beside each
    other, in one head or in two.

    Args:
        moving: Units that change places.
        head_size: Units of one head, as in `unit_orders`.
        num_draws: Permutations.
        rng: Source of randomness.

    Returns:
        A permutation of all units per draw; those that stay map to themselves.

    >>> rng = np.random.default_rng(0)
    >>> orders_among(np.array([True, False, True]), None, 1, rng).tolist()
    [[2, 1, 0]]
    """
    units = np.flatnonzero(moving)
    head = np.zeros_like(units) if head_size is None else units // head_size
    num_heads = int(head.max(initial=0)) + 1
    places = rng.permuted(np.tile(np.arange(num_heads), (num_draws, 1)), axis=1)
    keys = places[:, head] + rng.random((num_draws, units.size))
    orders = np.tile(np.arange(moving.size), (num_draws, 1))
    orders[:, units] = units[np.argsort(keys, axis=1)]
    return orders


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
