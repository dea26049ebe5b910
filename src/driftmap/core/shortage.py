"""Is an error a lack of memory, and what is said of it?

Libraries report it in their own ways: Python and numpy as a `MemoryError`, torch as an
`OutOfMemoryError` on a GPU and as a `RuntimeError` on a CPU, others in words alone.
"""

import ctypes
import errno
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from driftmap.core.errors import DriftmapError, ModelError

_WORDS = re.compile(
    "out of memory|DefaultCPUAllocator|not enough memory|ALLOC_FAILED"
    r"|can(?:no|')t allocate memory|can't start new thread|\(os error 12\)"
    "|std::bad_alloc",
    re.IGNORECASE,
)


def is_shortage(error: BaseException) -> bool:
    """Whether an error says that there is too little memory.

    >>> is_shortage(MemoryError()), is_shortage(RuntimeError("shapes do not fit"))
    (True, False)
    >>> is_shortage(RuntimeError("DefaultCPUAllocator: can't allocate memory"))
    True
    """
    if isinstance(error, DriftmapError):
        return False
    if isinstance(error, MemoryError):
        return True
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return True
    return isinstance(error, Exception) and bool(_WORDS.search(str(error)))


@contextmanager
def explained(what: str, remedy: str) -> Iterator[None]:
    """Turn a lack of memory inside the block into a sentence; give memory back after.

    Args:
        what: The work, as the sentence begins.
        remedy: What to do, after "use" or "repeat with".

    Raises:
        ModelError: There was too little memory.

    >>> with explained("scoring", "repeat with ..."):
    ...     raise MemoryError
    Traceback (most recent call last):
        ...
    driftmap.core.errors.ModelError: scoring ran out of memory; repeat with ...
    """
    try:
        yield
    except Exception as error:
        if not is_shortage(error):
            raise
        message = f"{what} ran out of memory; {remedy}"
        raise ModelError(message, topic="memory") from error
    finally:
        give_back()


def give_back() -> None:
    """Give memory that is free inside this process back to the system, where it can.

    The C library keeps what was given back to it in pieces: work that comes later is
    then measured, and refused, by memory that nothing uses.
    """
    if sys.platform.startswith("linux"):
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)


def smaller_batch(batch_size: int, grad_accum: int) -> tuple[int, int] | None:
    """Find the next smaller batch with which a step takes just as many samples.

    >>> smaller_batch(8, 4), smaller_batch(6, 1), smaller_batch(1, 32)
    ((4, 8), (3, 2), None)
    """
    total = batch_size * grad_accum
    sizes = (size for size in range(batch_size - 1, 0, -1) if total % size == 0)
    return next(((size, total // size) for size in sizes), None)
