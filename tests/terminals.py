"""Commands run on a terminal of their own."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
from collections.abc import Iterable
from itertools import chain

CODES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


def on_terminal(words, widths: Iterable[int], **environment) -> str:
    """Run to the end; return all that was written, control codes and all.

    Args:
        words: The command.
        widths: Columns at the start, and after each piece of output that is read; the
            last one stays.
        environment: Variables set for the command.
    """
    first, *rest = widths
    ours, theirs = pty.openpty()
    _resize(ours, first)
    inherited = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES")}
    process = subprocess.Popen(
        words,
        stdin=theirs, stdout=theirs, stderr=theirs,
        env={**inherited, "TERM": "xterm", **environment},
        start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    written = b""
    for width in chain(rest, iter(lambda: None, 0)):
        try:
            piece = os.read(ours, 65536)
        except OSError:  # nobody holds the other end any more
            break
        if not piece:
            break
        written += piece
        if width is not None:
            _resize(ours, width)
    os.close(ours)
    assert process.wait(60) == 0, written
    return written.decode()


def lines_of(written: str) -> list[str]:
    """Lines as they were written, without control codes."""
    return [line for line in re.split(r"[\r\n]+", CODES.sub("", written)) if line]


def _resize(terminal: int, width: int) -> None:
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
