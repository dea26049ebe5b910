"""What did training add to one matrix, in whichever shape it was left?

LoRA, with or without frozen weights, is read from its factors without merging; DoRA
reads W once, for the lengths of its rows. Everything is float64 on the CPU, so that
the answer is the same on any device.
"""

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from driftmap.core.errors import MeasureError
from driftmap.measure.drift.settled import (
    Settled,
    StretchedFactors,
    factors_of,
    gathered,
    settled,
    shape_of,
)
from driftmap.signals.changes import DenseChange, MaskedFactors, MatrixChange
from driftmap.signals.factors import LoraFactors

PIECE = 2**16
"""Longest stretch of an inner product that is summed in one go."""


def difference(
    change: MatrixChange,
    reference: MatrixChange | None = None,
    where: str = "adapter",
    weight: Float[Tensor, "row column"] | None = None,
) -> Settled:
    """The change from a reference state to the state now.

    With `B` standing for `scale * up`, factors are subtracted as
    `B_t A_t - B_0 A_0 = (B_t - B_0) A_t + B_0 (A_t - A_0)`, rank 2r: both terms are
    as small as the change, so nothing cancels, and equal states give exactly zero.

    Args:
        change: What training added now.
        reference: The same at step 0; None where it was nothing.
        where: Place that error messages name.
        weight: The matrix under the adapter. Only DoRA needs it.

    Returns:
        The change on the CPU; factors have scale 1.

    Raises:
        MeasureError: A number is NaN or infinite, the two do not fit together, or
            DoRA has no W or a row without length.
    """
    now = settled(change, where, weight)
    if reference is None:
        return now
    then = settled(reference, f"{where}, reference", weight)
    if isinstance(now, DenseChange) and isinstance(then, DenseChange):
        if now.values.shape != then.values.shape:
            raise _unlike(where, now, then)
        return DenseChange(values=now.values - then.values)
    if isinstance(now, DenseChange) or isinstance(then, DenseChange):
        raise _unlike(where, now, then)
    if shape_of(now) != shape_of(then) or not _same_frozen(now, then):
        raise _unlike(where, now, then)
    factors = _factor_difference(factors_of(now), factors_of(then), where)
    if isinstance(now, MaskedFactors):
        return MaskedFactors(factors=factors, frozen=now.frozen)
    if isinstance(now, StretchedFactors) or isinstance(then, StretchedFactors):
        return StretchedFactors(gain=_gain(now) - _gain(then), factors=factors)
    return factors


def weight_change(
    change: MatrixChange | Settled,
    reference: MatrixChange | None,
    index: Int64[np.ndarray, " weight"],
    weight: Float[Tensor, "row column"] | None = None,
) -> Float64[Tensor, " weight"]:
    """Signed dW of single weights: `dW_ij = s <B_i, A_:j>` from factors.

    DoRA gives `(g_i - 1) W_ij + g_i s <B_i, A_:j>`, and a frozen weight 0. Ascending
    indices are fastest: neighbours share rows of B.

    Args:
        change: What training added now, or what `difference` returned.
        reference: The same at step 0; None where it was nothing.
        index: `row * num_columns + column`, any order.
        weight: The matrix under the adapter. Only DoRA needs it.

    Returns:
        One change per index.

    Raises:
        MeasureError: As `difference`, or an index lies outside the matrix.

    >>> factors = LoraFactors(
    ...     down=torch.tensor([[1.0, 2.0]], dtype=torch.float64),
    ...     up=torch.tensor([[3.0], [5.0]], dtype=torch.float64),
    ...     scale=0.5,
    ... )
    >>> weight_change(factors, None, np.array([0, 3])).tolist()
    [1.5, 5.0]
    """
    moved = _difference(change, reference, weight)
    num_rows, num_columns = shape_of(moved)
    if index.size and not 0 <= index.min() <= index.max() < num_rows * num_columns:
        raise MeasureError(
            f"flat indices run from {index.min()} to {index.max()}, but the matrix "
            f"has {num_rows * num_columns} weights; is the group from another model?"
        )
    return torch.from_numpy(gathered(moved, index, weight))


def dense_change(
    change: MatrixChange | Settled,
    reference: MatrixChange | None = None,
    rows: slice = slice(None),
    weight: Float[Tensor, "row column"] | None = None,
) -> Float64[Tensor, "block column"]:
    """Signed dW of whole rows, for controls that look at every weight.

    Args:
        change: What training added now, or what `difference` returned.
        reference: The same at step 0; None where it was nothing.
        rows: Consecutive rows; ask for blocks where the matrix is large.
        weight: The matrix under the adapter. Only DoRA needs it.

    Returns:
        dW of these rows, to be read only.

    Raises:
        MeasureError: As `difference`.
    """
    return changed_rows(_difference(change, reference, weight), rows, weight)


def changed_rows(
    change: Settled, rows: slice, weight: Float[Tensor, "row column"] | None
) -> Float64[Tensor, "block column"]:
    """Signed dW of consecutive rows of a settled change; to be read only."""
    if isinstance(change, DenseChange):
        return change.values[rows]
    factors = factors_of(change)
    dense = factors.up[rows] @ factors.down
    if isinstance(change, StretchedFactors):
        assert weight is not None, "settled with it"
        block = weight[rows].detach().cpu().to(torch.float64)
        return dense.addcmul_(change.gain[rows][:, None], block)
    if isinstance(change, MaskedFactors):
        first, last, _ = rows.indices(len(factors.up))
        width = dense.shape[1]
        low, high = np.searchsorted(change.frozen, [first * width, last * width])
        frozen = torch.from_numpy(change.frozen[low:high] - first * width)
        dense.view(-1)[frozen] = 0
    return dense


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
    a = factors_of(settled(left, "first update", None))
    b = factors_of(settled(right, "second update", None))
    if len(a.up) != len(b.up) or a.down.shape[1] != b.down.shape[1]:
        raise MeasureError(
            f"updates {_sizes(a)} and {_sizes(b)} belong to matrices of different shape"
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


def _difference(
    change: MatrixChange | Settled,
    reference: MatrixChange | None,
    weight: Tensor | None,
) -> Settled:
    if isinstance(change, StretchedFactors):
        assert reference is None, "a settled change has its reference inside"
        return change
    return difference(change, reference, weight=weight)


def _factor_difference(now: LoraFactors, then: LoraFactors, where: str) -> LoraFactors:
    if now.down.shape != then.down.shape or now.up.shape != then.up.shape:
        raise _unlike(where, now, then)
    if not then.up.any():
        return now
    return LoraFactors(
        down=torch.cat([now.down, now.down - then.down]),
        up=torch.cat([now.up - then.up, then.up], dim=1),
        scale=1.0,
    )


def _gain(change: LoraFactors | MaskedFactors | StretchedFactors) -> Tensor:
    if isinstance(change, StretchedFactors):
        return change.gain
    return torch.zeros(shape_of(change)[0], dtype=torch.float64)


def _same_frozen(now: Settled, then: Settled) -> bool:
    one, other = (
        x.frozen if isinstance(x, MaskedFactors) else None for x in (now, then)
    )
    if one is None or other is None:
        return one is other
    return np.array_equal(one, other)


def _unlike(where: str, now: Settled, then: Settled) -> MeasureError:
    return MeasureError(
        f"{where}: {_words(now)} do not fit reference {_words(then)}; is "
        "the reference the first step of another run?"
    )


def _words(change: Settled) -> str:
    if isinstance(change, DenseChange):
        return f"changes {list(change.values.shape)}"
    text = f"factors {_sizes(factors_of(change))}"
    if isinstance(change, MaskedFactors):
        return f"{text} with {change.frozen.size} frozen weights"
    return text


def _sizes(factors: LoraFactors) -> str:
    return f"{list(factors.up.shape)} x {list(factors.down.shape)}"
