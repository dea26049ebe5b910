"""Which folder takes large temporary files, and what becomes of it after a kill?

A scratch folder is private, is named for its run, and holds a locked file that names
the run in full. So it is known again after its process was killed, is never taken
for one that is in use, and nothing of anyone else is ever removed.
"""

import errno
import fcntl
import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from driftmap.core.errors import StoreError, UsageError
from driftmap.core.progress import say
from driftmap.core.room import free_disk, free_memory, is_in_memory
from driftmap.core.units import format_bytes

_SHARED_MEMORY = Path("/dev/shm")
_MARKER = ".driftmap-scratch"
_FULL = {errno.ENOSPC, errno.EDQUOT}
_SHARE_OF_MEMORY = 0.5
_SHARE_OF_DISK = 0.9


@contextmanager
def scratch_folder(
    run: Path, num_bytes: int, chosen: Path | None = None
) -> Iterator[Path]:
    """Make a private folder for temporary files; it is gone when the block ends.

    Args:
        run: The run folder that the files are for.
        num_bytes: Room they need.
        chosen: Where the user wants them; by default `/dev/shm` where it has room,
            else the system's temporary folder.

    Raises:
        UsageError: The chosen place is no folder to write to.
        StoreError: There is too little room, or it is used up inside the block.

    >>> with scratch_folder(Path("runs/example"), 10) as folder:
    ...     _ = (folder / "large.bin").write_bytes(b"0123456789")
    >>> folder.exists()
    False
    """
    place = place_with_room(num_bytes, chosen)
    folder = Path(tempfile.mkdtemp(prefix=_prefix(run), dir=place))
    lock = None
    try:
        lock = os.open(folder / _MARKER, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)
        os.write(lock, _name(run))
        yield folder
    except OSError as error:
        if error.errno not in _FULL or not _is_inside(error.filename, folder):
            raise
        raise StoreError(
            f"{folder}: the disk is full; free some space, or choose a place with "
            "more room with --scratch",
            topic="disk",
        ) from error
    finally:
        _remove(folder)
        if lock is not None:
            os.close(lock)


def place_with_room(num_bytes: int, chosen: Path | None = None) -> Path:
    """Find the place for temporary files of some size.

    Args:
        num_bytes: Their size.
        chosen: The only place to look at, where one is chosen.

    Raises:
        UsageError: The chosen place is no folder to write to.
        StoreError: There is too little room.
    """
    require_scratch(chosen)
    places = _places(chosen)
    for place in places:
        if room_in(place) >= num_bytes:
            return place
    free = ", ".join(f"{format_bytes(room_in(place))} in {place}" for place in places)
    raise StoreError(
        f"temporary files need {format_bytes(num_bytes)} and there is room for {free}; "
        "free some space, or choose a place with more room with --scratch",
        topic="disk",
    )


def require_scratch(chosen: Path | None) -> None:
    """Refuse a place for temporary files that cannot take any.

    Raises:
        UsageError: It is no folder, or none to write to.
    """
    if chosen is None:
        return
    if not os.path.isdir(chosen):  # noqa: PTH112  Path.is_dir may raise
        raise UsageError(
            f"--scratch {chosen}: there is no such folder; make it or choose another"
        )
    if not os.access(chosen, os.W_OK | os.X_OK):
        raise UsageError(
            f"--scratch {chosen}: may not be written to; change its permissions or "
            "choose another folder"
        )


def room_in(place: Path) -> int:
    """How much may be written to a folder, in bytes; where it takes memory, half of it.

    >>> room_in(Path("/dev/shm")) >= 0
    True
    """
    room = int(_SHARE_OF_DISK * free_disk(place))
    if is_in_memory(place):
        return min(room, int(_SHARE_OF_MEMORY * free_memory()))
    return room


def disk_for_scratch(chosen: Path | None) -> Path | None:
    """Find the place for files whose purpose is to be out of memory.

    Returns:
        The chosen place, else the system's temporary folder; None where that is
        memory itself.
    """
    place = chosen or Path(tempfile.gettempdir())
    return None if is_in_memory(place) else place


def leftovers(run: Path, chosen: Path | None = None) -> list[Path]:
    """Find scratch folders of a run whose process was killed; none that is in use.

    Args:
        run: The run folder; it need not exist any more.
        chosen: The place that was chosen for temporary files, where one was.

    Returns:
        Folders in the chosen place, in `/dev/shm` and in the system's temporary
        folder, sorted.
    """
    found = set[Path]()
    for place in {*_places(chosen), *_places(None)}:
        with suppress(OSError):
            found |= {p for p in place.iterdir() if p.name.startswith(_prefix(run))}
    return sorted(folder for folder in found if _is_left_by(folder, run))


def clear_leftovers(run: Path, chosen: Path | None = None) -> None:
    """Remove the scratch folders of a run whose process was killed."""
    for folder in leftovers(run, chosen):
        _remove(folder)
        say(f"{folder}: left by a process that was killed; removed")


def _places(chosen: Path | None) -> list[Path]:
    if chosen is not None:
        return [chosen]
    shared = [_SHARED_MEMORY] if os.access(_SHARED_MEMORY, os.W_OK | os.X_OK) else []
    return [*shared, Path(tempfile.gettempdir())]


def _is_inside(named: object, folder: Path) -> bool:
    """Whether a refused file is ours; unnamed ones are."""
    if not isinstance(named, str | os.PathLike):
        return True
    return Path(named).absolute().is_relative_to(folder)


def _prefix(run: Path) -> str:
    return f"driftmap-{hashlib.sha256(_name(run)).hexdigest()[:16]}-"


def _name(run: Path) -> bytes:
    return os.fsencode(run.resolve())


def _is_left_by(folder: Path, run: Path) -> bool:
    """Whether we made this folder for this run and no process holds it."""
    try:
        content = _open_own(folder)
    except OSError:
        return False
    try:
        if not os.listdir(content):  # noqa: PTH208  killed before it wrote the marker
            return True
        marker = os.open(_MARKER, os.O_RDWR | os.O_NOFOLLOW, dir_fd=content)
    except OSError:
        return False
    finally:
        os.close(content)
    try:
        fcntl.flock(marker, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.read(marker, 1 << 16) == _name(run)
    except OSError:
        return False
    finally:
        os.close(marker)


def _open_own(folder: Path) -> int:
    """Open a folder that is ours alone; a link to one is not.

    Raises:
        PermissionError: It belongs to another user or others may enter it.
        OSError: It is no folder.
    """
    content = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    found = os.fstat(content)
    if found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) & 0o077:
        os.close(content)
        raise PermissionError(f"{folder}: is not ours alone")
    return content


def _remove(folder: Path) -> None:
    """Remove a folder of ours, its marker last: a kill on the way leaves it known."""
    content = _open_own(folder)
    try:
        names = os.listdir(content)  # noqa: PTH208
        for name in sorted(names, key=lambda name: name == _MARKER):
            if stat.S_ISDIR(os.lstat(name, dir_fd=content).st_mode):
                shutil.rmtree(name, dir_fd=content)
            else:
                os.unlink(name, dir_fd=content)
    finally:
        os.close(content)
    folder.rmdir()
