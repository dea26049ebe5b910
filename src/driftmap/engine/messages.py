"""What does a worker tell the process that started it?

Everything is sent as bytes that `pickle` made, between processes that this command
started itself; nothing of it is ever written to a file.
"""

import pickle
import time
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection

from driftmap.core.progress import Listener
from driftmap.engine.work import Shard

_SECONDS_BETWEEN_NOTES = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """The work is open; shards may come."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A shard is finished."""

    shard: Shard


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """One line worth keeping."""

    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Noted:
    """How far the newest work is."""

    note: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Raised:
    """The work raised an error, which ends everything."""

    error: BaseException


Message = Opened | Made | Said | Noted | Raised


def portable(error: BaseException, trace: str) -> BaseException:
    """Turn an error into one that another process can be sent.

    Args:
        error: What was raised.
        trace: Where, as Python prints it; kept as a note for `--debug`.
    """
    again: BaseException = RuntimeError(f"{type(error).__name__}: {error}")
    with suppress(Exception):  # it may be of any library's own making
        sent = pickle.loads(pickle.dumps(error))
        if type(sent) is type(error) and str(sent) == str(error):
            again = sent
    again.add_note(f"in a worker:\n{trace}")
    return again


class Teller(Listener):
    """Sends what is said and done in a worker to whoever started it."""

    def __init__(self, connection: Connection) -> None:
        """Send through `connection`."""
        self._connection = connection
        self._open: list[_Work] = []
        self._last = 0.0

    def started(self, what: str, total: int) -> None:
        """Remember a piece of work; say so if it has no steps to count."""
        self._open.append(_Work(what, total))
        self._note()

    def advanced(self, steps: int, note: str) -> None:
        """Say how far the newest work is, not too often."""
        self._open[-1].done += steps
        self._note()

    def finished(self) -> None:
        """Forget it."""
        self._open.pop()

    def said(self, message: str) -> None:
        """Send one line."""
        self._connection.send(Said(message=message))

    def _note(self) -> None:
        now = time.monotonic()
        if now - self._last >= _SECONDS_BETWEEN_NOTES:
            self._last = now
            work = self._open[-1]
            far = f" {work.done} of {work.total}" if work.total else ""
            self._connection.send(Noted(note=f"{work.what}{far}"))


class _Work:
    def __init__(self, what: str, total: int) -> None:
        self.what = what
        self.total = total
        self.done = 0
