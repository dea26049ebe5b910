"""Runs commands as processes that can be killed, without importing torch for each.

One process imports everything, then forks a child per command.
"""

import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from driftmap.cli.main import main


def start(words: Sequence[str], told: Path) -> int:
    """Fork a process that runs one command; what it says goes into `told`."""
    child = os.fork()
    if child == 0:
        code = 99
        # A shell that starts tests in the background lets them ignore interruptions.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            with told.open("a") as file:
                os.dup2(file.fileno(), 1)
                os.dup2(file.fileno(), 2)
                sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
                code = main([str(word) for word in words])
                sys.stdout.flush()
                sys.stderr.flush()
        finally:
            os._exit(code)
    return child


@contextmanager
def few_pictures() -> Iterator[None]:
    """Draw two of a report's pictures: all of them take longer than a tiny study."""
    from driftmap.recipes.steps import pages

    every = pages.save_pictures
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            pages, "save_pictures", lambda figures, folder: every(figures[:2], folder)
        )
        yield


def finish(child: int) -> int:
    """Wait for a child and give its exit code, negative for a signal."""
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


def kill_when(
    child: int, folder: Path, pattern: str, seconds: float, end: int = signal.SIGKILL
) -> int:
    """Kill a child some time after a file appears, unless it ends before."""
    until = float("inf")
    while time.monotonic() < until:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        if until == float("inf") and any(folder.glob(pattern)):
            until = time.monotonic() + seconds
        time.sleep(0.002)
    os.kill(child, end)
    return finish(child)


def contents(folder: Path) -> dict[str, bytes]:
    """All files of a run that must be the same however often it was killed."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in (".lock", "provenance.json", "log.txt")
    }
