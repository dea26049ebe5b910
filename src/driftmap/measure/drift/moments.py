"""How far and in which direction did rows, columns and fragments move?

Plain factors give their moments by formula and one read of W; any other change is
made in row blocks. No merged matrix is held.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from driftmap.core.errors import MeasureError
from driftmap.measure.drift.change import changed_rows, difference, long_product
from driftmap.measure.drift.settled import Settled, row_blocks, settled, shape_of
from driftmap.results.drift import Moments
from driftmap.signals.changes import MatrixChange
from driftmap.signals.factors import LoraFactors


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MatrixNorms:
    """|W|^2 of every row and column, which no checkpoint changes."""

    rows: Float64[np.ndarray, " row"]
    columns: Float64[np.ndarray, " column"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MatrixMoments:
    """Moments of every row and column of one matrix; either total is the module's."""

    rows: Moments
    columns: Moments


def state_rows(
    weight: Float[Tensor, "row column"], reference: Settled | None, rows: slice
) -> Float64[Tensor, "block column"]:
    """W_0 of a row block: the stored weights plus what training had added at step 0.

    To be read only: a float64 matrix comes back as a view of itself.
    """
    block = weight[rows].detach().cpu().to(torch.float64)
    return block if reference is None else block + changed_rows(reference, rows, weight)


def settled_reference(
    reference: MatrixChange | None, weight: Float[Tensor, "row column"]
) -> Settled | None:
    """The state at step 0, ready for `state_rows`."""
    return None if reference is None else settled(reference, "reference", weight)


def matrix_norms(
    weight: Float[Tensor, "row column"], reference: MatrixChange | None = None
) -> MatrixNorms:
    """|W_0|^2 of every row and column, in float64.

    Args:
        weight: The matrix under the adapter, any float dtype, any device.
        reference: What had been added at step 0; None where it was nothing.
    """
    then = settled_reference(reference, weight)
    rows = torch.zeros(weight.shape[0], dtype=torch.float64)
    columns = torch.zeros(weight.shape[1], dtype=torch.float64)
    for block in row_blocks((weight.shape[0], weight.shape[1])):
        squares = state_rows(weight, then, block).square()
        rows[block] = squares.sum(1)
        columns += squares.sum(0)
    return MatrixNorms(rows=rows.numpy(), columns=columns.numpy())


def matrix_moments(
    weight: Float[Tensor, "row column"],
    change: MatrixChange,
    reference: MatrixChange | None = None,
    norms: MatrixNorms | None = None,
) -> MatrixMoments:
    """Moments of all rows and columns, with one read of W.

    From plain factors, row i: `n_d = |B_i R^T|^2` with `A^T = Q R`,
    `c = (W A^T)_i . B_i`; column j: `n_d = |R A_:j|^2` with `B = Q R`,
    `c = (B^T W)_:j . A_:j`; B includes the scale.

    Args:
        weight: The matrix under the adapter, any float dtype, any device.
        change: What training added now.
        reference: The same at step 0; None where it was nothing.
        norms: What `matrix_norms` gave for this matrix; taken anew if None.

    Returns:
        Moments of every row and every column.

    Raises:
        MeasureError: As `difference`, or the change does not fit the matrix.

    >>> from driftmap.signals.factors import LoraFactors
    >>> eye = torch.eye(2, dtype=torch.float64)
    >>> lora = LoraFactors(down=eye[:1], up=eye[:, :1], scale=3.0)
    >>> matrix_moments(eye, lora).rows.l2
    array([3., 0.])
    """
    moved = difference(change, reference, weight=weight)
    if tuple(weight.shape) != shape_of(moved):
        raise MeasureError(
            f"a change {list(shape_of(moved))} does not fit a matrix "
            f"{list(weight.shape)}; is the adapter or checkpoint of another model?"
        )
    norms = matrix_norms(weight, reference) if norms is None else norms
    then = settled_reference(reference, weight)
    return settled_moments(weight, moved, then, norms)


def settled_moments(
    weight: Float[Tensor, "row column"],
    change: Settled,
    reference: Settled | None,
    norms: MatrixNorms,
) -> MatrixMoments:
    """Moments of what `difference` returned; arguments as of `matrix_moments`."""
    if isinstance(change, LoraFactors):
        return _from_factors(weight, change, reference, norms)
    shape = shape_of(change)
    by_row, by_column = torch.zeros(2, shape[0]).double(), torch.zeros(2, shape[1])
    by_column = by_column.double()
    for rows in row_blocks(shape):
        block = state_rows(weight, reference, rows)
        moved = changed_rows(change, rows, weight)
        cross, square = block * moved, moved.square()
        by_row[:, rows] = torch.stack([cross.sum(1), square.sum(1)])
        by_column += torch.stack([cross.sum(0), square.sum(0)])
    (row_cross, row_change), (column_cross, column_change) = (
        by_row.numpy(),
        by_column.numpy(),
    )
    return MatrixMoments(
        rows=Moments(weight=norms.rows, cross=row_cross, change=row_change),
        columns=Moments(weight=norms.columns, cross=column_cross, change=column_change),
    )


def _from_factors(
    weight: Tensor, change: LoraFactors, reference: Settled | None, norms: MatrixNorms
) -> MatrixMoments:
    up, down = change.up, change.down
    cross = torch.zeros(len(up), dtype=torch.float64)
    pulled = torch.zeros_like(down)
    for rows in row_blocks((len(up), down.shape[1])):
        block = state_rows(weight, reference, rows)
        cross[rows] = (long_product(block, down.T) * up[rows]).sum(1)
        pulled += up[rows].T @ block
    by_row = up @ torch.linalg.qr(down.T, mode="r").R.T
    by_column = torch.linalg.qr(up, mode="r").R @ down
    return MatrixMoments(
        rows=Moments(
            weight=norms.rows, cross=cross.numpy(), change=_squares(by_row, 1)
        ),
        columns=Moments(
            weight=norms.columns,
            cross=(pulled * down).sum(0).numpy(),
            change=_squares(by_column, 0),
        ),
    )


def fragment_starts(
    index: Int64[np.ndarray, " weight"], num_columns: int
) -> Int64[np.ndarray, " fragment"]:
    """Where each fragment begins: the group's weights within one row.

    Args:
        index: Flat indices, ascending.
        num_columns: Columns of the matrix.

    Returns:
        Positions in `index` of the first weight of each row.

    >>> fragment_starts(np.array([0, 1, 5, 8]), 4)
    array([0, 2, 3])
    """
    rows = index // num_columns
    first = np.ones(index.size, dtype=bool)
    first[1:] = rows[1:] != rows[:-1]
    return np.flatnonzero(first)


def fragment_moments(
    weight: Float64[np.ndarray, " weight"],
    change: Float64[np.ndarray, " weight"],
    starts: Int64[np.ndarray, " fragment"],
) -> Moments:
    """Moments of fragments from the group's own weights and their changes.

    Args:
        weight: W_0 at the group's weights, in ascending flat order.
        change: dW there.
        starts: What `fragment_starts` gave.
    """
    return Moments(
        weight=_sums(weight * weight, starts),
        cross=_sums(weight * change, starts),
        change=_sums(change * change, starts),
    )


def _sums(
    values: Float64[np.ndarray, " weight"], starts: Int64[np.ndarray, " fragment"]
) -> Float64[np.ndarray, " fragment"]:
    return np.add.reduceat(values, starts) if starts.size else np.empty(0)


def _squares(matrix: Float64[Tensor, "_ _"], axis: int) -> Float64[np.ndarray, " _"]:
    return matrix.square().sum(axis).numpy()
