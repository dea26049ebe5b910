"""How large is each segment's gradient, if no gradient may be kept?

A segment's gradient is `D^T X` over its rows. It is formed, reduced to a few numbers
and overwritten by the next: on a processor one block of rows at a time, which stays in
a core's cache; on an accelerator many segments of like length in one call.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

import torch
from jaxtyping import Float32
from torch import Tensor

Axis = Literal["out", "in"]

# Product and sums stay in the cache of a core; an accelerator wants few large products.
_BLOCK_BYTES = 1 << 20
_CHUNK_BYTES = 512 << 20


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Segments:
    """Rows of one map, segment after segment.

    Args:
        inputs: X.
        output_gradients: D.
        start: First row of each segment, and the number of rows at the end.
        expert: Expert of each segment, ascending.
        scale: What each row of D is multiplied by; None for 1.
    """

    inputs: Float32[Tensor, "row in"]
    output_gradients: Float32[Tensor, "row out"]
    start: tuple[int, ...]
    expert: tuple[int, ...]
    scale: Float32[Tensor, " row"] | None = None

    @property
    def on_processor(self) -> bool:
        """The rows lie in the memory of the processor."""
        return self.inputs.device.type == "cpu"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sums:
    """Sums over the numbers of every segment's gradient.

    Args:
        absolute: Of |dW|, unit by unit of the axis that was kept.
        square: Of dW^2; None unless asked for.
        weighted: Of |dW * W|; None unless weights were given.
    """

    absolute: Float32[Tensor, "segment unit"]
    square: Float32[Tensor, " segment"] | None
    weighted: Float32[Tensor, " segment"] | None


WeightOf = Callable[[int], Float32[Tensor, "out in"]]
"""W of an expert."""


@torch.no_grad()
def reduced(
    rows: Segments, kept: Axis, *, square: bool = False, weight: WeightOf | None = None
) -> Sums:
    """Form each segment's gradient once and sum over its numbers, in float32.

    Args:
        rows: Rows and segments.
        kept: Whether sums of |dW| stay apart per output unit or per input unit.
        square: Sum squares as well.
        weight: Gives W of an expert, for sums of |dW * W|.

    >>> D, X = torch.tensor([[1.0], [1.0], [2.0]]), torch.tensor([[1.0, -5.0],
    ...     [3.0, 1.0], [-1.0, 0.5]])
    >>> rows = Segments(inputs=X, output_gradients=D, start=(0, 2, 3), expert=(0, 0))
    >>> reduced(rows, "out").absolute
    tensor([[8.],
            [3.]])
    """
    if rows.on_processor:
        return in_blocks(rows, kept, square=square, weight=weight)
    return in_chunks(rows, kept, square=square, weight=weight)


def in_blocks(
    rows: Segments, kept: Axis, *, square: bool = False, weight: WeightOf | None = None
) -> Sums:
    """`reduced`, segment by segment in blocks of output units."""
    X, start = rows.inputs, rows.start
    num_rows = rows.output_gradients.shape[1]
    found = _zeros(rows, kept, square, weight)
    for expert, segments in _by_expert(rows):
        W = None if weight is None else weight(expert)
        for block in _blocks(num_rows, X.shape[1]):
            product = X.new_empty(block.stop - block.start, X.shape[1])
            flat = product.view(-1)
            size = None if W is None else W[block].abs().reshape(-1)
            for s in segments:
                own = slice(start[s], start[s + 1])
                torch.mm(_scaled(rows, own)[:, block].T, X[own], out=product)
                if found.square is not None:
                    found.square[s] += torch.dot(flat, flat)
                flat.abs_()
                if kept == "out":
                    torch.sum(product, 1, out=found.absolute[s, block])
                else:
                    found.absolute[s] += product.sum(0)
                if size is not None and found.weighted is not None:
                    found.weighted[s] += torch.dot(flat, size)
    return found


def in_chunks(
    rows: Segments,
    kept: Axis,
    *,
    square: bool = False,
    weight: WeightOf | None = None,
    num_bytes: int = _CHUNK_BYTES,
) -> Sums:
    """`reduced`, with many segments of like length in one batched product."""
    found = _zeros(rows, kept, square, weight)
    each = rows.inputs.shape[1] * rows.output_gradients.shape[1]
    for chunk in _chunks(rows, num_bytes, each if weight is None else 2 * each):
        product = torch.bmm(*_padded(rows, chunk))
        if found.square is not None:
            found.square[chunk] = torch.linalg.vector_norm(product, dim=(1, 2)).square()
        product.abs_()
        found.absolute[chunk] = product.sum(2 if kept == "out" else 1)
        if weight is not None and found.weighted is not None:
            W = torch.stack([weight(rows.expert[s]) for s in chunk])
            found.weighted[chunk] = product.mul_(W.abs_()).sum((1, 2))
    return found


@torch.no_grad()
def squares(rows: Segments) -> Float32[Tensor, " segment"]:
    """Sum of dW^2 of every segment, by whichever way is cheaper.

    `||D^T X||^2 = sum_{t,t'} (x_t . x_t')(d_t . d_t')` (ghost norm) needs no gradient:
    fewer products where a segment has fewer than `ab / (a + b)` rows for an `a x b`
    matrix.
    """
    D, X, start = rows.output_gradients, rows.inputs, rows.start
    assert rows.scale is None, "lengths are of samples alone"
    found = X.new_zeros(len(rows.expert))
    a, b = D.shape[1], X.shape[1]
    if not rows.on_processor:
        return squares_in_chunks(rows)
    for s in range(len(rows.expert)):
        own = slice(start[s], start[s + 1])
        if (start[s + 1] - start[s]) * (a + b) < a * b:
            found[s] = torch.dot(
                (X[own] @ X[own].T).view(-1), (D[own] @ D[own].T).view(-1)
            )
        else:
            found[s] = torch.linalg.vector_norm(D[own].T @ X[own]).square()
    return found.clamp_(min=0)  # rounding may take a tiny sum below


def squares_in_chunks(
    rows: Segments, num_bytes: int = _CHUNK_BYTES
) -> Float32[Tensor, " segment"]:
    """`squares`, with many segments of like length in one batched product."""
    found = rows.inputs.new_zeros(len(rows.expert))
    a, b = rows.output_gradients.shape[1], rows.inputs.shape[1]
    for chunk in _chunks(rows, num_bytes, a * b):
        D, X = _padded(rows, chunk)
        if X.shape[1] * (a + b) < a * b:
            products = torch.bmm(X, X.transpose(1, 2)) * torch.bmm(D.transpose(1, 2), D)
            found[chunk] = products.sum((1, 2))
        else:
            found[chunk] = torch.linalg.vector_norm(torch.bmm(D, X), dim=(1, 2)) ** 2
    return found.clamp_(min=0)


def _scaled(rows: Segments, own: slice) -> Float32[Tensor, "row out"]:
    """D of one segment; scaled here, it stays in the cache."""
    D = rows.output_gradients[own]
    return D if rows.scale is None else D * rows.scale[own, None]


def _zeros(rows: Segments, kept: Axis, square: bool, weight: WeightOf | None) -> Sums:
    count, X = len(rows.expert), rows.inputs
    units = rows.output_gradients.shape[1] if kept == "out" else X.shape[1]
    return Sums(
        absolute=X.new_zeros(count, units),
        square=X.new_zeros(count) if square else None,
        weighted=None if weight is None else X.new_zeros(count),
    )


def _by_expert(rows: Segments) -> Iterator[tuple[int, list[int]]]:
    numbered = groupby(range(len(rows.expert)), key=lambda s: rows.expert[s])
    for expert, segments in numbered:
        yield expert, list(segments)


def _blocks(num_rows: int, num_columns: int) -> Iterator[slice]:
    height = max(1, _BLOCK_BYTES // (4 * num_columns))
    for start in range(0, num_rows, height):
        yield slice(start, min(start + height, num_rows))


def _chunks(rows: Segments, num_bytes: int, each: int) -> Iterator[list[int]]:
    """Segments of like length together, longest first.

    Args:
        rows: Rows and segments.
        num_bytes: What a chunk may take.
        each: Numbers that one segment takes beside its own rows.
    """
    length = [b - a for a, b in zip(rows.start, rows.start[1:], strict=False)]
    order = sorted(range(len(length)), key=lambda s: -length[s])
    width = rows.inputs.shape[1] + rows.output_gradients.shape[1]
    first = 0
    while first < len(order):
        size = 4 * (each + length[order[first]] * width)
        last = first + max(1, num_bytes // size)
        yield order[first:last]
        first = last


def _padded(
    rows: Segments, chunk: list[int]
) -> tuple[Float32[Tensor, "segment out row"], Float32[Tensor, "segment row in"]]:
    """D^T and X of some segments, with rows of zeros at the end of the shorter ones."""
    first = torch.tensor([rows.start[s] for s in chunk])
    end = torch.tensor([rows.start[s + 1] for s in chunk])
    index = first[:, None] + torch.arange(int((end - first).max()))
    over = (index >= end[:, None]).to(rows.inputs.device)[..., None]
    index = index.clamp(max=len(rows.inputs) - 1).to(rows.inputs.device)
    D = rows.output_gradients[index].masked_fill_(over, 0)
    if rows.scale is not None:
        D *= rows.scale[index][..., None]
    return D.transpose(1, 2), rows.inputs[index].masked_fill_(over, 0)
