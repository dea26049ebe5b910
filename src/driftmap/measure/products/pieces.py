"""How are long sums of float32 products taken without losing digits?

One matmul over four million numbers errs by 1e-3; over 2^16 by 1e-6. So at most
`PIECE` numbers meet in one, and the pieces are added in float64.
"""

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from driftmap.signals.assembled import squared_sums

PIECE = 2**14
"""Products added within one float32 sum (count); 2^16 would still keep the promise."""

PROMISE = 2e-6
"""Largest error of a cosine from float32 signals."""


def products_of(
    left: Float[Tensor, "left weight"], right: Float[Tensor, "right weight"]
) -> Float64[Tensor, "left right"]:
    """Inner products of all rows with all rows.

    >>> products_of(torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 4.0], [0.0, 1.0]]))
    tensor([[11.,  2.]], dtype=torch.float64)
    """
    width = left.shape[1]
    whole = width - width % PIECE
    total = left.new_zeros(len(left), len(right), dtype=torch.float64)
    if whole:
        first = left[:, :whole].unflatten(1, (-1, PIECE)).transpose(0, 1)
        second = right[:, :whole].unflatten(1, (-1, PIECE)).permute(1, 2, 0)
        total += torch.bmm(first, second).double().sum(dim=0)
    if whole < width:
        total += (left[:, whole:] @ right[:, whole:].T).double()
    return total


def product_of(
    left: Float[Tensor, " weight"], right: Float[Tensor, " weight"]
) -> Float64[Tensor, ""]:
    """Inner product of two."""
    return products_of(left[None], right[None])[0, 0]


def square_sums(values: Float[Tensor, "sample weight"]) -> Float64[Tensor, " sample"]:
    """Squared norm of each row; on a CPU without writing the squares down.

    >>> square_sums(torch.tensor([[3.0, 4.0], [0.0, 1.0]]))
    tensor([25.,  1.], dtype=torch.float64)
    """
    if values.device.type != "cpu":
        return squared_sums(values)
    whole = values.shape[1] - values.shape[1] % PIECE
    total = values.new_zeros(len(values), dtype=torch.float64)
    if whole:
        pieces = values[:, :whole].reshape(-1, PIECE)
        total += _with_themselves(pieces).reshape(len(values), -1).sum(dim=1)
    if whole < values.shape[1]:
        total += _with_themselves(values[:, whole:])
    return total


def _with_themselves(rows: Float[Tensor, "row piece"]) -> Float64[Tensor, " row"]:
    """Inner product of each row with itself, all in one call.

    Given as a transposed view the second factor is read in the order it lies in, which
    is ten times as fast as a column.
    """
    flat = rows[:, None]
    return torch.bmm(flat, flat.transpose(1, 2)).double()[:, 0, 0]
