"""Is a folder of files the one that its maker finished, byte for byte?

A maker writes into a folder of a temporary name, seals it (every file reaches the disk,
then `done.json` with their sizes and hashes) and renames it. So a folder without
`done.json` was cut off, and a sealed one tells of each later change.
"""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from driftmap.core.errors import StoreError

DONE = "done.json"
"""The file that says a folder is whole; written last."""

KIND = "driftmap.shard"
VERSION = 1
_DIGEST_BYTES = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedFile:
    """A file of a finished folder.

    Args:
        num_bytes: Its size.
        blake2b: Hash of its bytes, 64 hexadecimal digits.
    """

    num_bytes: int
    blake2b: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Seal:
    """What a finished folder says of itself.

    Args:
        files: Its files by name.
        chunks: Numbers of the chunks of samples that it is made of.
    """

    files: Mapping[str, SealedFile]
    chunks: tuple[int, ...] = ()


def seal(folder: Path, chunks: Sequence[int] = ()) -> Seal:
    """Bring all files of a folder to the disk and write `done.json` beside them.

    Args:
        folder: A folder that is complete; nobody writes to it any more.
        chunks: Numbers of the chunks of samples that it is made of.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> _ = (folder / "a.txt").write_text("one")
    >>> seal(folder, [0]).files["a.txt"].num_bytes
    3
    >>> first_fault(folder) is None
    True
    >>> _ = (folder / "a.txt").write_text("two")
    >>> first_fault(folder).partition(": ")[2]
    'its bytes are not those that were written'
    """
    files = {path.name: _read(path) for path in _files_in(folder)}
    for name in files:
        _sync(folder / name)
    said = Seal(files=files, chunks=tuple(chunks))
    temporary = folder / f".{DONE}.tmp"
    temporary.write_text(_text(said))
    _sync(temporary)
    temporary.replace(folder / DONE)
    _sync(folder)
    return said


def is_sealed(folder: Path) -> bool:
    """Whether a folder was finished; its bytes are not looked at."""
    return (folder / DONE).is_file()


def read_seal(folder: Path) -> Seal:
    """Read what a finished folder says of itself.

    Raises:
        StoreError: `done.json` is missing, damaged, foreign or of a newer version.
    """
    path = folder / DONE
    try:
        said = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise StoreError(
            f"{folder}: was never finished; repeat the command that makes it"
        ) from None
    except (ValueError, RecursionError) as error:
        raise StoreError(
            f"{path}: is damaged ({error}); remove its folder and repeat the command"
        ) from error
    found = (said.get("kind"), said.get("version")) if isinstance(said, dict) else None
    if found != (KIND, VERSION):
        raise StoreError(
            f"{path}: holds no {KIND} of version {VERSION}; remove its folder and "
            "repeat the command"
        )
    try:
        files = {
            name: SealedFile(num_bytes=int(one["bytes"]), blake2b=str(one["blake2b"]))
            for name, one in said["files"].items()
        }
        return Seal(files=files, chunks=tuple(int(n) for n in said["chunks"]))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise StoreError(
            f"{path}: is damaged; remove its folder and repeat the command"
        ) from error


def first_fault(folder: Path) -> str | None:
    """Find what is wrong with a finished folder: a file and what became of it.

    Raises:
        StoreError: `done.json` cannot be read.
    """
    said = read_seal(folder)
    for name, wanted in said.files.items():
        path = folder / name
        if not path.is_file():
            return f"{path}: is missing"
        if path.stat().st_size != wanted.num_bytes:
            size = path.stat().st_size
            return f"{path}: has {size} bytes, not {wanted.num_bytes}"
        if _read(path).blake2b != wanted.blake2b:
            return f"{path}: its bytes are not those that were written"
    strangers = sorted({path.name for path in _files_in(folder)} - set(said.files))
    return f"{folder / strangers[0]}: is no file of this folder" if strangers else None


def _files_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.name != DONE)


def _read(path: Path) -> SealedFile:
    with path.open("rb") as file:
        digest = hashlib.file_digest(
            file, lambda: hashlib.blake2b(digest_size=_DIGEST_BYTES)
        )
    return SealedFile(num_bytes=path.stat().st_size, blake2b=digest.hexdigest())


def _text(said: Seal) -> str:
    plain = {
        "kind": KIND,
        "version": VERSION,
        "chunks": list(said.chunks),
        "files": {
            name: {"bytes": one.num_bytes, "blake2b": one.blake2b}
            for name, one in said.files.items()
        },
    }
    return json.dumps(plain, sort_keys=True, indent=2) + "\n"


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
