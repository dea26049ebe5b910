"""When is a shard finished, and how does it get to its place whole?

A shard is written under a temporary name, synced and renamed; `done.json`, which tells
the size and the hash of every file, comes last. A shard without it is not there. So a
shard may be made again at any time, by anyone, and a killed worker loses only its own.
"""

import hashlib
import json
import os
import shutil
import socket
import uuid
from collections.abc import Mapping
from pathlib import Path

from driftmap.engine.work import Shard, ShardMaker

DONE = "done.json"
"""Marks a finished shard, and tells of its files."""

KIND = "driftmap.shard"
VERSION = 1


def make_shard(maker: ShardMaker, shard: Shard, folder: Path) -> Path:
    """Make a shard in its place.

    Args:
        maker: Writes its files.
        shard: Which one.
        folder: Folder of all shards.

    Returns:
        The shard's own folder.
    """
    own = f"{socket.gethostname()}.{os.getpid()}.{uuid.uuid4().hex[:8]}"
    temporary = folder / f".{shard.name}.{own}.tmp"
    temporary.mkdir(parents=True)
    try:
        maker.make(shard, temporary)
        return put_in_place(temporary, shard, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def put_in_place(temporary: Path, shard: Shard, folder: Path) -> Path:
    """Rename a folder of finished files to a shard's place, and mark it finished.

    Args:
        temporary: The files, in the same folder of shards under another name.
        shard: Which shard they are.
        folder: Folder of all shards.
    """
    place = folder / shard.name
    files = _files_under(temporary)
    for file in files.values():
        _sync(file)
    for inner in [p for p in temporary.rglob("*") if p.is_dir()]:
        _sync(inner)
    _sync(temporary)
    told = {
        "kind": KIND,
        "version": VERSION,
        "number": shard.number,
        "start": shard.start,
        "stop": shard.stop,
        "files": {name: _described(file) for name, file in files.items()},
    }
    _clear(place)
    temporary.replace(place)
    _sync(folder)
    put_text(place / DONE, json.dumps(told, sort_keys=True, indent=2) + "\n")
    return place


def adopt(finished: Path, folder: Path) -> None:
    """Put a finished shard of another folder into this one, without a copy if it can.

    Args:
        finished: The shard's own folder, which is left as it is.
        folder: Folder of all shards.
    """
    temporary = folder / f".{finished.name}.{uuid.uuid4().hex[:8]}.tmp"
    try:
        shutil.copytree(finished, temporary, copy_function=_link)
        for file in _files_under(temporary).values():
            _sync(file)
        place = folder / finished.name
        _clear(place)
        temporary.replace(place)
        _sync(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def put_text(path: Path, text: str) -> None:
    """Write a small file, whole or not at all."""
    waiting = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    waiting.write_text(text)
    _sync(waiting)
    waiting.replace(path)
    _sync(path.parent)


def fault_of(shard: Shard, folder: Path) -> str | None:
    """Say why a shard must be made, or nothing where it is whole.

    A shard that was never finished has no fault worth telling: the text is empty.
    """
    place = folder / shard.name
    if not (place / DONE).is_file():
        return ""
    told = read_done(place)
    if told is None or (told["start"], told["stop"]) != (shard.start, shard.stop):
        return f"{place / DONE} is damaged"
    return first_fault(place, told)


def read_done(place: Path) -> dict | None:
    """Read what a finished shard tells of itself; None where that is damaged."""
    try:
        told = json.loads((place / DONE).read_bytes())
        own = told["kind"] == KIND and told["version"] == VERSION
        numbers = [told["number"], told["start"], told["stop"]]
        each = told["files"].values()
        whole = all({"num_bytes", "blake2b"} <= entry.keys() for entry in each)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None
    own = own and all(type(number) is int for number in numbers)
    return told if own and whole else None


def first_fault(place: Path, told: Mapping[str, Mapping]) -> str | None:
    """Name the first file of a finished shard that is not what was written."""
    for name, entry in told["files"].items():
        file = place / name
        if not file.is_file():
            return f"{file} is missing"
        if _described(file) != entry:
            return f"{file} is not what was written"
    return None


def clear_half_written(folder: Path) -> None:
    """Remove what killed workers left; nobody else may be writing here."""
    for left in folder.glob(".shard-*.tmp"):
        shutil.rmtree(left, ignore_errors=True)


def _clear(place: Path) -> None:
    """Remove what is in a shard's place, its mark first."""
    if place.exists():
        (place / DONE).unlink(missing_ok=True)
        shutil.rmtree(place)


def _link(source: str, target: str) -> None:
    """Give a file a second name; on another disk, copy it."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _files_under(folder: Path) -> dict[str, Path]:
    found = sorted(p for p in folder.rglob("*") if not p.is_dir())
    return {p.relative_to(folder).as_posix(): p for p in found}


def _described(file: Path) -> dict[str, object]:
    with file.open("rb") as content:
        digest = hashlib.file_digest(
            content, lambda: hashlib.blake2b(digest_size=32)
        ).hexdigest()
    return {"num_bytes": file.stat().st_size, "blake2b": digest}


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
