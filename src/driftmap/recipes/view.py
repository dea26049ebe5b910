"""What did all these runs find, and how do some of them compare?"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from driftmap.core.errors import UsageError


@dataclass(frozen=True, slots=True)
class View:
    """Show many runs on one page: what each found, and some of them side by side.

    Runs are found in the given folders and up to four folders below. The page lists
    what kind each is, what it found, how far it is, and leads to its report; runs of
    one kind stand beside each other with the settings that differ. A small server
    shows it to browsers on this machine alone, until Ctrl-C ends it; nothing leaves
    the machine, and nothing but these pages is served.
    """

    runs: Annotated[tuple[Path, ...], Parameter(name="RUNS", negative=())]
    """Run folders, or folders in which runs lie."""

    out: Path | None = field(default=None, kw_only=True)
    """Write the page to this file instead of serving it (HTML file); by default it is
    served."""

    port: int = field(default=0, kw_only=True)
    """Where to listen, on this machine alone (port); by default any that is free."""

    open: bool = field(default=False, kw_only=True)
    """Open the page in a browser, too (yes or no)."""

    def __post_init__(self) -> None:
        """Refuse what cannot be meant.

        Raises:
            UsageError: No folder is named, an option has nothing to work on, or a port
                is none.
        """
        if not self.runs:
            raise UsageError("RUNS is missing: name a run, or a folder of runs")
        if not 0 <= self.port < 2**16:
            raise UsageError(f"--port {self.port}: give a number from 0 to 65535")
        if self.out is not None and (self.port or self.open):
            raise UsageError(
                "--out writes a file and serves nothing; leave --port and --open out"
            )

    def run(self) -> Path | str:
        """Show the runs, or write the page.

        Returns:
            The page, where one was written; else how many runs were shown.
        """
        from driftmap.recipes.steps.viewing import showing

        if self.out is not None:
            return showing.write_index(self.runs, self.out)
        return showing.serve_index(self.runs, self.port, opens=self.open)
