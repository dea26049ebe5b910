"""How does one shard of an index get its files, and how are they read?"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Float64, Shaped

from driftmap.core.errors import StoreError
from driftmap.results.index import IndexedSample, IndexHeader, IndexShard
from driftmap.results.sketches import SketchedSamples
from driftmap.store.codec import open_tensors, save_tensors
from driftmap.store.index.rows import (
    ROWS_FILE,
    Layout,
    RowsFile,
    RowsWriter,
    writing_rows,
)
from driftmap.store.index.samples import SAMPLES_FILE, read_samples, write_samples

SHARDS = "shards"
"""Folder of the shards in an index."""

DONE = "done.json"
"""Marks a shard that is finished; the engine writes it last."""

ENERGY_FILE = "energy.safetensors"
_ENERGY_KIND = "driftmap.index-energies"
_EXACT, _KEPT = "energy", "kept_energy"


class ShardWriter:
    """The files of a shard on their way; samples come in any order, each once."""

    def __init__(self, rows: RowsWriter, header: IndexHeader, num_samples: int) -> None:
        """Use `writing_shard`."""
        self._rows = rows
        self._tensors = tuple(tensor.place for tensor in header.tensors)
        shape = num_samples, len(self._tensors)
        self.energies = np.zeros(shape)
        self.kept_energies = np.zeros(shape)
        self.samples: list[IndexedSample | None] = [None] * num_samples

    def put(
        self, first: int, samples: Sequence[IndexedSample], sketched: SketchedSamples
    ) -> None:
        """Keep samples that follow each other.

        Args:
            first: Number of the first of them in the shard.
            samples: What they are.
            sketched: Their gradients.
        """
        assert sketched.tensors == self._tensors, "the tensors of another index"
        assert sketched.sample_ids == tuple(s.id for s in samples), "another order"
        here = slice(first, first + len(samples))
        self.energies[here] = sketched.energies
        for number, rows in enumerate(sketched.rows):
            kept = self._rows.put(number, first, rows)
            shares = np.square(kept, dtype=np.float64).sum(1)
            self.kept_energies[here, number] = sketched.energies[:, number] * shares
        self._note(first, samples)

    def copy(
        self,
        first: int,
        chosen: slice,
        shard: "Shard",
        samples: Sequence[IndexedSample],
    ) -> None:
        """Keep samples of another shard as they are, bit for bit.

        Args:
            first: Number of the first of them here.
            chosen: Which samples of the other shard.
            shard: The other shard.
            samples: What they are.
        """
        here = slice(first, first + len(samples))
        self.energies[here], self.kept_energies[here] = (
            energies[chosen] for energies in shard.energies()
        )
        for number in range(len(self._tensors)):
            kept, scales = shard.kept(number)
            self._rows.put_rounded(number, first, kept[chosen], scales[chosen])
        self._note(first, samples)

    def _note(self, first: int, samples: Sequence[IndexedSample]) -> None:
        assert not any(self.samples[first : first + len(samples)]), "kept twice"
        self.samples[first : first + len(samples)] = samples


class Shard:
    """A finished shard, read where it lies."""

    def __init__(
        self, folder: Path, header: IndexHeader, planned: IndexShard, layout: Layout
    ) -> None:
        """Open a shard.

        Raises:
            StoreError: It is not finished, or its rows are damaged.
        """
        self.folder = folder
        self.planned = planned
        if not (folder / DONE).is_file():
            raise StoreError(
                f"{folder}: was never finished; repeat the command that builds the "
                "index"
            )
        self._shape = planned.num_samples, len(header.tensors)
        self._rows = RowsFile(folder / ROWS_FILE, layout)

    def kept(
        self, number: int
    ) -> tuple[Shaped[np.ndarray, "sample _"], Float32[np.ndarray, " sample"]]:
        """Rows of one tensor as they are kept, and what to multiply them by."""
        return self._rows.kept(number), self._rows.scales(number)

    def view(self, numbers: Sequence[int]) -> Shaped[np.ndarray, "sample tensor _"]:
        """Rows of neighbouring tensors of one width as they are kept, without a copy.

        With int8 they are to be multiplied by `scales`.
        """
        return self._rows.view(numbers)

    def energies(
        self,
    ) -> tuple[
        Float64[np.ndarray, "sample tensor"], Float64[np.ndarray, "sample tensor"]
    ]:
        """Squared lengths of the gradients, and of what is kept of them.

        Raises:
            StoreError: The file is missing or damaged.
        """
        path = self.folder / ENERGY_FILE
        with open_tensors(path, _ENERGY_KIND) as file:
            exact, kept = (file.read(name, "float64", 2) for name in (_EXACT, _KEPT))
        if not exact.shape == kept.shape == self._shape:
            raise StoreError(
                f"{path}: is of another index; remove its folder and repeat the "
                "command that built the index"
            )
        return exact, kept

    def samples(self, chosen: Sequence[int] | None = None) -> tuple[IndexedSample, ...]:
        """Samples of the shard, all of them or some numbers of them.

        Raises:
            StoreError: The file is missing or damaged.
        """
        return read_samples(self.folder / SAMPLES_FILE, chosen)


@contextmanager
def writing_shard(
    folder: Path, header: IndexHeader, num_samples: int
) -> Iterator[ShardWriter]:
    """Fill an empty folder with the files of a shard; the engine marks it as finished.

    Args:
        folder: The folder.
        header: What the index says of itself.
        num_samples: Samples that will be put.
    """
    layout = Layout(header.tensors, header.settings.keep, num_samples)
    with writing_rows(folder / ROWS_FILE, layout) as rows:
        writer = ShardWriter(rows, header, num_samples)
        yield writer
    write_samples(folder / SAMPLES_FILE, [s for s in writer.samples if s is not None])
    arrays = {_EXACT: writer.energies, _KEPT: writer.kept_energies}
    save_tensors(folder / ENERGY_FILE, arrays, _ENERGY_KIND, {})


def shard_bytes(header: IndexHeader, num_samples: int) -> int:
    """Bytes of a shard's numbers; its samples' ids and tokens come on top."""
    layout = Layout(header.tensors, header.settings.keep, num_samples)
    return layout.file_bytes + 16 * num_samples * len(header.tensors)
