"""How much memory does a piece of work take at its peak, beside what was in use?"""

import sys
from pathlib import Path

from driftmap.core.shortage import give_back

_RESET = Path("/proc/self/clear_refs")
_STATUS = Path("/proc/self/status")


class Peak:
    """The peak of this process from now on; Linux alone tells it.

    >>> peak = Peak()
    >>> held = bytearray(2**24)
    >>> found = peak.bytes_above()
    >>> found is None or found >= 2**24
    True
    """

    def __init__(self) -> None:
        """Begin: what is in use now counts no more."""
        give_back()
        self._before = _status("VmRSS")
        self._is_reset = _reset()

    def bytes_above(self) -> int | None:
        """Most that was in use at once since, above what was; None if unknown."""
        highest = _status("VmHWM")
        if not self._is_reset or highest is None or self._before is None:
            return None
        return max(0, highest - self._before)


def _reset() -> bool:
    """Have the system forget the highest value so far."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        _RESET.write_text("5")
    except OSError:
        return False  # some containers forbid it
    return True


def _status(name: str) -> int | None:
    """A line of the process's status, in bytes."""
    if not _STATUS.exists():
        return None
    for line in _STATUS.read_text().splitlines():
        key, _, value = line.partition(":")
        if key == name:
            return 1024 * int(value.split()[0])
    return None
