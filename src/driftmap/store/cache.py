"""Where does what was made once wait for the next command, safe from other workers?

A cached folder appears whole or not at all, holds the hash of each of its files, and
is made again where one of them no longer fits. One lock per folder keeps parallel
workers from making the same thing twice.
"""

import json
import os
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

from driftmap.core.folders import cache_folder as cache_folder
from driftmap.core.progress import say
from driftmap.store.files import explaining, remove, sha256_of, write_text

MANIFEST = "files.json"


def cached(parent: Path, name: str, make: Callable[[Path], None]) -> Path:
    """Give a folder from the cache, making it first if it is not there or damaged.

    Args:
        parent: The cache.
        name: The folder's name; it must change whenever its content would.
        make: Fills the empty folder it is given.

    Returns:
        `parent / name`, with all that `make` wrote.

    Raises:
        StoreError: The disk is full or the cache may not be written to.
    """
    folder = parent / name
    with explaining(folder):
        parent.mkdir(parents=True, exist_ok=True)
        with FileLock(parent / f".{name}.lock"):
            if folder.exists():
                if _is_whole(folder):
                    return folder
                say(f"{folder}: a file is missing or changed; it is made again")
            for old in parent.glob(f".{name}.*.tmp"):
                remove(old)
            temporary = parent / f".{name}.{os.getpid()}.tmp"
            try:
                temporary.mkdir()
                make(temporary)
                write_text(temporary / MANIFEST, json.dumps(_hashes(temporary)))
                remove(folder)
                temporary.rename(folder)
            finally:
                remove(temporary)
    return folder


def _is_whole(folder: Path) -> bool:
    try:
        wanted = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return wanted == _hashes(folder)


def _hashes(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        path.relative_to(folder).as_posix(): sha256_of(path)
        for path in files
        if path.name != MANIFEST
    }
