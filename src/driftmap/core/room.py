"""How much memory and how much disk is free here?"""

import os
import shutil
from pathlib import Path

from driftmap.core.containers import granted_memory

_MEMINFO = Path("/proc/meminfo")
_MOUNTS = Path("/proc/self/mounts")
_IN_MEMORY = {"tmpfs", "ramfs"}


def free_memory() -> int:
    """Free memory of this machine, or of this container where that is less, in bytes.

    >>> free_memory() > 0
    True
    """
    return min(_free_on_machine(), granted_memory())


def free_swap() -> int:
    """Swap that is free, in bytes: slower than memory, and still room; 0 if unknown."""
    return _meminfo("SwapFree") or 0


def free_disk(path: Path) -> int:
    """Free space where `path` is, or would be made, in bytes."""
    return shutil.disk_usage(_existing(path)).free


def is_in_memory(path: Path) -> bool:
    """Whether what is written to `path` takes memory and no disk, like `/dev/shm`."""
    if not _MOUNTS.exists():
        return False
    here = _existing(path).resolve()
    kinds: dict[Path, str] = {}
    for line in _MOUNTS.read_text(encoding="utf-8", errors="replace").splitlines():
        _, folder, kind, *_ = line.split(" ")
        kinds[Path(folder.replace("\\040", " "))] = kind  # the last one hides others
    mount = next((p for p in (here, *here.parents) if p in kinds), None)
    return mount is not None and kinds[mount] in _IN_MEMORY


def _existing(path: Path) -> Path:
    absolute = path.absolute()
    return next(p for p in (absolute, *absolute.parents) if p.exists())


def _free_on_machine() -> int:
    available = _meminfo("MemAvailable")
    if available is not None:
        return available
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def _meminfo(name: str) -> int | None:
    if _MEMINFO.exists():
        for line in _MEMINFO.read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1024
    return None
