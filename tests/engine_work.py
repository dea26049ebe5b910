"""Work for tests of engines, in a module that other processes can import."""

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from driftmap.core.errors import DataError
from driftmap.core.progress import progress, say
from driftmap.engine.work import Shard


@dataclass(frozen=True, slots=True, kw_only=True)
class Squares:
    """Writes the squares of the samples' numbers, and notes each shard it begins.

    Args:
        notes: Folder of the notes: one file per opening, one per shard begun.
        fault: What goes wrong, once for each shard named in `at`.
        at: Numbers of the shards at which it does.
        times: How often it does, for each of them.
        seconds: What a shard takes.
    """

    notes: Path
    fault: str = ""
    at: tuple[int, ...] = ()
    times: int = 1
    seconds: float = 0.0

    def open(self):
        """Note it."""
        self.notes.mkdir(parents=True, exist_ok=True)
        (self.notes / f"open.{os.getpid()}").touch()
        say("the model is loaded")
        if self.fault == "open":
            os.kill(os.getpid(), signal.SIGKILL)
        return _Maker(self)

    def begun(self, number=None):
        """Number of shards begun, or how often one of them was."""
        which = "*" if number is None else number
        return len(list(self.notes.glob(f"shard-{which}.*")))

    def openings(self):
        """How many processes opened the work."""
        return len(list(self.notes.glob("open.*")))


class _Maker:
    def __init__(self, work):
        self._work = work

    def make(self, shard: Shard, folder: Path) -> None:
        work = self._work
        before = work.begun(shard.number)
        (work.notes / f"shard-{shard.number}.{before}").touch()
        numbers = np.arange(shard.start, shard.stop, dtype=np.int64)
        np.save(folder / "first.npy", numbers)
        time.sleep(work.seconds)
        if shard.number in work.at and before < work.times:
            _go_wrong(work.fault)
        with progress("rows", 1) as bar:
            np.save(folder / "squares.npy", numbers**2)
            (folder / "more").mkdir()
            (folder / "more/name.txt").write_text(shard.name)
            (folder / "threads.txt").write_text(os.environ.get("OMP_NUM_THREADS", ""))
            (folder / "gpus.txt").write_text(os.environ.get("CUDA_VISIBLE_DEVICES", ""))
            bar.advance()


def _go_wrong(fault):
    if fault == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if fault == "data":
        raise DataError("s7: it has no answer; leave the row out")
    if fault == "foreign":
        raise ZeroDivisionError("seven by nothing")
    if fault == "exit":
        os.write(1, b"the library gave up\n")
        os._exit(3)
    if fault == "interrupt":
        raise KeyboardInterrupt


def squares_in(folders):
    """What all shards hold together."""
    return np.concatenate([np.load(folder / "squares.npy") for folder in folders])
