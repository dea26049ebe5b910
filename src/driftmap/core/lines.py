"""How does progress read as plain lines, in a pipe or a log file?

A phase says when it begins and what it took. Everything inside it is silent unless
it is long; then it says now and then how far it is.
"""

import time
from collections.abc import Callable

from driftmap.core.progress import Listener
from driftmap.core.units import format_seconds

SECONDS_BETWEEN_LINES = 15.0


class Lines(Listener):
    """Writes lines with a function of the caller's.

    >>> lines = Lines(print)
    >>> lines.started("score", 0)
    score ...
    >>> lines.started("batches", 2)
    >>> lines.advanced(1, "")
    >>> lines.finished()
    """

    def __init__(
        self, write: Callable[[str], None], pause: float = SECONDS_BETWEEN_LINES
    ) -> None:
        """Listen.

        Args:
            write: Takes each line.
            pause: Seconds after which work is long, and between its lines.
        """
        self._write = write
        self._pause = pause
        self._open: list[_Work] = []

    def started(self, what: str, total: int) -> None:
        """Say that a phase begins; remember any other work."""
        self._open.append(_Work(what, total))
        if total == 0:
            self._write(f"{what} ...")

    def advanced(self, steps: int, note: str) -> None:
        """Say how far the newest work is, if it is long."""
        work = self._open[-1]
        work.done += steps
        now = time.monotonic()
        if now - work.last_said >= self._pause and 0 < work.done < work.total:
            work.last_said = now
            left = (now - work.began) / work.done * (work.total - work.done)
            beside = f", {note}" if note else ""
            self._write(
                f"{work.what}: {amount(work.done, work.total)}, "
                f"{format_seconds(left)} left{beside}"
            )

    def finished(self) -> None:
        """Say what a phase took, or work that was long."""
        work = self._open.pop()
        if work.total == 0 or work.last_said > work.began:
            took = format_seconds(time.monotonic() - work.began)
            self._write(f"{work.what} took {took}")

    def stopped(self) -> None:
        """Claim nothing of work that did not finish."""
        self._open.pop()

    def said(self, message: str) -> None:
        """Write one line."""
        self._write(message)


def amount(done: float, total: float) -> str:
    """Say how much of something is done; bytes and the like as a share.

    >>> amount(3, 8), amount(500_000, 2_000_000)
    ('3 of 8', '25 %')
    """
    return f"{done:g} of {total:g}" if total < 10_000 else f"{100 * done / total:.0f} %"


class _Work:
    """One open piece of work."""

    def __init__(self, what: str, total: int) -> None:
        self.what = what
        self.total = total
        self.done = 0
        self.began = self.last_said = time.monotonic()
