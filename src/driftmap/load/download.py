"""How does a published file get on this machine, whole or not at all?"""

import hashlib
import os
from http.client import HTTPException
from pathlib import Path
from typing import BinaryIO
from urllib.request import urlopen

from driftmap.core.errors import DataError

_CHUNK = 2**20
_SECONDS = 30.0


def download(url: str, target: Path, sha256: str) -> None:
    """Download a file and check it.

    Args:
        url: Where it is published.
        target: Where it goes; nothing is there after a failure.
        sha256: What it must have.

    Raises:
        DataError: It cannot be reached, is another file than was published, or cannot
            be written.
    """
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        with _written(temporary) as file:
            found = _fetch(url, file, target)
        if found != sha256:
            raise DataError(
                f"{url}: what is there now is not what was published (its sha256 "
                f"begins with {found[:12]}, not {sha256[:12]}); put the published file "
                f"at {target}"
            )
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def _written(file: Path) -> BinaryIO:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        return file.open("wb")
    except OSError as error:
        raise _unwritable(file, error) from error


def _fetch(url: str, file: BinaryIO, target: Path) -> str:
    digest = hashlib.sha256()
    try:
        with urlopen(url, timeout=_SECONDS) as answer:
            while chunk := answer.read(_CHUNK):
                digest.update(chunk)
                _write(file, chunk, target)
    except (OSError, HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise DataError(
            f"{url}: it cannot be downloaded ({reason}); check the network, or put "
            f"the file at {target}"
        ) from error
    return digest.hexdigest()


def _write(file: BinaryIO, chunk: bytes, target: Path) -> None:
    try:
        file.write(chunk)
    except OSError as error:
        raise _unwritable(target, error) from error


def _unwritable(file: Path, error: OSError) -> DataError:
    return DataError(
        f"{file.parent}: nothing can be written there ({error.strerror}); free some "
        "space, or name another folder in DRIFTMAP_CACHE"
    )
