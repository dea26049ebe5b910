"""How is a part of a run made, so that parts made elsewhere can be put together?

Beside its shards a part tells what decides on them: `part.json`. Shards of other inputs
are never taken for those that are asked for.
"""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from driftmap.core.errors import EngineError
from driftmap.core.progress import say
from driftmap.engine.folder import DONE, first_fault, put_text, read_done
from driftmap.engine.run import HERE, run_shards
from driftmap.engine.shards import CHUNK, Partition, shards_of
from driftmap.engine.work import EngineSettings, Shard, ShardWork

FOLDER = "shards"
"""Folder of a run that holds its shards."""

PART = "part.json"
KIND = "driftmap.part"
VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What decides on the shards of a run, wherever they are made.

    Args:
        kind: Which recipe: the name of its command.
        inputs: All that the shards depend on, plain: settings, hashes of files.
        num_samples: Samples of the whole (count).
        size: Samples of a shard (count).
        partition: Which part is made here; None for the whole.
    """

    kind: str
    inputs: Mapping[str, object]
    num_samples: int
    size: int = CHUNK
    partition: Partition | None = None


def make_part(
    work: ShardWork, part: Part, run: Path, settings: EngineSettings = HERE
) -> tuple[Path, ...]:
    """Make the shards of a part, or of the whole, that are not there yet.

    Where shards that are there already cover the whole, these are taken: merged parts
    may have cut it at other places.

    Args:
        work: Makes them.
        part: What they depend on, and which of them are wanted.
        run: The run folder; they lie in its folder `shards`.
        settings: Where the work runs.

    Returns:
        The shards' folders, in the order of the samples.

    Raises:
        UsageError: The part is empty, or reaches beyond the samples.
        EngineError: Too many workers were lost over one shard.
    """
    shards = shards_of(part.num_samples, part.partition, size=part.size)
    folder = run / FOLDER
    begin(folder, part)
    if part.partition is None:
        there = [shard for shard, _ in finished(folder)]
        if is_cover(there, part.num_samples):
            shards = tuple(there)
    try:
        return run_shards(work, shards, folder, settings)
    except BaseException:
        if not any(folder.glob(f"shard-*/{DONE}")):  # as if never begun
            clear(run)
        raise


def begin(folder: Path, part: Part) -> None:
    """Note what a folder's shards depend on; those of other inputs are removed."""
    told = plain_part(part)
    before = read_part(folder) if (folder / PART).exists() else None
    if before is not None and inputs_of(before) != inputs_of(told):
        say(f"{folder}: what its shards depend on changed; they are made again")
        shutil.rmtree(folder)
    if before != told:
        folder.mkdir(parents=True, exist_ok=True)
        write_told(folder, told)


def write_told(folder: Path, told: Mapping[str, object]) -> None:
    """Write what a folder of shards tells of itself, whole or not at all."""
    put_text(folder / PART, json.dumps(told, sort_keys=True, indent=2) + "\n")


def clear(run: Path) -> None:
    """Remove the shards of a run that is finished."""
    shutil.rmtree(run / FOLDER, ignore_errors=True)


def read_part(folder: Path) -> dict:
    """Read what a folder of shards tells of itself.

    Raises:
        EngineError: It is missing or damaged.
    """
    path = folder / PART
    try:
        told = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise EngineError(
            f"{folder.parent}: holds no part of a run; make one with --partition, and "
            "name its --out"
        ) from None
    except ValueError:
        told = None
    keys = {"kind", "version", "of", "inputs", "num_samples", "size", "partition"}
    if not isinstance(told, dict) or told.keys() != keys or told["kind"] != KIND:
        raise EngineError(f"{path}: is damaged; remove it and repeat the command")
    if told["version"] != VERSION:
        raise EngineError(
            f"{path}: is of version {told['version']}, this driftmap reads up to "
            f"{VERSION}; use a newer driftmap"
        )
    return told


def finished(folder: Path) -> list[tuple[Shard, str | None]]:
    """Find the shards that are marked finished, in the order of the samples.

    Returns:
        Each with its first fault; None for one that is whole.
    """
    found: list[tuple[Shard, str | None]] = []
    for mark in sorted(folder.glob(f"shard-*/{DONE}")):
        told = read_done(mark.parent)
        if told is None:
            fault, numbers = f"{mark} is damaged", mark.parent.name.split("-")[1:]
            start, stop = map(int, numbers)
            found.append((Shard(number=0, start=start, stop=stop), fault))
        else:
            shard = Shard(number=told["number"], start=told["start"], stop=told["stop"])
            found.append((shard, first_fault(mark.parent, told)))
    return sorted(found, key=lambda each: (each[0].start, each[0].stop))


def is_cover(shards: Sequence[Shard], num_samples: int) -> bool:
    """Whether shards in their order hold every sample exactly once."""
    edges = [0, *(shard.stop for shard in shards)]
    starts = [shard.start for shard in shards]
    return starts == edges[:-1] and edges[-1] == num_samples


def inputs_of(told: Mapping) -> dict:
    """All of a part but which part it is."""
    return {name: value for name, value in told.items() if name != "partition"}


def plain_part(part: Part) -> dict[str, object]:
    """Turn a part into what its file holds."""
    told = {
        "kind": KIND,
        "version": VERSION,
        "of": part.kind,
        "inputs": dict(part.inputs),
        "num_samples": part.num_samples,
        "size": part.size,
        "partition": None if part.partition is None else str(part.partition),
    }
    return json.loads(json.dumps(told))
