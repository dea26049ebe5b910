"""What if whoever reads the output is gone, or cannot show every letter?

Nobody loses a study because a pager was closed: what is shown from then on goes
nowhere, and the work goes on. A letter that the console has no code for is shown as
its number.
"""

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol, runtime_checkable

# A pipe without a reader, and a terminal that was hung up.
_GONE = {errno.EPIPE, errno.EIO}


@runtime_checkable
class _Stream(Protocol):
    """What is needed of a text stream."""

    def write(self, text: str, /) -> int: ...

    def flush(self) -> None: ...

    def fileno(self) -> int: ...


@contextmanager
def sturdy_streams() -> Iterator[None]:
    """Let nothing inside the block fail because output has no reader.

    Raises:
        OSError: What was shown could not be written for another reason, such as a full
            disk behind `>`.
    """
    before = sys.stdout, sys.stderr
    # What was closed before Python began is None, which libraries trip over.
    with Path(os.devnull).open("w") as nowhere:
        sturdy = [_SturdyStream(stream or nowhere) for stream in before]
        sys.stdout, sys.stderr = sturdy  # pyright: ignore[reportAttributeAccessIssue]
        try:
            yield
        finally:
            sys.stdout, sys.stderr = before


class _SturdyStream:
    """A text stream that outlives its reader; everything else is as it was."""

    def __init__(self, stream: _Stream) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write what can be written, in letters that the stream knows."""
        with self._outliving():
            try:
                return self._stream.write(text)
            except UnicodeEncodeError as error:
                known = text.encode(error.encoding, "backslashreplace")
                return self._stream.write(known.decode(error.encoding))
        return len(text)

    def writelines(self, lines: list[str]) -> None:
        """Write several texts."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Hand over what waits."""
        with self._outliving():
            self._stream.flush()

    @contextmanager
    def _outliving(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            # What waits in the stream would fail again when Python ends.
            with suppress(OSError, ValueError):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, self._stream.fileno())
                os.close(nowhere)
            if error.errno not in _GONE:
                raise
