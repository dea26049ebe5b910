"""What is each sample's gradient of a tensor, put together a stretch at a time?

A gradient of a large tensor is never whole in memory: it comes in stretches of its flat
order, or, where only a few rows of a table were looked up, as those rows. Sums of
squares are taken over at most 2^16 numbers in float32 and added in float64, since one
long float32 sum errs by 1e-3.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor

from driftmap.core.errors import MeasureError
from driftmap.signals.gradients import (
    GradientPiece,
    LookedUpRows,
    OuterProducts,
    TensorSignal,
    WholeGradients,
)

PIECE = 2**16
"""Numbers that one float32 sum of squares goes over at most."""

STRETCH = 2**20
"""Numbers of all samples together that a stretch holds, about: what fits a cache."""

STRETCH_ON_GPU = 2**25
"""The same where starting a sum costs more than its numbers."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Stretch:
    """Neighbouring weights of a tensor, and every sample's gradient there.

    Args:
        start: Number of the first weight, in the flat order of the signal's shape.
        values: The gradients.
    """

    start: int
    values: Float[Tensor, "sample weight"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TouchedRows:
    """Rows of a table that a batch's samples looked up, each once per sample.

    Args:
        sample: Which sample of the batch, ascending.
        row: Which row of the table, ascending within a sample.
        values: The sample's gradient of the row.
    """

    sample: Int[Tensor, " touched"]
    row: Int[Tensor, " touched"]
    values: Float[Tensor, "touched width"]


def only_looked_up(signal: TensorSignal) -> bool:
    """Whether the gradient is zero but in the rows that `touched_rows` gives."""
    return bool(signal.pieces) and all(
        isinstance(piece, LookedUpRows) for piece in signal.pieces
    )


def touched_rows(signal: TensorSignal) -> TouchedRows:
    """Add up what was looked up more than once, sample by sample.

    Args:
        signal: One that has looked-up rows; its other pieces are left out.
    """
    pieces = [piece for piece in signal.pieces if isinstance(piece, LookedUpRows)]
    num_rows = signal.shape[0]
    keys, values = [], []
    for piece in pieces:
        offset = torch.arange(len(piece.ids), device=piece.ids.device) * num_rows
        keys.append((piece.ids + offset[:, None])[piece.counted])
        values.append(widened(piece.gradients[piece.counted]) * piece.scale)
    unique, place = torch.unique(torch.cat(keys), return_inverse=True)
    given = torch.cat(values)
    rows = given.new_zeros(len(unique), signal.shape[1])
    add_at(rows, place, given)
    return TouchedRows(sample=unique // num_rows, row=unique % num_rows, values=rows)


def stretches(signal: TensorSignal, numbers: int | None = None) -> Iterator[Stretch]:
    """Give every sample's whole gradient, in flat order, a stretch at a time.

    Args:
        signal: What a batch showed of one tensor.
        numbers: Of all samples together, in one stretch (count); by default what
            suits the device. A stretch has at least one row.

    Yields:
        Stretches that follow each other without a gap.
    """
    if not signal.pieces:
        return
    if numbers is None:
        is_cpu = values_of(signal.pieces[0]).device.type == "cpu"
        numbers = STRETCH if is_cpu else STRETCH_ON_GPU
    if all(isinstance(piece, WholeGradients) for piece in signal.pieces):
        yield from _whole(signal.pieces, numbers)
        return
    outer = [piece for piece in signal.pieces if isinstance(piece, OuterProducts)]
    looked_up = any(isinstance(piece, LookedUpRows) for piece in signal.pieces)
    touched = touched_rows(signal) if looked_up else None
    num_rows, width = signal.shape
    step = max(1, numbers // (len(signal.sample_ids) * width))
    for first in range(0, num_rows, step):
        last = min(first + step, num_rows)
        block = _block(signal, outer, first, last)
        if touched is not None:
            inside = (touched.row >= first) & (touched.row < last)
            block[touched.sample[inside], touched.row[inside] - first] += (
                touched.values[inside]
            )
        yield Stretch(start=first * width, values=block.flatten(1))


def squared_sums(values: Float[Tensor, "sample weight"]) -> Float64[Tensor, " sample"]:
    """Squared length of each row, exact to rounding however long it is."""
    total = values.new_zeros(len(values), dtype=torch.float64)
    for piece in values.split(PIECE, dim=1):
        total += piece.square().sum(dim=1).double()
    return total


def noise_floor(signal: TensorSignal) -> Float64[Tensor, " sample"]:
    """Energy below which a gradient is what rounding left of sums that cancel.

    Returns:
        `(64 eps)^2` times the sum of squares of the factors, per sample.
    """
    like = values_of(signal.pieces[0])
    eps = torch.finfo(widened(like[:0]).dtype).eps
    total = torch.zeros(len(like), dtype=torch.float64, device=like.device)
    for piece in signal.pieces:
        if isinstance(piece, WholeGradients):
            total += piece.summed_squares
        elif isinstance(piece, OuterProducts):
            total += _squares(piece.inputs) * _squares(piece.gradients)
        else:
            counted = piece.gradients * piece.counted[:, :, None]
            total += piece.counted.sum(1) * piece.scale**2 * _squares(counted)
    return (64 * eps) ** 2 * total


def check_finite(signal: TensorSignal, energy: Float64[Tensor, " sample"]) -> None:
    """Refuse a gradient that is no number.

    Raises:
        MeasureError: Names the tensor and the samples.
    """
    fine = energy.isfinite().tolist()
    bad = [name for name, ok in zip(signal.sample_ids, fine, strict=True) if not ok]
    if bad:
        raise MeasureError(
            f"{signal.tensor.name}: the gradient of {bad} is not finite; "
            "does the model give NaN, or does its loss overflow in this dtype?"
        )


def values_of(piece: GradientPiece) -> Float[Tensor, "sample ..."]:
    """The gradients that a piece holds, for their dtype, device and count."""
    return piece.values if isinstance(piece, WholeGradients) else piece.gradients


def widened(values: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """Turn half precision into float32, in which sums are taken; float64 stays."""
    return values if values.dtype == torch.float64 else values.float()


def add_at(
    total: Float[Tensor, "place ..."],
    index: Int[Tensor, " item"],
    values: Float[Tensor, "item ..."],
) -> None:
    """Add values at places that repeat, in an order that is always the same."""
    if total.device.type == "cpu":
        total.index_add_(0, index, values)
    else:  # `index_add_` is atomic there; this sorts first
        total.index_put_((index.long(),), values, accumulate=True)


def _whole(pieces: Sequence[object], numbers: int) -> Iterator[Stretch]:
    values = [widened(p.values) for p in pieces if isinstance(p, WholeGradients)]
    total = torch.stack(values).sum(dim=0) if len(values) > 1 else values[0]
    step = max(1, numbers // len(total))
    for start in range(0, total.shape[1], step):
        yield Stretch(start=start, values=total[:, start : start + step])


def _block(
    signal: TensorSignal, outer: Sequence[OuterProducts], first: int, last: int
) -> Float[Tensor, "sample row in"]:
    """Some rows of the sum of all outer products and whole gradients."""
    total: Tensor | None = None
    for piece in outer:
        gradients = widened(piece.gradients[:, :, first:last])
        product = gradients.transpose(1, 2) @ widened(piece.inputs)
        total = product if total is None else total + product
    width = signal.shape[1]
    for piece in signal.pieces:
        if isinstance(piece, WholeGradients):
            rows = widened(piece.values[:, first * width : last * width])
            rows = rows.reshape(len(rows), last - first, width)
            total = rows if total is None else total + rows
    if total is None:
        like = next(p for p in signal.pieces if isinstance(p, LookedUpRows)).gradients
        total = widened(like[:0]).new_zeros(len(like), last - first, width)
    return total


def _squares(values: Float[Tensor, "sample token unit"]) -> Float64[Tensor, " sample"]:
    return squared_sums(widened(values).flatten(1))
