"""How does a person see that long work moves, on a terminal and in a log file?"""

import time

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from driftmap.core.progress import Listener
from driftmap.core.units import format_seconds

SECONDS_BETWEEN_LINES = 15.0


class Bars(Listener):
    """Live bars with time left, for a terminal."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._open: list[tuple[Progress, TaskID]] = []

    def started(self, what: str, total: int) -> None:
        """Draw a new bar under those already open."""
        if self._open:
            bars = self._open[-1][0]
        else:
            bars = Progress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
                TextColumn("{task.fields[note]}"),
                console=self._console,
            )
            bars.start()
        self._open.append((bars, bars.add_task(what, total=total, note="")))

    def advanced(self, steps: int, note: str) -> None:
        """Move the newest bar."""
        bars, task = self._open[-1]
        bars.update(task, advance=steps, note=note)

    def finished(self) -> None:
        """Close the newest bar, and the display with the last one."""
        bars, _ = self._open.pop()
        if not self._open:
            bars.stop()

    def said(self, message: str) -> None:
        """Print a line above the bars."""
        self._console.print(message, highlight=False, markup=False)


class Lines(Listener):
    """A plain line now and then, for a log file or a pipe."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._open: list[_Work] = []

    def started(self, what: str, total: int) -> None:
        """Say what begins."""
        self._open.append(_Work(what, total))
        self.said(f"{what}: 0 of {total}")

    def advanced(self, steps: int, note: str) -> None:
        """Say how far the newest work is, at most every few seconds."""
        work = self._open[-1]
        work.done += steps
        now = time.monotonic()
        if now - work.last_said >= SECONDS_BETWEEN_LINES and work.done < work.total:
            work.last_said = now
            left = (now - work.began) / work.done * (work.total - work.done)
            beside = f", {note}" if note else ""
            self.said(
                f"{work.what}: {work.done} of {work.total}, "
                f"{format_seconds(left)} left{beside}"
            )

    def finished(self) -> None:
        """Say that the newest work ended, and how long it took."""
        work = self._open.pop()
        took = format_seconds(time.monotonic() - work.began)
        self.said(f"{work.what}: {work.done} of {work.total} in {took}")

    def said(self, message: str) -> None:
        """Print one line."""
        self._console.print(message, highlight=False, markup=False, soft_wrap=True)


class _Work:
    """One open piece of work of `Lines`."""

    def __init__(self, what: str, total: int) -> None:
        self.what = what
        self.total = total
        self.done = 0
        self.began = self.last_said = time.monotonic()


def listener_for(console: Console) -> Listener:
    """Bars where they can move, lines everywhere else."""
    return Bars(console) if console.is_terminal else Lines(console)
