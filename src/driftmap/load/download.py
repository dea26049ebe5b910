"""How does a published file get on this machine, whole or not at all?"""

import hashlib
import os
from collections.abc import Iterator
from http.client import HTTPException
from pathlib import Path
from typing import BinaryIO
from urllib.error import HTTPError
from urllib.request import urlopen

from driftmap.core.errors import DataError
from driftmap.core.quoted import quoted

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
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("wb") as file:
                found = _fetch(url, file, target)
            _must_be_published(url, target, found, sha256)
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise DataError(
            f"{target.parent}: nothing can be written there ({error.strerror}); free "
            "some space, or name another folder in DRIFTMAP_CACHE"
        ) from error


def _fetch(url: str, file: BinaryIO, target: Path) -> str:
    digest = hashlib.sha256()
    for chunk in _chunks(url, target):
        digest.update(chunk)
        file.write(chunk)
    return digest.hexdigest()


def _chunks(url: str, target: Path) -> Iterator[bytes]:
    try:
        with urlopen(url, timeout=_SECONDS) as answer:
            while chunk := answer.read(_CHUNK):
                yield chunk
    except (OSError, HTTPException) as error:
        if isinstance(error, HTTPError):
            error.close()
        reason = quoted(str(getattr(error, "reason", None) or error))
        raise DataError(
            f"{url}: it cannot be downloaded ({reason}); check the network, or put "
            f"the file at {target}"
        ) from error


def _must_be_published(url: str, target: Path, found: str, sha256: str) -> None:
    if found != sha256:
        raise DataError(
            f"{url}: what came is not what was published (its sha256 begins with "
            f"{found[:12]}, not {sha256[:12]}); try again, or put the file at {target}"
        )
