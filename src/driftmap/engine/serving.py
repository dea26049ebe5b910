"""What does a worker process do, from its start to its end?

It is a process of its own that is told its work once and then shards one by one. It
ends when whoever started it ends, however that happens.
"""

import os
import pickle
import threading
from multiprocessing.connection import Connection
from pathlib import Path
from traceback import format_exc

from driftmap.core.progress import listening
from driftmap.engine.folder import make_shard
from driftmap.engine.messages import Made, Opened, Raised, Teller, portable
from driftmap.engine.work import Shard, ShardWork


def serve(descriptor: int, folder: str) -> None:
    """Open the work that is sent, and make shards until none is left.

    Args:
        descriptor: Number of the open socket to whoever started this process.
        folder: Folder of all shards.
    """
    os.set_inheritable(descriptor, False)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    connection = Connection(descriptor)
    try:
        with listening(Teller(connection)):
            _work(connection, Path(folder))
    except BrokenPipeError:
        os._exit(1)
    except BaseException as error:  # noqa: BLE001  the other process raises it
        connection.send(Raised(error=portable(error, format_exc())))


def _work(connection: Connection, folder: Path) -> None:
    work: ShardWork = pickle.loads(connection.recv_bytes())
    maker = work.open()
    connection.send(Opened())
    while True:
        shard: Shard | None = connection.recv()
        if shard is None:
            return
        make_shard(maker, shard, folder)
        connection.send(Made(shard=shard))


def _end_with_parent() -> None:
    """Wait for the end of the input, which lasts as long as the other process."""
    while os.read(0, 1):
        pass
    os._exit(1)
