"""Where do the hidden states between layers wait, when there are many samples?

One flat row of numbers per level: in memory, or mapped from a file, which is written
and read in order. What a level holds is replaced batch by batch by the gradient there.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from jaxtyping import Float
from torch import Tensor

from driftmap.core.errors import MeasureError
from driftmap.core.room import free_memory
from driftmap.core.units import format_bytes

_SHARE_OF_MEMORY = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class HiddenShape:
    """What one level holds.

    Args:
        batches: Samples and tokens of every batch.
        width: Units of a hidden state.
        dtype: The type that the pass computes in.
    """

    batches: tuple[tuple[int, int], ...]
    width: int
    dtype: torch.dtype

    @property
    def num_bytes(self) -> int:
        """Room for one level, in bytes."""
        tokens = sum(prod(shape) for shape in self.batches)
        return tokens * self.width * self.dtype.itemsize


class HiddenStore:
    """Hidden states of all batches at several levels.

    Args:
        shape: What a level holds.
        folder: Where files lie; None keeps all in memory.
    """

    def __init__(self, shape: HiddenShape, folder: Path | None) -> None:
        self._shape = shape
        self._folder = folder
        self._levels: dict[int, Tensor] = {}
        sizes = [prod(one) * shape.width for one in shape.batches]
        self._starts = [sum(sizes[:number]) for number in range(len(sizes) + 1)]

    def put(
        self, level: int, number: int, values: Float[Tensor, "sample token unit"]
    ) -> None:
        """Keep what a batch has at a level, in place of what was kept there."""
        if level not in self._levels:
            self._levels[level] = self._made(level)
        self._at(level, number).copy_(values.detach())

    def get(
        self, level: int, number: int, device: torch.device
    ) -> Float[Tensor, "sample token unit"]:
        """A copy of what a batch has at a level."""
        return self._at(level, number).to(device, copy=True)

    def drop(self, level: int) -> None:
        """Let go of a level."""
        self._levels.pop(level, None)
        if self._folder is not None:
            self._file(level).unlink(missing_ok=True)

    def _at(self, level: int, number: int) -> Tensor:
        start, stop = self._starts[number], self._starts[number + 1]
        whole = self._levels[level][start:stop]
        return whole.view(*self._shape.batches[number], self._shape.width)

    def _made(self, level: int) -> Tensor:
        if self._folder is None:
            return torch.empty(self._starts[-1], dtype=self._shape.dtype)
        return torch.from_file(
            str(self._file(level)),
            shared=True,
            size=self._starts[-1],
            dtype=self._shape.dtype,
        )

    def _file(self, level: int) -> Path:
        assert self._folder is not None
        return self._folder / f"level_{level}.bin"


@contextmanager
def hidden_store(
    shape: HiddenShape,
    num_levels: int,
    *,
    folder: Path | None,
    memory_bytes: int | None,
) -> Iterator[HiddenStore]:
    """Make room for hidden states: in memory where they fit, else in files.

    Args:
        shape: What a level holds.
        num_levels: How many levels there are (count).
        folder: Where files may lie; they are gone when the block ends.
        memory_bytes: Memory that may be taken, in bytes; half of what is free by
            default.

    Raises:
        MeasureError: The memory is too small, and no folder is given.
    """
    needed = num_levels * shape.num_bytes
    room = int(_SHARE_OF_MEMORY * free_memory())
    budget = room if memory_bytes is None else memory_bytes
    if needed <= budget:
        yield HiddenStore(shape, None)
        return
    if folder is None:
        raise MeasureError(
            f"the hidden states of all samples take {format_bytes(needed)} and the "
            f"budget is {format_bytes(budget)}: give a folder for temporary files, or "
            "more memory"
        )
    with TemporaryDirectory(dir=folder, prefix="driftmap-hidden-") as inside:
        yield HiddenStore(shape, Path(inside))
