"""How do several processes of this machine share shards, and survive each other's end?

Each process opens the work once. One that is killed half way loses nothing but its
shard, which another process makes again. An error that the work itself raises would
come again, so it ends all at once, as in a single process.
"""

import os
import pickle
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import cast

from driftmap.core.progress import Progress, say
from driftmap.engine.messages import Made, Message, Noted, Opened, Raised, Said
from driftmap.engine.tries import Tries
from driftmap.engine.work import EngineSettings, Shard, ShardWork
from driftmap.engine.worker import Worker, start_worker

_REMEDY = (
    "give them more memory with fewer --workers, and repeat the command, which goes on "
    "from here"
)


def make_in_processes(
    work: ShardWork,
    shards: Sequence[Shard],
    folder: Path,
    settings: EngineSettings,
    done: Callable[[Shard], None],
    bar: Progress,
) -> None:
    """Make shards in worker processes.

    Args:
        work: Opened once in each.
        shards: Those that are not there yet.
        folder: Folder of all shards.
        settings: How many processes, and how often a shard is tried.
        done: Told of each shard that is finished.
        bar: Shows how far the workers are.

    Raises:
        EngineError: A shard's workers ended too often.
    """
    assert settings.workers is not None, "work in this process needs no other"
    pool = _Pool(work, shards, folder, settings)
    try:
        for worker, message in pool.messages():
            match message:
                case Made(shard=shard):
                    done(shard)
                case Noted(note=note):
                    bar.advance(0, note=f"worker {worker.number}: {note}")
                case Said(message=line):
                    pool.pass_on(line)
                case Raised(error=error):
                    raise error
    finally:
        pool.stop()


def threads_each(num_workers: int) -> int:
    """Threads of each worker, so that all together use every core once.

    What the environment says (`OMP_NUM_THREADS`) is meant for each of them.
    """
    said = os.environ.get("OMP_NUM_THREADS", "")
    if said.isdecimal():
        return max(1, int(said))
    return max(1, num_cores() // num_workers)


def num_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class _Pool:
    """Processes that are alive, and what each of them is doing."""

    def __init__(
        self,
        work: ShardWork,
        shards: Sequence[Shard],
        folder: Path,
        settings: EngineSettings,
    ) -> None:
        self._sent = pickle.dumps(work)
        self._folder = folder
        self._gpus = settings.gpus
        self._size = min(settings.workers or 1, len(shards))
        self._tries = Tries(shards, settings.tries, _REMEDY)
        self._workers: list[Worker] = []
        self._heard: set[str] = set()

    def messages(self) -> Iterator[tuple[Worker, Message]]:
        """Give out shards until all are finished, and hear what comes back."""
        for number in range(1, self._size + 1):
            self._start(number)
        while not self._tries.are_over:
            by_connection = {worker.connection: worker for worker in self._workers}
            for ready in wait(list(by_connection)):
                worker = by_connection[cast(Connection, ready)]
                try:
                    message: Message = worker.connection.recv()
                except (EOFError, OSError):
                    self._replace(worker)
                    continue
                self._note(worker, message)
                yield worker, message

    def pass_on(self, line: str) -> None:
        """Say what a worker says, once for all that say the same."""
        if line not in self._heard:
            self._heard.add(line)
            say(line)

    def stop(self) -> None:
        """End all processes."""
        for worker in self._workers:
            worker.dismiss()
        for worker in self._workers:
            worker.stop()

    def _start(self, number: int) -> None:
        environment = {"OMP_NUM_THREADS": str(threads_each(self._size))}
        if self._gpus:
            gpu = self._gpus[(number - 1) % len(self._gpus)]
            environment["CUDA_VISIBLE_DEVICES"] = gpu
        worker = start_worker(number, self._folder, environment)
        self._workers.append(worker)
        with suppress(OSError):  # one that ended at once is heard of soon
            worker.connection.send_bytes(self._sent)

    def _note(self, worker: Worker, message: Message) -> None:
        if isinstance(message, Made):
            self._tries.finished()
        if isinstance(message, Opened):
            self._tries.opened()
        if isinstance(message, Made | Opened):
            worker.give(self._tries.take())

    def _replace(self, worker: Worker) -> None:
        """Give the shard of a process that ended to one that waits, or to a new one."""
        reason = worker.end()
        self._workers.remove(worker)
        worker.stop()
        self._tries.lost(worker.shard, reason)
        for other in self._workers:
            if other.is_idle:
                other.give(self._tries.take())
        if self._tries.num_waiting:
            self._start(worker.number)
