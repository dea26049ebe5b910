"""What does a run write down while it works? All that it says, dated, in `log.txt`."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import driftmap
from driftmap.core.lines import Lines
from driftmap.core.progress import overheard_by
from driftmap.store.log import logging_to


@contextmanager
def logged(root: Path, kind: str) -> Iterator[None]:
    """Append to `log.txt` whatever is said inside the block, and how it ended.

    Args:
        root: The run folder.
        kind: Which recipe: the name of its command.
    """
    with logging_to(root / "log.txt") as log:
        log.info(f"driftmap {driftmap.__version__}: {kind}")
        try:
            with overheard_by(Lines(log.info)):
                yield
        except BaseException as error:
            reason = " ".join(str(error).split())
            log.error(f"{kind} stopped: {type(error).__name__}: {reason}")
            raise
        log.info(f"{kind}: done")
