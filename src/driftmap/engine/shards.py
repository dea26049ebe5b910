"""Which samples make a shard, and which shards are a part of the whole?

Chunks of a fixed size are counted from the first sample, whatever part is asked for.
So every division by `i/n` computes the same chunks, and merged parts equal the whole
bit for bit on a CPU. A range by `start` and `end` may cut a chunk; what comes of it
then equals the whole up to rounding.
"""

import re
from dataclasses import dataclass

from driftmap.core.errors import UsageError
from driftmap.engine.work import Shard

CHUNK = 64
"""Samples of a chunk."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fraction:
    """One of so many parts of about equal size, cut at the edges of chunks.

    Args:
        index: Which part, from 1.
        count: How many parts there are.
    """

    index: int
    count: int

    def __str__(self) -> str:
        """As on the command line."""
        return f"{self.index}/{self.count}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """Samples from one number to before another, counted from 0.

    Args:
        start: First sample.
        stop: One past the last sample.
    """

    start: int
    stop: int

    def __str__(self) -> str:
        """Half-open, as on the command line."""
        return f"{self.start}:{self.stop}"


Partition = Fraction | Range


def parse_partition(
    fraction: str | None, start: int | None, end: int | None
) -> Partition | None:
    """Read which part is asked for.

    Args:
        fraction: `--partition`, as in `2/8`.
        start: `--partition-start`.
        end: `--partition-end`.

    Returns:
        The part; None for the whole.

    Raises:
        UsageError: The words are no part, or name it in two ways or by half.

    >>> parse_partition("2/8", None, None)
    Fraction(index=2, count=8)
    >>> parse_partition(None, 10, 20)
    Range(start=10, stop=20)
    """
    if fraction is not None and (start is not None or end is not None):
        raise UsageError(
            f"--partition {fraction} and --partition-start or --partition-end both "
            "name a part; give one of the two ways"
        )
    if fraction is not None:
        return _fraction(fraction)
    if start is None and end is None:
        return None
    if start is None or end is None:
        given, missing = ("start", "end") if end is None else ("end", "start")
        raise UsageError(
            f"--partition-{given} is given alone; give --partition-{missing} as well"
        )
    if start < 0 or end <= start:
        raise UsageError(
            f"--partition-start {start} --partition-end {end} holds no sample; give "
            "0 or more, and an end above the start"
        )
    return Range(start=start, stop=end)


def shards_of(
    num_samples: int, partition: Partition | None = None, *, size: int = CHUNK
) -> tuple[Shard, ...]:
    """Divide samples, or a part of them, into shards.

    Args:
        num_samples: Samples of the whole (count).
        partition: Which part; None for the whole.
        size: Samples of a shard (count).

    Returns:
        Shards in the order of the samples; numbers and edges are those of the whole.

    Raises:
        UsageError: The part is empty, or reaches beyond the samples.

    >>> [(s.number, s.start, s.stop) for s in shards_of(150)]
    [(0, 0, 64), (1, 64, 128), (2, 128, 150)]
    >>> [str(s) for s in shards_of(150, Fraction(index=2, count=2))]
    ['shard 2 (samples 65 to 128)', 'shard 3 (samples 129 to 150)']
    >>> [(s.number, s.start, s.stop) for s in shards_of(150, Range(start=60, stop=70))]
    [(0, 60, 64), (1, 64, 70)]
    """
    start, stop = bounds(num_samples, partition, size=size)
    return tuple(
        Shard(
            number=number,
            start=max(start, number * size),
            stop=min(stop, (number + 1) * size),
        )
        for number in range(start // size, -(-stop // size))
    )


def bounds(
    num_samples: int, partition: Partition | None, *, size: int = CHUNK
) -> tuple[int, int]:
    """Find the first sample of a part and one past its last.

    Raises:
        UsageError: The part is empty, or reaches beyond the samples.

    >>> bounds(150, Fraction(index=1, count=2))
    (0, 64)
    """
    if partition is None:
        return 0, num_samples
    if isinstance(partition, Range):
        if partition.stop > num_samples:
            raise UsageError(
                f"--partition-end is {partition.stop}, and there are {num_samples} "
                f"samples; give at most {num_samples}"
            )
        return partition.start, partition.stop
    num_chunks = -(-num_samples // size)
    if partition.count > num_chunks:
        raise UsageError(
            f"--partition {partition}: {num_samples} samples are {num_chunks} "
            f"{'chunk' if num_chunks == 1 else 'chunks'} of {size}, so that some of "
            f"{partition.count} parts would be empty; divide by at most {num_chunks}"
        )
    first = (partition.index - 1) * num_chunks // partition.count
    last = partition.index * num_chunks // partition.count
    return first * size, min(last * size, num_samples)


def _fraction(words: str) -> Fraction:
    found = re.fullmatch(r"(\d+)/(\d+)", words, re.ASCII)
    index, count = map(int, found.groups()) if found else (0, 0)
    if not 1 <= index <= count:
        raise UsageError(
            f"--partition {words} names no part; give its number and how many there "
            "are, as in 1/4 to 4/4"
        )
    return Fraction(index=index, count=count)
