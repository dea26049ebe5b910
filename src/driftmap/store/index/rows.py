"""How do rows of numbers lie in a file, so that one tensor costs its own bytes only?

The file is safetensors, laid out by hand: tensors follow each other in the order of the
table, and the rows of each lie together. So it can be written in any order, and a part
of it read in place. What its first bytes must be is known beforehand, to the last one.
"""

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Shaped

from driftmap.core.errors import StoreError
from driftmap.results.index import IndexTensor, Keep
from driftmap.store.codec import METADATA
from driftmap.store.plain import VERSION, sorted_json

ROWS_FILE = "sketch.safetensors"
_KIND = "driftmap.index-rows"
_SCALES = "__scale__"
_ALIGNMENT = 64
_DTYPES = {"fp16": ("F16", np.dtype("<f2")), "int8": ("I8", np.dtype("i1"))}
_LARGEST = 127


class Layout:
    """Where everything stands in the rows of a shard of one size."""

    def __init__(
        self, tensors: tuple[IndexTensor, ...], keep: Keep, num_samples: int
    ) -> None:
        """Lay out a file.

        Args:
            tensors: The table.
            keep: Number type.
            num_samples: Rows per tensor.
        """
        self.tensors = tensors
        self.keep: Keep = keep
        self.num_samples = num_samples
        name, self.dtype = _DTYPES[keep]
        scales = 4 * len(tensors) * num_samples if keep == "int8" else 0
        sizes = (num_samples * t.num_numbers * self.dtype.itemsize for t in tensors)
        self.offsets = tuple(accumulate(sizes, initial=scales))
        """Where the rows of each tensor begin, and where the last ones end."""
        self.begin = self._begin(name, scales)
        """First bytes of the file, up to where numbers begin."""

    @property
    def file_bytes(self) -> int:
        """Bytes of the whole file."""
        return len(self.begin) + self.offsets[-1]

    def _begin(self, dtype: str, scales: int) -> bytes:
        whole = {"kind": _KIND, "version": VERSION}
        entries: dict[str, object] = {"__metadata__": {METADATA: sorted_json(whole)}}
        if scales:
            shape = [len(self.tensors), self.num_samples]
            entries[_SCALES] = _entry("F32", shape, 0, scales)
        for tensor, start, stop in zip(
            self.tensors, self.offsets[:-1], self.offsets[1:], strict=True
        ):
            shape = [self.num_samples, tensor.num_numbers]
            entries[tensor.place.name] = _entry(dtype, shape, start, stop)
        text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
        text += b" " * (-(len(text) + 8) % _ALIGNMENT)
        return len(text).to_bytes(8, "little") + text


class RowsWriter:
    """An open file of rows; each row of each tensor is put once, in any order."""

    def __init__(self, descriptor: int, layout: Layout) -> None:
        """Use `writing_rows`."""
        self._file = descriptor
        self._layout = layout
        self._begin = len(layout.begin)
        self._missing = dict.fromkeys(range(len(layout.tensors)), layout.num_samples)

    def put(
        self, number: int, first: int, rows: Float32[np.ndarray, "sample _"]
    ) -> Float32[np.ndarray, "sample _"]:
        """Write rows of one tensor that follow each other.

        Args:
            number: Number of the tensor in the table.
            first: Number of the first of these samples in the shard.
            rows: The numbers.

        Returns:
            The numbers as they can be read again.
        """
        kept, scales = rounded(rows, self._layout.keep)
        self.put_rounded(number, first, kept, scales)
        return widened(kept) * scales[:, None]

    def put_rounded(
        self,
        number: int,
        first: int,
        kept: Shaped[np.ndarray, "sample _"],
        scales: Float32[np.ndarray, " sample"],
    ) -> None:
        """Write rows that are rounded already, bit for bit."""
        layout = self._layout
        width = layout.tensors[number].num_numbers
        assert kept.shape[1] == width, f"{layout.tensors[number].place.name}: width"
        assert kept.dtype == layout.dtype
        self._missing[number] -= len(kept)
        at = layout.offsets[number] + first * width * layout.dtype.itemsize
        self._write(at, kept)
        if layout.keep == "int8":
            self._write(4 * (number * layout.num_samples + first), scales)

    def require_all(self) -> None:
        """Every row was put."""
        assert not any(self._missing.values()), f"{self._missing}: rows never written"

    def _write(self, at: int, numbers: np.ndarray) -> None:
        content = np.ascontiguousarray(numbers).data.cast("B")
        at += self._begin
        while content:
            done = os.pwrite(self._file, content, at)
            content, at = content[done:], at + done


@contextmanager
def writing_rows(path: Path, layout: Layout) -> Iterator[RowsWriter]:
    """Open a file of rows to be filled; it grows in place."""
    with path.open("wb", buffering=0) as file:
        file.write(layout.begin)
        file.truncate(layout.file_bytes)
        writer = RowsWriter(file.fileno(), layout)
        yield writer
        writer.require_all()


class RowsFile:
    """A file of rows, mapped: what is not touched is not read."""

    def __init__(self, path: Path, layout: Layout) -> None:
        """Open a file.

        Raises:
            StoreError: It is missing, or not what its place in the index says.
        """
        self._layout = layout
        begin = layout.begin
        try:
            with path.open("rb") as file:
                found = file.read(len(begin))
                size = os.fstat(file.fileno()).st_size
        except FileNotFoundError:
            raise StoreError(
                f"{path}: is missing; find it, or repeat the command that built the "
                "index"
            ) from None
        if found != begin or size != layout.file_bytes:
            raise StoreError(
                f"{path}: is damaged or of another index; remove its folder and repeat "
                "the command that built the index"
            )
        self._mapped = np.asarray(np.memmap(path, mode="r"))
        self._begin = len(begin)

    def kept(self, number: int) -> Shaped[np.ndarray, "sample _"]:
        """Rows of one tensor as they are kept, in place."""
        layout = self._layout
        start, stop = layout.offsets[number : number + 2]
        held = self._mapped[self._begin + start : self._begin + stop]
        return held.view(layout.dtype).reshape(layout.num_samples, -1)

    def scales(self, number: int) -> Float32[np.ndarray, " sample"]:
        """What the rows of one tensor are multiplied by."""
        num = self._layout.num_samples
        if self._layout.keep == "fp16":
            return np.ones(num, np.float32)
        start = self._begin + 4 * num * number
        return np.asarray(self._mapped[start : start + 4 * num].view("<f4"))

    def view(self, numbers: Sequence[int]) -> Shaped[np.ndarray, "sample tensor _"]:
        """Rows of neighbouring tensors of one width as they are kept, without a copy.

        Args:
            numbers: Numbers of the tensors, ascending without a gap.
        """
        layout = self._layout
        widths = {layout.tensors[number].num_numbers for number in numbers}
        assert len(widths) == 1, "tensors of several widths have no common view"
        assert list(numbers) == list(range(numbers[0], numbers[0] + len(numbers)))
        start = self._begin + layout.offsets[numbers[0]]
        stop = self._begin + layout.offsets[numbers[-1] + 1]
        held = self._mapped[start:stop].view(layout.dtype)
        by_tensor = held.reshape(len(numbers), layout.num_samples, *widths)
        return by_tensor.transpose(1, 0, 2)


def rounded(
    rows: Float32[np.ndarray, "sample _"], keep: Keep
) -> tuple[Shaped[np.ndarray, "sample _"], Float32[np.ndarray, " sample"]]:
    """Round rows to what is kept, and what to multiply them by.

    >>> kept, scales = rounded(np.array([[1.0, -0.5]], np.float32), "int8")
    >>> kept.tolist(), round(float(scales[0] * 127), 6)
    ([[127, -64]], 1.0)
    """
    if keep == "fp16":
        return rows.astype("<f2"), np.ones(len(rows), np.float32)
    scales = np.abs(rows).max(1, initial=0) / np.float32(_LARGEST)
    divisors = np.where(scales > 0, scales, np.float32(1))
    return np.rint(rows / divisors[:, None]).astype(np.int8), scales


def widened(kept: Shaped[np.ndarray, "sample _"]) -> Float32[np.ndarray, "sample _"]:
    """Turn kept numbers into float32, exactly; scales are not applied.

    Half precision is moved bit by bit, three times as fast as by numpy's own cast:
    exponent and mantissa stand 13 bits further left, and the exponent counts from
    another place.
    """
    if kept.dtype != np.dtype("<f2"):
        return kept.astype(np.float32)
    wide = np.left_shift(kept.view("<i2"), 13, dtype=np.int32)
    wide &= np.int32(-0x70002000)
    floats = wide.view(np.float32)
    floats *= np.float32(2.0**112)
    return floats


def _entry(dtype: str, shape: Sequence[int], start: int, stop: int) -> object:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [start, stop]}
