"""How often may the worker of a shard be lost before that is the shard's fault?"""

from collections.abc import Sequence

from driftmap.core.errors import EngineError
from driftmap.core.progress import say
from driftmap.engine.work import Shard


class Tries:
    """Which shards are still to be given out, and how often each was lost.

    Args:
        shards: All shards, in the order in which they are given out.
        tries: How often a shard is begun.
        remedy: What a person may do when that is not enough.
    """

    def __init__(self, shards: Sequence[Shard], tries: int, remedy: str) -> None:
        self._waiting = list(shards)
        self._left = len(shards)
        self._tries = tries
        self._remedy = remedy
        self._lost: dict[Shard, int] = {}
        self._lost_opening = 0

    @property
    def are_over(self) -> bool:
        """Whether every shard is finished."""
        return self._left == 0

    @property
    def num_waiting(self) -> int:
        """Shards that no worker has."""
        return len(self._waiting)

    def take(self) -> Shard | None:
        """Give the next shard to a worker; None where all have one."""
        return self._waiting.pop(0) if self._waiting else None

    def finished(self) -> None:
        """Count a shard as done."""
        self._left -= 1

    def opened(self) -> None:
        """A worker has opened the work, so that it can be opened."""
        self._lost_opening = 0

    def lost(self, shard: Shard | None, reason: str) -> None:
        """Put the shard of a lost worker back, first in the row.

        Args:
            shard: What it was making; None where it was still opening the work, or
                waited.
            reason: How it ended, as in `was killed by SIGKILL`.

        Raises:
            EngineError: That happened too often.
        """
        if shard is None:
            self._lost_opening += 1
            if self._lost_opening >= self._tries:
                raise EngineError(
                    f"{self._lost_opening} workers in a row ended before they could "
                    f"begin: the last one {reason}; {self._remedy}"
                )
            say(f"a worker {reason} before it could begin; another one takes its place")
            return
        count = self._lost[shard] = self._lost.get(shard, 0) + 1
        if count >= self._tries:
            raise EngineError(
                f"{shard}: {count} workers ended while they made it, the last one "
                f"{reason}; {self._remedy}"
            )
        say(f"the worker of {shard} {reason}; another one makes it again")
        self._waiting.insert(0, shard)
