"""How does long work say how far it is, without knowing who listens?

A stage wraps its loop in `progress(...)`. The command line installs a listener
that draws bars; a library call hears nothing unless it installs its own. No listener
hears a secret.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol, runtime_checkable

from driftmap.core.secrets import redacted


@runtime_checkable
class Listener(Protocol):
    """Whoever shows progress to a person."""

    def started(self, what: str, total: int) -> None:
        """Work named `what` begins; it has `total` steps, or 0 if none are counted."""

    def advanced(self, steps: int, note: str) -> None:
        """The newest work moved on by `steps`; `note` is shown beside it."""

    def finished(self) -> None:
        """The newest work is done."""

    def stopped(self) -> None:
        """The newest work was cut off by an error; shown as finished by default."""
        self.finished()

    def said(self, message: str) -> None:
        """One line worth keeping that belongs to no bar."""


class Silence(Listener):
    """Hears everything and shows nothing."""


_listener: ContextVar[Listener] = ContextVar("listener", default=Silence())  # noqa: B039


class Progress:
    """Handed to the loop that does the work."""

    def advance(self, steps: int = 1, note: str = "") -> None:
        """Say that `steps` more are done, with a short note such as the loss."""
        _listener.get().advanced(steps, redacted(note))


@contextmanager
def progress(what: str, total: int) -> Iterator[Progress]:
    """Announce work of `total` steps for as long as the block runs."""
    listener = _listener.get()
    listener.started(redacted(what), total)
    try:
        yield Progress()
    except BaseException:
        listener.stopped()
        raise
    listener.finished()


@contextmanager
def phase(what: str) -> Iterator[None]:
    """Announce a part of a command, in which other work is counted."""
    with progress(what, 0):
        yield


def say(message: str) -> None:
    """Tell the person one thing worth knowing: a count dropped, a cache used."""
    _listener.get().said(redacted(message))


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Send all progress inside the block to `listener`."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


@contextmanager
def overheard_by(listener: Listener) -> Iterator[None]:
    """Send all progress inside the block to `listener` as well."""
    with listening(_Both(_listener.get(), listener)):
        yield


class _Both(Listener):
    """Tells two listeners the same."""

    def __init__(self, first: Listener, second: Listener) -> None:
        self._each = (first, second)

    def started(self, what: str, total: int) -> None:
        for listener in self._each:
            listener.started(what, total)

    def advanced(self, steps: int, note: str) -> None:
        for listener in self._each:
            listener.advanced(steps, note)

    def finished(self) -> None:
        for listener in self._each:
            listener.finished()

    def stopped(self) -> None:
        for listener in self._each:
            listener.stopped()

    def said(self, message: str) -> None:
        for listener in self._each:
            listener.said(message)
