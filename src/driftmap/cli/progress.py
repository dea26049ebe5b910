"""How does a person see that long work moves, on a terminal and in a pipe?"""

import time

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from driftmap.core.lines import Lines, amount
from driftmap.core.progress import Listener
from driftmap.core.units import format_seconds


class Bars(Listener):
    """Live bars with time left; a finished phase leaves one line behind."""

    def __init__(self, console: Console) -> None:
        """Draw on `console`."""
        self._console = console
        self._bars: Progress | None = None
        self._open: list[_Bar] = []

    def started(self, what: str, total: int) -> None:
        """Draw a new bar under those already open."""
        if self._bars is None:
            self._bars = _display(self._console)
            self._bars.start()
        task = self._bars.add_task(_shown(what), total=total or None, note="")
        self._open.append(_Bar(what, task, is_phase=total == 0))

    def advanced(self, steps: int, note: str) -> None:
        """Move the newest bar."""
        assert self._bars is not None
        self._bars.update(self._open[-1].task, advance=steps, note=note)

    def finished(self) -> None:
        """Take the newest bar away, and the display with the last one."""
        assert self._bars is not None
        bar = self._open.pop()
        self._bars.remove_task(bar.task)
        if not self._open:
            self._bars.stop()
            self._bars = None
        if bar.is_phase:
            took = format_seconds(time.monotonic() - bar.began)
            self.said(f"{bar.what} took {took}")

    def said(self, message: str) -> None:
        """Print a line above the bars."""
        self._console.print(message, highlight=False, markup=False)


class _Bar:
    """One open bar of `Bars`."""

    def __init__(self, what: str, task: TaskID, *, is_phase: bool) -> None:
        self.what = what
        self.task = task
        self.is_phase = is_phase
        self.began = time.monotonic()


class _AmountColumn(TextColumn):
    """How much is done; nothing for a phase, which counts nothing."""

    def __init__(self) -> None:
        super().__init__("")

    def render(self, task: Task) -> Text:
        """Draw one cell."""
        return Text("" if task.total is None else amount(task.completed, task.total))


class _LeftColumn(TimeRemainingColumn):
    """Time left, named so that it is not read as time gone."""

    def render(self, task: Task) -> Text:
        """Draw one cell."""
        if task.total is None:
            return Text("")
        return Text.assemble(super().render(task), " left")


def listener_for(console: Console) -> Listener:
    """Bars where they can move, lines everywhere else."""
    if console.is_terminal:
        return Bars(console)
    return Lines(
        lambda line: console.print(line, highlight=False, markup=False, soft_wrap=True)
    )


def _display(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=20),
        _AmountColumn(),
        TimeElapsedColumn(),
        _LeftColumn(),
        TextColumn("{task.fields[note]}", markup=False),
        console=console,
        transient=True,
    )


def _shown(what: str) -> str:
    return what if len(what) <= 32 else f"{what[:31]}…"
