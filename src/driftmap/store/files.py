"""How does a file come to be whole or not there at all, and how is it known again?"""

import errno
import hashlib
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from driftmap.core.errors import DriftmapError, StoreError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}
_FULL_IN_WORDS = re.compile(
    "|".join(rf"\(os error {number}\)" for number in sorted(_FULL))
    + r"|\d+ requested and \d+ written"
)
_NEARLY_NOTHING = 64 * 1024


def sha256_of(path: Path) -> str:
    """Hash a file's bytes without holding them.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "empty"
    >>> path.touch()
    >>> sha256_of(path)[:8]
    'e3b0c442'
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def writing(path: Path) -> Iterator[Path]:
    """Give a temporary name to write to; `path` appears when the block succeeds.

    Missing folders are made. After an error nothing is left behind and an older
    file of that name is untouched.

    Raises:
        StoreError: The disk is full or the folder may not be written to.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with explaining(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            sync(temporary)
            temporary.replace(path)
            sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text with Unix line ends, whole or not at all."""
    with writing(path) as temporary:
        temporary.write_bytes(text.encode())


def sync(path: Path) -> None:
    """Have the disk hold what the system holds of a file or folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove(path: Path) -> None:
    """Remove a file or a whole folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def explaining(path: Path) -> Iterator[None]:
    """Turn a disk's refusal inside the block into a sentence that names `path`.

    Libraries report a full disk in their own ways (safetensors and numpy in words,
    torch as a `RuntimeError`), so words and free space are looked at as well.
    Every other error passes through.
    """
    try:
        yield
    except DriftmapError:
        raise
    except Exception as error:
        refusal = _refusal(error, path)
        if refusal is None:
            raise
        raise refusal from error


def _refusal(error: Exception, path: Path) -> StoreError | None:
    number = error.errno if isinstance(error, OSError) else None
    if number in _FULL or _FULL_IN_WORDS.search(str(error)):
        return StoreError(
            f"{path}: it could not be written, the disk or the allowance for it is "
            "full; free some space and repeat the command",
            topic="disk",
        )
    if number in _FORBIDDEN and _inside(error, path):
        return StoreError(
            f"{path}: it may not be written to; "
            "change its permissions or choose another place with --out"
        )
    unnumbered = isinstance(error, RuntimeError | OSError) and number is None
    if unnumbered and _free_bytes(path) < _NEARLY_NOTHING:
        return StoreError(
            f"{path}: the disk is full; free some space and repeat the command",
            topic="disk",
        )
    return None


def _inside(error: Exception, path: Path) -> bool:
    """Whether a refused file is of `path`'s own making; unnamed ones are."""
    named = error.filename if isinstance(error, OSError) else None
    if not isinstance(named, str | os.PathLike):
        return True
    refused = Path(named).absolute()
    here = path.absolute()
    return (
        refused.is_relative_to(here)
        or here.is_relative_to(refused)
        or refused.name.startswith(f".{here.name}.")
    )


def _free_bytes(path: Path) -> int:
    """Free space of the disk that would hold `path`."""
    existing = next(
        p for p in (path.absolute(), *path.absolute().parents) if p.exists()
    )
    return shutil.disk_usage(existing).free
