"""How are all shards of a piece of work made, wherever that happens, and only once?"""

from collections.abc import Sequence
from pathlib import Path

from driftmap.core.progress import progress, say
from driftmap.engine.folder import clear_half_written, fault_of
from driftmap.engine.local import make_here
from driftmap.engine.work import EngineSettings, Shard, ShardWork
from driftmap.engine.workers import make_in_processes

HERE = EngineSettings()
"""In this process."""


def run_shards(
    work: ShardWork,
    shards: Sequence[Shard],
    folder: Path,
    settings: EngineSettings = HERE,
) -> tuple[Path, ...]:
    """Make every shard that is not there yet, or not what was written.

    One process at a time may do this with a folder; its workers may be many. Give each
    piece of work, with its settings, a folder of its own: what is found there counts.

    Args:
        work: Makes shards; not opened where none is left to make.
        shards: All shards that are wanted.
        folder: Where they lie, each in a folder of its own; on storage that all
            workers share.
        settings: Where the work runs.

    Returns:
        The shards' folders, in the order of the shards.

    Raises:
        EngineError: Too many workers were lost over one shard.
        UsageError: The cluster that is asked for cannot be had.
    """
    folder.mkdir(parents=True, exist_ok=True)
    clear_half_written(folder)
    left = [shard for shard in shards if _is_left(shard, folder)]
    if 0 < len(left) < len(shards):
        say(f"{len(shards) - len(left)} of {len(shards)} shards are there already")
    try:
        if left:
            _make(work, left, folder, settings)
    finally:
        clear_half_written(folder)
    return tuple(folder / shard.name for shard in shards)


def _make(
    work: ShardWork, left: Sequence[Shard], folder: Path, settings: EngineSettings
) -> None:
    with progress("shards", len(left)) as bar:

        def done(shard: Shard) -> None:
            bar.advance(note=str(shard))

        if settings.engine == "ray":
            # Not at the top: Ray is an extra.
            from driftmap.engine.ray import make_on_cluster

            make_on_cluster(work, left, folder, settings, done)
        elif settings.workers is None:
            make_here(work, left, folder, done)
        else:
            make_in_processes(work, left, folder, settings, done, bar)


def _is_left(shard: Shard, folder: Path) -> bool:
    fault = fault_of(shard, folder)
    if fault:
        say(f"{fault}; {shard} is made again")
    return fault is not None
