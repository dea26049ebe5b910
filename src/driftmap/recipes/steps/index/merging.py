"""How do parts of an index that were built apart become one?"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from driftmap.core.errors import StoreError, UsageError
from driftmap.core.progress import phase
from driftmap.core.room import free_disk
from driftmap.core.units import format_bytes
from driftmap.engine.folder import DONE, first_fault, read_done
from driftmap.engine.run import run_shards
from driftmap.engine.work import Shard
from driftmap.recipes.steps.index.beginning import begun
from driftmap.recipes.steps.index.building import summary
from driftmap.results.index import IndexHeader, IndexShard
from driftmap.store.index.folder import ids_of, shard_folder, unfinished
from driftmap.store.index.header import load_header
from driftmap.store.index.joining import joined
from driftmap.store.index.shards import SHARDS


def merge(parts: Sequence[Path], out: Path) -> str:
    """Join parts of an index in a folder of their own; the parts stay.

    Args:
        parts: Folders of the parts, in any order.
        out: Where the whole goes; a merge that was cut off goes on.

    Returns:
        What there is then, for a person to read.

    Raises:
        UsageError: There are no parts.
        StoreError: Settings differ, samples are in two parts or in none, or a file is
            not what was written.
    """
    if not parts:
        raise UsageError("no part is named; name the folders of all of them")
    found = [(folder, load_header(folder)) for folder in parts]
    for folder, header in found:
        _require_finished(folder, header)
    whole = joined(found)
    _require_different_ids(found)
    places = {
        shard.name: shard_folder(folder, shard)
        for folder, header in found
        for shard in header.shards()
    }
    with begun(out, whole) as header, phase("join the parts"):
        _require_disk(out, header, places)
        shards = [_to_engine(shard) for shard in header.shards()]
        run_shards(_Copying(places), shards, out / SHARDS)
        return summary(out, header)


@dataclass(frozen=True, slots=True)
class _Copying:
    """Makes shards by copying finished ones, each of which is checked first."""

    places: dict[str, Path]

    def open(self) -> "_Copying":
        """Nothing has to be loaded."""
        return self

    def make(self, shard: Shard, folder: Path) -> None:
        """Copy a shard's files, but for the mark that it is finished."""
        place = self.places[shard.name]
        told = read_done(place)
        fault = f"{place / DONE} is damaged" if told is None else None
        if told is not None:
            fault = first_fault(place, told)
        if fault:
            raise StoreError(
                f"{fault}; repeat the command that built this part, which makes the "
                "shard again"
            )
        for name in told["files"] if told else ():
            shutil.copyfile(place / name, folder / name)


def _to_engine(shard: IndexShard) -> Shard:
    return Shard(number=shard.number, start=shard.start, stop=shard.stop)


def _require_finished(folder: Path, header: IndexHeader) -> None:
    left = unfinished(folder, header)
    if left:
        more = f" and {len(left) - 1} more" if len(left) > 1 else ""
        raise StoreError(
            f"{folder}: {left[0].name}{more} was never finished; repeat the command "
            "that builds this part"
        )


def _require_different_ids(found: Sequence[tuple[Path, IndexHeader]]) -> None:
    seen: dict[str, Path] = {}
    for folder, header in found:
        for one in ids_of(folder, header):
            if one in seen:
                raise StoreError(
                    f"{folder}: sample {one} is in {seen[one]} as well; join parts of "
                    "one set whose ids all differ"
                )
            seen[one] = folder


def _require_disk(out: Path, header: IndexHeader, places: dict[str, Path]) -> None:
    left = [places[shard.name] for shard in unfinished(out, header)]
    need = sum(file.stat().st_size for place in left for file in place.iterdir())
    free = free_disk(out)
    if need > free:
        raise StoreError(
            f"{out}: the joined index needs {format_bytes(need)} of disk, and "
            f"{format_bytes(free)} are free; choose an --out on another disk",
            topic="disk",
        )
