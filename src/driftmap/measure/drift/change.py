"""What did training add to the weights, read from LoRA factors without merging?

Everything is float64 on the CPU, so that the answer is the same on any device.
"""

import numpy as np
import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from driftmap.core.errors import MeasureError
from driftmap.signals.factors import LoraFactors

CHUNK_WEIGHTS = 2**15
"""Weights gathered at a time: their factors stay in the processor's cache."""

PIECE = 2**16
"""Longest stretch of an inner product that is summed in one go."""


def difference(
    factors: LoraFactors, reference: LoraFactors | None = None, where: str = "adapter"
) -> LoraFactors:
    """Factors of the change from a reference state to the adapter's state.

    With `B` standing for `scale * up`, the change is written
    `B_t A_t - B_0 A_0 = (B_t - B_0) A_t + B_0 (A_t - A_0)`, rank 2r: both terms are
    as small as the change, so nothing cancels, and equal states give exactly zero.

    Args:
        factors: The adapter now.
        reference: The adapter at step 0; None where training began at B = 0.
        where: Place that error messages name.

    Returns:
        Factors on the CPU with scale 1.

    Raises:
        MeasureError: A factor is NaN or infinite, or the two do not fit together.
    """
    now = _checked(factors, where)
    if reference is None:
        return now
    then = _checked(reference, f"{where}, reference")
    if now.down.shape != then.down.shape or now.up.shape != then.up.shape:
        raise MeasureError(
            f"{where}: factors {_shape(now)} do not fit reference factors "
            f"{_shape(then)}; is the reference the first step of another run?"
        )
    if not then.up.any():
        return now
    return LoraFactors(
        down=torch.cat([now.down, now.down - then.down]),
        up=torch.cat([now.up - then.up, then.up], dim=1),
        scale=1.0,
    )


def weight_change(
    factors: LoraFactors,
    reference: LoraFactors | None,
    index: Int64[np.ndarray, " weight"],
) -> Float64[Tensor, " weight"]:
    """Signed dW of single weights, `dW_ij = s <B_i, A_:j>`.

    Ascending indices are fastest: neighbours share rows of B.

    Args:
        factors: The adapter now.
        reference: The adapter at step 0; None where training began at B = 0.
        index: `row * num_columns + column`, any order.

    Returns:
        One change per index.

    Raises:
        MeasureError: A factor is not finite, the two adapters do not fit together,
            or an index lies outside the matrix.

    >>> factors = LoraFactors(
    ...     down=torch.tensor([[1.0, 2.0]], dtype=torch.float64),
    ...     up=torch.tensor([[3.0], [5.0]], dtype=torch.float64),
    ...     scale=0.5,
    ... )
    >>> weight_change(factors, None, np.array([0, 3])).tolist()
    [1.5, 5.0]
    """
    change = difference(factors, reference)
    rows, columns = change.up.numpy(), np.ascontiguousarray(change.down.numpy().T)
    num_columns, num_weights = len(columns), len(rows) * len(columns)
    if index.size and not 0 <= index.min() <= index.max() < num_weights:
        raise MeasureError(
            f"flat indices run from {index.min()} to {index.max()}, but the matrix "
            f"has {num_weights} weights; is the group from another model?"
        )
    moved = np.empty(index.size)
    for start in range(0, index.size, CHUNK_WEIGHTS):
        flat = index[start : start + CHUNK_WEIGHTS]
        row = flat // num_columns
        column = flat - row * num_columns
        moved[start : start + CHUNK_WEIGHTS] = np.einsum(
            "wr,wr->w", rows.take(row, 0), columns.take(column, 0)
        )
    return torch.from_numpy(moved)


def dense_change(
    factors: LoraFactors,
    reference: LoraFactors | None = None,
    rows: slice = slice(None),
) -> Float64[Tensor, "row column"]:
    """Signed dW of whole rows, for controls that look at every weight.

    Args:
        factors: The adapter now.
        reference: The adapter at step 0; None where training began at B = 0.
        rows: Rows wanted; ask for blocks where the matrix is large.

    Returns:
        dW of these rows.

    Raises:
        MeasureError: As `difference`.
    """
    change = difference(factors, reference)
    return change.up[rows] @ change.down


def inner_product(left: LoraFactors, right: LoraFactors) -> float:
    """`<dW^a, dW^b> = s_a s_b tr((B_a^T B_b)(A_b A_a^T))` of two updates of one matrix.

    For an update against a reference, pass what `difference` returns.

    Raises:
        MeasureError: A factor is not finite, or the two belong to matrices of
            different shape.

    >>> row = torch.ones(1, 2, dtype=torch.float64)
    >>> update = LoraFactors(down=row, up=row.T, scale=0.5)
    >>> inner_product(update, update)
    1.0
    """
    a, b = _checked(left, "first update"), _checked(right, "second update")
    if len(a.up) != len(b.up) or a.down.shape[1] != b.down.shape[1]:
        raise MeasureError(
            f"updates {_shape(a)} and {_shape(b)} belong to matrices of different shape"
        )
    over_rows = long_product(a.up.T, b.up)
    over_columns = long_product(a.down, b.down.T)
    return float((over_rows * over_columns).sum())


def long_product(
    left: Float64[Tensor, "i long"], right: Float64[Tensor, "long j"]
) -> Float64[Tensor, "i j"]:
    """Matrix product whose inner axis is summed in pieces."""
    pieces = zip(left.split(PIECE, dim=1), right.split(PIECE), strict=True)
    return torch.stack([x @ y for x, y in pieces]).sum(0)


def _checked(factors: LoraFactors, where: str) -> LoraFactors:
    """The factors on the CPU with the scale inside `up`, if they can be used."""
    for name, factor in (("A (down)", factors.down), ("B (up)", factors.up)):
        if not factor.isfinite().all():
            raise MeasureError(
                f"{where}: {name} holds NaN or infinity; did training diverge?"
            )
    if not np.isfinite(factors.scale):
        raise MeasureError(f"{where}: the scale is {factors.scale}, not a number")
    up = factors.up.detach().cpu() * factors.scale
    return LoraFactors(down=factors.down.detach().cpu(), up=up, scale=1.0)


def _shape(factors: LoraFactors) -> str:
    return f"{list(factors.up.shape)} x {list(factors.down.shape)}"
