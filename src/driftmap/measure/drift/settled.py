"""What does a change of one matrix come to, once everything that decides it is known?

LoRA is its factors with the scale inside, DoRA factors and a gain per row, frozen
weights a list of places: four shapes, and the one place that tells them apart.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from driftmap.core.errors import MeasureError
from driftmap.signals.changes import (
    DenseChange,
    DoraFactors,
    MaskedFactors,
    MatrixChange,
)
from driftmap.signals.factors import LoraFactors

BLOCK_WEIGHTS = 2**20
"""Weights of a row block held in float64 at a time (8 MiB)."""

CHUNK_WEIGHTS = 2**15
"""Weights gathered at a time: their factors stay in the processor's cache."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StretchedFactors:
    """`dW_ij = h_i W_ij + <B_i, A_:j>`: what DoRA comes to on a given W.

    Args:
        gain: h = g - 1, against a reference `g_t - g_0`.
        factors: g V, with scale 1.
    """

    gain: Float64[Tensor, " row"]
    factors: LoraFactors


Settled = LoraFactors | StretchedFactors | MaskedFactors | DenseChange
"""A change on the CPU, checked, whose factors have scale 1."""


def settled(
    change: MatrixChange, where: str, weight: Float[Tensor, "row column"] | None
) -> Settled:
    """Bring a change to the CPU with all scales inside, and check its numbers.

    Args:
        change: What training added.
        where: Place that error messages name.
        weight: The matrix under the adapter. Only DoRA needs it.

    Raises:
        MeasureError: A number is NaN or infinite, a frozen index lies outside the
            matrix, or DoRA has no W or a row without length.
    """
    if isinstance(change, DenseChange):
        _require_finite(change.values, "dW", where)
        return DenseChange(values=change.values.detach().cpu())
    if isinstance(change, MaskedFactors):
        _require_places(change, where)
        return MaskedFactors(
            factors=_scaled(change.factors, where), frozen=change.frozen
        )
    if isinstance(change, DoraFactors):
        return _stretched(change, where, weight)
    return _scaled(change, where)


def shape_of(change: MatrixChange | Settled) -> tuple[int, int]:
    """Rows and columns of the matrix that a change fits."""
    if isinstance(change, DenseChange):
        return change.values.shape[0], change.values.shape[1]
    factors = factors_of(change)
    return len(factors.up), factors.down.shape[1]


def factors_of(change: MatrixChange | Settled) -> LoraFactors:
    """The factors inside a change that has some."""
    assert not isinstance(change, DenseChange), "has no factors"
    return change if isinstance(change, LoraFactors) else change.factors


def gathered(
    change: Settled,
    index: Int64[np.ndarray, " weight"],
    weight: Float[Tensor, "row column"] | None,
) -> Float64[np.ndarray, " weight"]:
    """Signed dW at flat indices, which lie inside the matrix."""
    if isinstance(change, DenseChange):
        return change.values.numpy().reshape(-1)[index]
    factors = factors_of(change)
    rows, columns = factors.up.numpy(), np.ascontiguousarray(factors.down.numpy().T)
    moved = np.empty(index.size)
    for start in range(0, index.size, CHUNK_WEIGHTS):
        flat = index[start : start + CHUNK_WEIGHTS]
        row = flat // len(columns)
        column = flat - row * len(columns)
        part = np.einsum("wr,wr->w", rows.take(row, 0), columns.take(column, 0))
        if isinstance(change, StretchedFactors):
            assert weight is not None, "settled with it"
            held = weight[torch.from_numpy(row), torch.from_numpy(column)]
            part += change.gain.numpy()[row] * held.detach().cpu().double().numpy()
        elif isinstance(change, MaskedFactors):
            part[_among(flat, change.frozen)] = 0
        moved[start : start + CHUNK_WEIGHTS] = part
    return moved


def row_blocks(shape: tuple[int, int]) -> Iterator[slice]:
    """Consecutive rows whose weights fit the workspace."""
    num_rows, num_columns = shape
    step = max(1, BLOCK_WEIGHTS // num_columns)
    for start in range(0, num_rows, step):
        yield slice(start, min(start + step, num_rows))


def _among(
    flat: Int64[np.ndarray, " weight"], frozen: Int64[np.ndarray, " frozen"]
) -> np.ndarray:
    if not frozen.size:
        return np.zeros(flat.size, dtype=bool)
    place = np.minimum(np.searchsorted(frozen, flat), frozen.size - 1)
    return frozen[place] == flat


def _scaled(factors: LoraFactors, where: str) -> LoraFactors:
    _require_finite(factors.down, "A (down)", where)
    _require_finite(factors.up, "B (up)", where)
    if not np.isfinite(factors.scale):
        raise MeasureError(f"{where}: the scale is {factors.scale}, not a number")
    up = factors.up.detach().cpu() * factors.scale
    return LoraFactors(down=factors.down.detach().cpu(), up=up, scale=1.0)


def _stretched(
    change: DoraFactors, where: str, weight: Tensor | None
) -> StretchedFactors:
    """`g_i`, from `|(W + V)_i|^2 = n_W + 2 c_0 + n_0`: row moments of V, no merge."""
    factors = _scaled(change.factors, where)
    shape = shape_of(factors)
    if weight is None or tuple(weight.shape) != shape:
        found = "no matrix" if weight is None else f"a matrix {list(weight.shape)}"
        raise MeasureError(
            f"{where}: DoRA factors {list(shape)} need the matrix that they scale, and "
            f"got {found}; give the adapter's own base"
        )
    size, cross = torch.empty(shape[0]).double(), torch.empty(shape[0]).double()
    for rows in row_blocks(shape):
        block = weight[rows].detach().cpu().to(torch.float64)
        size[rows] = block.square().sum(1)
        cross[rows] = ((block @ factors.down.T) * factors.up[rows]).sum(1)
    added = factors.up @ torch.linalg.qr(factors.down.T, mode="r").R.T
    after = size + 2 * cross + added.square().sum(1)
    start = None if change.start is None else change.start.detach().cpu()
    long = (after > 0) & (size > 0 if start is None else start > 0)
    if not long.all():
        raise MeasureError(
            f"{where}: row {int((~long).nonzero()[0])} of W or of W + scale * B @ A is "
            "zero, and DoRA has no direction for it; prune after tuning, or use LoRA"
        )
    magnitude = change.magnitude.detach().cpu()
    gain = magnitude / after.sqrt()
    if start is not None:
        gain = (magnitude / start) * (size / after).sqrt()
    _require_finite(gain, "the magnitude", where)
    return StretchedFactors(
        gain=gain - 1,
        factors=LoraFactors(
            down=factors.down, up=factors.up * gain[:, None], scale=1.0
        ),
    )


def _require_finite(numbers: Tensor, name: str, where: str) -> None:
    if not numbers.isfinite().all():
        raise MeasureError(
            f"{where}: {name} holds NaN or infinity; did training diverge?"
        )


def _require_places(change: MaskedFactors, where: str) -> None:
    frozen, (num_rows, num_columns) = change.frozen, shape_of(change)
    if not frozen.size:
        return
    inside = frozen[0] >= 0 and frozen[-1] < num_rows * num_columns
    if not inside or (np.diff(frozen) <= 0).any():
        raise MeasureError(
            f"{where}: frozen flat indices must ascend from 0 to "
            f"{num_rows * num_columns - 1}; is the mask of another model?"
        )
