"""How are shards made in this very process, one after the other?"""

from collections.abc import Callable, Sequence
from pathlib import Path

from driftmap.engine.folder import make_shard
from driftmap.engine.work import Shard, ShardWork


def make_here(
    work: ShardWork,
    shards: Sequence[Shard],
    folder: Path,
    done: Callable[[Shard], None],
) -> None:
    """Make shards in their order.

    Args:
        work: Opened once.
        shards: Those that are not there yet.
        folder: Folder of all shards.
        done: Told of each shard that is finished.
    """
    maker = work.open()
    for shard in shards:
        make_shard(maker, shard, folder)
        done(shard)
