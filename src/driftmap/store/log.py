"""How does a run keep a plain log that only ever grows?"""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from driftmap.core.secrets import redacted
from driftmap.store.files import explaining

_LOGGER = "driftmap"


@contextmanager
def logging_to(path: Path) -> Iterator[logging.Logger]:
    """Append what driftmap logs inside the block to a file, one dated line each.

    The values of secrets are left out of them.

    Args:
        path: Usually `RUN/log.txt`; older lines stay.

    Yields:
        The logger to write to.

    Raises:
        StoreError: The disk takes no more lines; the run stops there.
    """
    logger = logging.getLogger(_LOGGER)
    handler = _AppendingHandler(path)
    formatter = logging.Formatter(
        "%(asctime)sZ %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%S"
    )
    formatter.converter = time.gmtime
    handler.setFormatter(formatter)
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield logger
    finally:
        logger.setLevel(level)
        logger.removeHandler(handler)
        handler.close()


class _AppendingHandler(logging.Handler):
    """Opens the file for every line: none waits in a buffer, no error is swallowed."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def emit(self, record: logging.LogRecord) -> None:
        line = f"{redacted(self.format(record))}\n".encode()
        with explaining(self._path), self._path.open("ab", buffering=0) as file:
            file.write(line)
