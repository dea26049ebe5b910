"""What is a worker given, and what does it write?

A recipe describes its work once, small and picklable. Each worker opens it (loads the
model) once and then makes shards, one after the other, each into a folder of its own.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

EngineKind = Literal["local", "ray"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """Some neighbouring samples, and the files that are made of them.

    Args:
        number: Its place among all shards of the whole, from 0.
        start: First sample.
        stop: One past the last sample.
    """

    number: int
    start: int
    stop: int

    @property
    def name(self) -> str:
        """Name of its folder: the same whoever makes it.

        >>> Shard(number=1, start=64, stop=100).name
        'shard-00000064-00000100'
        """
        return f"shard-{self.start:08d}-{self.stop:08d}"

    @property
    def num_samples(self) -> int:
        """Samples in it."""
        return self.stop - self.start

    def __str__(self) -> str:
        """Say it to a person, with samples counted from 1.

        >>> str(Shard(number=1, start=64, stop=100))
        'shard 2 (samples 65 to 100)'
        """
        return f"shard {self.number + 1} (samples {self.start + 1} to {self.stop})"


@runtime_checkable
class ShardMaker(Protocol):
    """Work that is open: what it needs is loaded."""

    def make(self, shard: Shard, folder: Path) -> None:
        """Write all files of a shard into an empty folder.

        The same shard gives the same bytes, whoever makes it, and however often.
        """
        ...


@runtime_checkable
class ShardWork(Protocol):
    """Work that can be sent to another process: it pickles, and is small.

    Its class stands in a module that the other process can import.
    """

    def open(self) -> ShardMaker:
        """Load what is needed, once per worker."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSettings:
    """Where shards are made; no setting changes what is in them.

    Args:
        engine: `local`, on this machine, or `ray`, on a cluster.
        workers: Processes that make shards; None for this process alone, or on a
            cluster for one per GPU, or one per machine where there is none.
        gpus: Names of this machine's GPUs as `CUDA_VISIBLE_DEVICES` takes them, one for
            each worker; empty where workers use none.
        tries: How often a shard is begun before its worker's end counts as its fault.
    """

    engine: EngineKind = "local"
    workers: int | None = None
    gpus: tuple[str, ...] = ()
    tries: int = 3
