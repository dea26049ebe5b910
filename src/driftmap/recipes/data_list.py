"""Which data sets does driftmap know by name, and which are on this machine?"""

import shutil
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from driftmap.load.known_sets import KnownSet

_NARROW = 100
"""Below so many columns of a terminal a table would be all broken words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DataList:
    """List the data sets that have a name: what each holds, whose it is, where it is.

    A name works wherever a file does, as in `--behaviour align`. Nothing is
    downloaded.
    """

    def run(self) -> str:
        """Look for every set on this machine.

        Returns:
            The list: a table as wide as the terminal, one line a set where the output
            is no terminal, and a block a set where the terminal is narrow.
        """
        from driftmap.load.known_rows import data_folder
        from driftmap.load.known_sets import KNOWN_SETS

        rows = [_cells(known) for known in KNOWN_SETS]
        width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
        listed = _blocks(rows) if width and width < _NARROW else _table(rows, width)
        return (
            f"{listed}\n\nWhat is not on this machine is downloaded when it is used. "
            f"Copies of your own go to {data_folder()}"
        )


def _cells(known: "KnownSet") -> dict[str, str]:
    from driftmap.load.known_rows import place_of

    place = place_of(known)
    return {
        "name": known.name,
        "what it is": known.what,
        "licence": known.licence,
        "on this machine": "no" if place is None else str(place),
        "source": known.origin.page,
    }


def _table(rows: list[dict[str, str]], width: int | None) -> str:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for title in rows[0]:
        table.add_column(title, overflow="fold", no_wrap=title == "name")
    for row in rows:
        table.add_row(*row.values())
    widest = sum(max(len(row[title]) for row in rows) + 6 for title in rows[0])
    console = Console(
        width=width or widest, color_system=None, markup=False, emoji=False
    )
    with console.capture() as captured:
        console.print(table)
    lines = (line.strip() for line in captured.get().splitlines())
    return "\n".join(line for line in lines if line)


def _blocks(rows: list[dict[str, str]]) -> str:
    return "\n\n".join(
        "\n".join(
            [
                row["name"],
                *(f"  {title}: {row[title]}" for title in row if title != "name"),
            ]
        )
        for row in rows
    )
