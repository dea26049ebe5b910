"""How much memory do control groups grant this process, where it lives in one?

A group counts the files it has read as used, although they make room when memory is
wanted: they count as free here. Limits of the groups above hold as well.
"""

from collections.abc import Iterator
from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")
_OWN = Path("/proc/self/cgroup")
_FILES = ("active_file", "inactive_file", "total_active_file", "total_inactive_file")
_UNLIMITED = 1 << 62


def granted_memory() -> int:
    """Memory that is left of every limit, in bytes; very much without a limit.

    >>> granted_memory() > 0
    True
    """
    left = [
        _left(folder, limit, used)
        for root, limit, used in (
            (_ROOT, "memory.max", "memory.current"),
            (_ROOT / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes"),
        )
        for folder in _groups(root)
    ]
    return min(left, default=_UNLIMITED)


def _groups(root: Path) -> Iterator[Path]:
    """This process's own group and those above it, as far as they are seen here."""
    yield root
    for line in _OWN.read_text().splitlines() if _OWN.exists() else ():
        _, kinds, path = line.split(":", 2)
        if kinds in ("", "memory") and path.strip("/"):
            own = root / path.strip("/")
            yield from (p for p in (own, *own.parents) if root in p.parents)


def _left(folder: Path, limit: str, used: str) -> int:
    most, taken = _number(folder / limit), _number(folder / used)
    if most is None or taken is None or most >= _UNLIMITED:
        return _UNLIMITED
    return max(0, most - max(0, taken - _files(folder)))


def _number(path: Path) -> int | None:
    """What a file says; None where it is missing, or says `max`."""
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


def _files(folder: Path) -> int:
    """Cached files of a group and all below it."""
    try:
        lines = (folder / "memory.stat").read_text().splitlines()
    except OSError:
        return 0
    counts = dict(line.split() for line in lines if len(line.split()) == 2)
    own = [int(counts.get(name, 0)) for name in _FILES[:2]]
    whole = [int(counts.get(name, 0)) for name in _FILES[2:]]
    return max(sum(own), sum(whole))
