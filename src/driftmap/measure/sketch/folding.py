"""How is a gradient folded into few numbers without ever being whole in memory?

A count-sketch: every weight is added to one bucket under a random sign, so that inner
products of sketches are inner products of gradients on average, with a standard error
of `sqrt((AB + D^2) / size)`. Two sketches of half the size stand side by side: together
they err as one of the whole size, and how far they lie apart tells by how much.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor

from driftmap.core.places import TensorPlace
from driftmap.measure.sketch.tables import FoldTable, fold_table
from driftmap.signals.assembled import (
    Stretch,
    TouchedRows,
    add_at,
    only_looked_up,
    squared_sums,
    stretches,
    touched_rows,
)
from driftmap.signals.gradients import TensorSignal

_CHUNK = 2**20
"""Weights of looked-up rows whose buckets are made at a time."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sketched:
    """The short form of a batch's gradients of one tensor.

    Args:
        values: The two halves side by side, scaled so that inner products of rows
            estimate those of the gradients.
        energy: Exact squared length of each gradient.
    """

    values: Float[Tensor, "sample number"]
    energy: Float64[Tensor, " sample"]


class Folding:
    """The signed fold of one tensor; makes its tables once.

    Args:
        tensor: Which; with its number of weights.
        size: Numbers of both halves together, fewer than there are weights.
        seed: The projection's.
        device: Where the gradients are.
    """

    def __init__(
        self, tensor: TensorPlace, size: int, seed: int, device: torch.device
    ) -> None:
        assert tensor.num_weights is not None, "it is measured on a model"
        self._halves = [
            _Half(
                fold_table(seed, tensor.name, half, tensor.num_weights, size // 2),
                device,
            )
            for half in (0, 1)
        ]

    def __call__(self, signal: TensorSignal) -> Sketched:
        """Fold what a batch showed."""
        count = len(signal.sample_ids)
        if only_looked_up(signal):
            touched = touched_rows(signal)
            totals = [half.start(count, touched.values) for half in self._halves]
            for half, total in zip(self._halves, totals, strict=True):
                half.add_rows(total, touched)
            energy = totals[0].new_zeros(count, dtype=torch.float64)
            add_at(energy, touched.sample, squared_sums(touched.values))
            return self._joined(totals, energy)
        totals, energy = [], None
        for stretch in stretches(signal):
            squares = squared_sums(stretch.values)
            energy = squares if energy is None else energy + squares
            totals = totals or [h.start(count, stretch.values) for h in self._halves]
            for half, total in zip(self._halves, totals, strict=True):
                half.add_stretch(total, stretch)
        assert energy is not None, "the signal has pieces"
        return self._joined(totals, energy)

    def _joined(
        self, totals: list[Tensor], energy: Float64[Tensor, " sample"]
    ) -> Sketched:
        folded = [h.finish(t) for h, t in zip(self._halves, totals, strict=True)]
        return Sketched(values=torch.cat(folded, dim=1) / 2**0.5, energy=energy)


class _Half:
    """One independent sketch; totals have room for buckets past the rotation."""

    def __init__(self, table: FoldTable, device: torch.device) -> None:
        self._size = table.size
        self._order = torch.from_numpy(table.order).to(device)
        self._rotation = torch.from_numpy(table.rotation).to(device)
        self._bits = torch.from_numpy(table.signs).to(device)
        byte = torch.arange(256, device=device)[:, None]
        bit = torch.arange(8, device=device)
        self._of_byte = 1.0 - 2.0 * ((byte >> bit) & 1)
        self._inverse: Tensor | None = None
        self._scratch = torch.empty(0, device=device)

    def start(self, count: int, like: Tensor) -> Tensor:
        return like.new_zeros(count, 2 * self._size)

    def finish(self, total: Tensor) -> Tensor:
        return total[:, : self._size] + total[:, self._size :]

    def add_stretch(self, total: Tensor, stretch: Stretch) -> None:
        first, last = stretch.start, stretch.start + stretch.values.shape[1]
        signs = self._signs(first, last).to(stretch.values.dtype)
        signed = torch.mul(stretch.values, signs, out=self._room(stretch.values))
        if total.device.type == "cpu":
            # With int32 the same sum takes nine times as long.
            total.index_add_(1, self._buckets(first, last).long(), signed)
        else:
            total[:, : self._size] += self.gathered(signed, first)

    def add_rows(self, total: Tensor, touched: TouchedRows) -> None:
        width = touched.values.shape[1]
        column = torch.arange(width, device=total.device)
        step = max(1, _CHUNK // width)
        for at in range(0, len(touched.row), step):
            weight = touched.row[at : at + step, None] * width + column
            tile, position = weight // len(self._order), weight % len(self._order)
            bucket = self._order[position] + self._rotation[tile]
            bucket = bucket + touched.sample[at : at + step, None] * total.shape[1]
            minus = (self._bits[weight >> 3] >> (weight & 7)) & 1
            signed = touched.values[at : at + step] * (1 - 2 * minus.to(total.dtype))
            add_at(total.view(-1), bucket.flatten(), signed.flatten())

    def gathered(
        self, signed: Float[Tensor, "sample weight"], first: int
    ) -> Float[Tensor, "sample bucket"]:
        """Sum buckets by reading instead of adding, where adding is not ordered.

        Whole tiles are put into the order of their buckets, summed over each bucket,
        and rotated.
        """
        length, size = len(self._order), self._size
        before = first % length
        after = -(before + signed.shape[1]) % length
        # One more column of zeros for buckets that have fewer weights than others.
        tiles = torch.nn.functional.pad(signed, (before, after))
        tiles = tiles.view(len(signed), -1, length)
        tiles = torch.nn.functional.pad(tiles, (0, 1))
        tile = first // length + torch.arange(tiles.shape[1], device=signed.device)
        sums = tiles[:, :, self._places()].sum(dim=3)
        bucket = torch.arange(size, device=signed.device)
        turned = (bucket - self._rotation[tile, None]) % size
        return sums.gather(2, turned.expand(len(signed), -1, -1)).sum(dim=1)

    def _places(self) -> Int[Tensor, "bucket weight"]:
        """Which weights of a tile each bucket sums; `length` where none is left."""
        if self._inverse is None:
            length, size = len(self._order), self._size
            by_bucket = torch.argsort(self._order, stable=True)
            ends = torch.bincount(self._order, minlength=size).cumsum(0)
            starts = torch.cat([ends.new_zeros(1), ends[:-1]])
            rank = torch.arange(-(-length // size), device=ends.device)
            place = starts[:, None] + rank
            is_there = place < ends[:, None]
            inside = by_bucket[place.clamp(max=length - 1)]
            self._inverse = torch.where(is_there, inside, length)
        return self._inverse

    def _room(self, values: Tensor) -> Tensor:
        """Memory that is used again: fresh pages cost more than the product."""
        if self._scratch.dtype != values.dtype or len(self._scratch) < values.numel():
            self._scratch = torch.empty_like(values).flatten()
        return self._scratch[: values.numel()].view(values.shape)

    def _signs(self, first: int, last: int) -> Float[Tensor, " weight"]:
        bytes_ = self._bits[first // 8 : -(-last // 8)].int()
        whole = self._of_byte.index_select(0, bytes_).flatten()
        return whole[first % 8 : first % 8 + last - first]

    def _buckets(self, first: int, last: int) -> Int[Tensor, " weight"]:
        length = len(self._order)
        tiles = self._rotation[first // length : -(-last // length), None]
        buckets = (self._order + tiles).flatten()
        return buckets[first % length : first % length + last - first]
