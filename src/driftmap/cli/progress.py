"""How does a person see that long work moves, on a terminal and in a pipe?

On a terminal every open piece of work is one line that never wraps: what does not fit
is left out, and what is left to wait goes last.
"""

import time

from rich.cells import cell_len, set_cell_size
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from driftmap.core.lines import Lines, amount
from driftmap.core.progress import Listener
from driftmap.core.units import format_seconds

_LONGEST_NAME = 32
_BAR = 20
_SHORTEST_NAME = 4
_STYLES = {
    "what": "",
    "bar": "bar.complete",
    "amount": "progress.download",
    "gone": "progress.elapsed",
    "left": "progress.remaining",
    "note": "",
}
"""Parts of a line in the order they stand in, and how each looks."""

_DEAREST_FIRST = ("left", "amount", "gone", "bar", "note")
"""Parts beside the name, in the order they are given room."""


class Bars(Listener):
    """Live bars with time left; a finished phase leaves one line behind."""

    def __init__(self, console: Console) -> None:
        """Draw on `console`."""
        self._console = console
        self._live: Live | None = None
        self._open: list[Work] = []

    def started(self, what: str, total: int) -> None:
        """Draw a new bar under those already open."""
        self._open.append(Work(what, total))
        if self._live is None:
            self._live = Live(
                console=self._console,
                get_renderable=self._drawn,
                transient=True,
                refresh_per_second=8,
            )
            self._live.start(refresh=True)

    def advanced(self, steps: int, note: str) -> None:
        """Move the newest bar."""
        work = self._open[-1]
        work.done += steps
        work.note = note

    def finished(self) -> None:
        """Take the newest bar away, and the display with the last one."""
        work = self._closed()
        if work.total == 0:
            took = format_seconds(time.monotonic() - work.began)
            self.said(f"{work.what} took {took}")

    def stopped(self) -> None:
        """Take the newest bar away and claim nothing of it."""
        self._closed()

    def said(self, message: str) -> None:
        """Print a line above the bars."""
        self._console.print(message, highlight=False, markup=False, soft_wrap=True)

    def _closed(self) -> "Work":
        assert self._live is not None
        work = self._open.pop()
        if not self._open:
            self._live.stop()
            self._live = None
        return work

    def _drawn(self) -> Group:
        # One column stays free: terminals differ in what they do after the last one.
        width = max(self._console.width - 1, 1)
        in_ascii = not self._console.encoding.startswith("utf")
        now = time.monotonic()
        return Group(
            *(fitted(work, width, now, in_ascii=in_ascii) for work in self._open)
        )


class Work:
    """One open piece of work."""

    def __init__(self, what: str, total: int) -> None:
        """Begin.

        Args:
            what: Its name.
            total: Steps, or 0 if none are counted.
        """
        self.what = what
        self.total = total
        self.done = 0
        self.note = ""
        self.began = time.monotonic()


def fitted(work: Work, width: int, now: float, *, in_ascii: bool = False) -> Text:
    """Write a piece of work as one line.

    Args:
        work: What moves.
        width: Columns there are; at least 1.
        now: Moment of the drawing, on the clock of `time.monotonic`.
        in_ascii: The console shows no other letters.

    Returns:
        No more than `width` columns. Time left stays longest, then the amount.

    >>> work = Work("fine-tune", 4)
    >>> work.done, now = 1, work.began + 30
    >>> fitted(work, 60, now).plain
    'fine-tune ━━━━━─────────────── 1 of 4 0:30 1:30 left'
    >>> fitted(work, 26, now).plain, fitted(work, 16, now).plain
    ('fine-tune 1 of 4 1:30 left', 'fine-… 1:30 left')
    """
    offered = _offered(work, now, in_ascii=in_ascii)
    beside = width - cell_len(offered.get("left", "")) - 1
    room = beside if beside >= _SHORTEST_NAME else width
    name = " ".join(work.what.split())
    parts = {"what": _cut(name, min(room, _LONGEST_NAME), in_ascii=in_ascii)}
    used = cell_len(parts["what"])
    for part in _DEAREST_FIRST:
        size = cell_len(offered.get(part, "")) + 1
        if size > 1 and used + size <= width:
            parts[part] = offered[part]
            used += size
    line = Text(no_wrap=True, overflow="crop")
    for part, style in _STYLES.items():
        if part in parts:
            line.append(" " if line else "").append(parts[part], style)
    return line


def listener_for(console: Console) -> Listener:
    """Bars where they can move, lines everywhere else."""
    # Not `is_terminal`: FORCE_COLOR makes that true of a pipe.
    if console.file.isatty() and not console.is_dumb_terminal:
        return Bars(console)
    return Lines(
        lambda line: console.print(line, highlight=False, markup=False, soft_wrap=True)
    )


def _offered(work: Work, now: float, *, in_ascii: bool) -> dict[str, str]:
    """What could stand beside the name; nothing is counted of a phase."""
    gone = now - work.began
    offered = {"gone": _clock(gone), "note": " ".join(work.note.split())}
    if work.total == 0:
        return offered
    share = min(work.done / work.total, 1.0)
    offered["amount"] = amount(work.done, work.total)
    full, empty = "=-" if in_ascii else "━─"
    num_full = round(_BAR * share)
    offered["bar"] = full * num_full + empty * (_BAR - num_full)
    if work.done:
        offered["left"] = f"{_clock(gone / share - gone)} left"
    return offered


def _clock(seconds: float) -> str:
    """Write a span as clocks do.

    >>> _clock(75), _clock(3675)
    ('1:15', '1:01:15')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _cut(text: str, width: int, *, in_ascii: bool) -> str:
    if cell_len(text) <= width:
        return text
    end = "" if in_ascii or width == 1 else "…"
    return set_cell_size(text, width - len(end)).rstrip() + end
