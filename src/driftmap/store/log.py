"""How does a run keep a plain log that only ever grows?"""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from driftmap.core.errors import StoreError
from driftmap.store.files import explaining

_LOGGER = "driftmap"


class _AppendingHandler(logging.FileHandler):
    """Stops the run, with a sentence, when the disk takes no more lines."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        raise StoreError(
            f"{self.baseFilename}: the log could not be written; "
            "free some space and repeat the command"
        )


@contextmanager
def logging_to(path: Path) -> Iterator[logging.Logger]:
    """Append what driftmap logs inside the block to a file, one dated line each.

    Args:
        path: Usually `RUN/log.txt`; older lines stay.

    Yields:
        The logger to write to.
    """
    logger = logging.getLogger(_LOGGER)
    with explaining(path):
        handler = _AppendingHandler(path, mode="a", encoding="utf-8")
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
