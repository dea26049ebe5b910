"""How do runs become an index, as a file or as long as somebody looks?"""

import os
import webbrowser
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from driftmap.core.progress import say
from driftmap.recipes.steps.pages import REPORT
from driftmap.recipes.steps.viewing.finding import find_runs, run_key, summary_of
from driftmap.recipes.steps.viewing.serving import RunServer, Shown
from driftmap.render.html import html_of
from driftmap.render.index_page import index_page
from driftmap.results.run_index import RunSummary
from driftmap.store.files import explaining, write_text


def write_index(folders: Sequence[Path], out: Path) -> Path:
    """Write the index of all runs in some folders as one page that needs nothing else.

    Args:
        folders: Runs, or folders of runs.
        out: The page; its links lead to the reports from there.

    Raises:
        StoreError: There is no run, or the page cannot be written.
    """
    with explaining(out):
        out.parent.mkdir(parents=True, exist_ok=True)
    here = out.resolve().parent
    runs = [
        summary_of(run, name, _relative(run / REPORT, here))
        for run, name in find_runs(folders).items()
    ]
    write_text(out, html_of(index_page(_latest_first(runs))))
    return out


def serve_index(folders: Sequence[Path], port: int, *, opens: bool) -> str:
    """Show the index to browsers on this machine until it is interrupted.

    Args:
        folders: Runs, or folders of runs.
        port: Where to listen; 0 for any that is free.
        opens: Whether a browser is opened.

    Returns:
        What is said at the end.

    Raises:
        StoreError: There is no run.
        UsageError: The port is taken.
    """
    with RunServer(lambda: look(folders), port) as server:
        num = len(server.shown.runs)
        runs = "1 run" if num == 1 else f"{num} runs"
        say(f"{runs} at {server.address} (this machine alone); Ctrl-C ends it")
        if opens:
            webbrowser.open(server.address)
        try:
            server.serve_forever()
        except KeyboardInterrupt:  # how one leaves, and no fault
            return f"{runs}, no longer shown"
    raise AssertionError("serves until it is interrupted")


def look(folders: Sequence[Path]) -> Shown:
    """See what there is to show now.

    Args:
        folders: Runs, or folders of runs.

    Raises:
        StoreError: There is no run.
    """
    found = find_runs(folders)
    runs = [
        summary_of(run, name, f"run/{run_key(run)}/{REPORT}")
        for run, name in found.items()
    ]
    return Shown(
        index=html_of(index_page(_latest_first(runs))),
        runs={run_key(run): run for run in found},
    )


def _latest_first(runs: Sequence[RunSummary]) -> list[RunSummary]:
    return sorted(runs, key=lambda run: (run.date, run.name), reverse=True)


def _relative(report: Path, here: Path) -> str:
    return quote(os.fsencode(os.path.relpath(report, here)))
