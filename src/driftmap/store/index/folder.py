"""What is in an index: which shards are there, and which are missing?"""

from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

from driftmap.core.errors import StoreError
from driftmap.results.index import IndexedSample, IndexHeader, IndexShard
from driftmap.store.index.header import load_header
from driftmap.store.index.rows import Layout
from driftmap.store.index.samples import SAMPLES_FILE, read_ids
from driftmap.store.index.shards import DONE, SHARDS, Shard


class Index:
    """An index of which nothing is missing, read where it lies.

    Samples are counted over all shards in their order.
    """

    def __init__(self, folder: Path) -> None:
        """Open an index.

        Raises:
            StoreError: The folder holds none, or a part of it is missing.
        """
        self.folder = folder
        self.header = load_header(folder)
        self.planned = self.header.shards()
        require_whole(folder, self.header)
        keep, tensors = self.header.settings.keep, self.header.tensors
        self._layout = cache(lambda num_samples: Layout(tensors, keep, num_samples))

    @property
    def num_samples(self) -> int:
        """Samples of all shards."""
        return self.planned[-1].stop

    def shards(self) -> Iterator[Shard]:
        """Shards in order.

        Raises:
            StoreError: A shard is damaged.
        """
        return (self._shard(planned) for planned in self.planned)

    def samples(self, numbers: Sequence[int]) -> dict[int, IndexedSample]:
        """Read samples by their numbers.

        Raises:
            StoreError: A file is missing or damaged.
        """
        wanted = sorted(set(numbers))
        found: dict[int, IndexedSample] = {}
        for planned in self.planned:
            here = [n for n in wanted if planned.start <= n < planned.stop]
            if here:
                chosen = [number - planned.start for number in here]
                samples = self._shard(planned).samples(chosen)
                found |= dict(zip(here, samples, strict=True))
        return found

    def _shard(self, planned: IndexShard) -> Shard:
        folder = shard_folder(self.folder, planned)
        layout = self._layout(planned.num_samples)
        return Shard(folder, self.header, planned, layout)


def shard_folder(folder: Path, planned: IndexShard) -> Path:
    """Where a shard lies."""
    return folder / SHARDS / planned.name


def unfinished(folder: Path, header: IndexHeader) -> list[IndexShard]:
    """Shards that are still to be made."""
    return [
        planned
        for planned in header.shards()
        if not (shard_folder(folder, planned) / DONE).is_file()
    ]


def require_whole(folder: Path, header: IndexHeader) -> None:
    """Refuse an index of which something is missing.

    Raises:
        StoreError: A range of a source was built elsewhere, or a shard is not there.
    """
    for part in header.parts:
        gaps = uncovered([(s.start, s.stop) for s in part.spans], part.num_samples)
        if gaps:
            raise StoreError(
                f"{folder}: is a part of an index; samples {in_words(gaps)} of "
                f"{part.data} are elsewhere: join the parts with `driftmap index merge`"
            )
    missing = unfinished(folder, header)
    if missing:
        first, more = missing[0], len(missing) - 1
        and_more = f" and {more} more" if more else ""
        raise StoreError(
            f"{folder}: {first.name} of {header.parts[first.part].data}{and_more} was "
            "never finished; repeat the command that builds the index"
        )


def uncovered(
    spans: Sequence[tuple[int, int]], num_samples: int
) -> list[tuple[int, int]]:
    """Find ranges of samples that no span holds.

    >>> uncovered([(4, 6), (0, 2)], 9)
    [(2, 4), (6, 9)]
    """
    gaps: list[tuple[int, int]] = []
    reached = 0
    for start, stop in [*sorted(spans), (num_samples, num_samples)]:
        if start > reached:
            gaps.append((reached, start))
        reached = max(reached, stop)
    return gaps


def ids_of(folder: Path, header: IndexHeader) -> Iterator[str]:
    """Ids of all samples that are there, in order.

    Raises:
        StoreError: A file is missing or damaged.
    """
    for planned in header.shards():
        yield from read_ids(shard_folder(folder, planned) / SAMPLES_FILE)


def in_words(ranges: Sequence[tuple[int, int]]) -> str:
    """Say ranges to a person, with samples counted from 1."""
    return ", ".join(f"{start + 1} to {stop}" for start, stop in ranges)
