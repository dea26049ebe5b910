"""Which folder takes an index, and who else may write to it meanwhile?"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from driftmap.core.errors import StoreError
from driftmap.results.index import IndexHeader, IndexPart
from driftmap.store.border import LOCK, locked
from driftmap.store.files import remove
from driftmap.store.index.folder import unfinished
from driftmap.store.index.header import (
    INDEX_FILE,
    load_header,
    require_same_settings,
    save_header,
)
from driftmap.store.index.shards import SHARDS


@contextmanager
def begun(out: Path, planned: IndexHeader) -> Iterator[IndexHeader]:
    """Begin an index, or take up the one that a folder holds, and keep others out.

    After an error an index without any shard is as if never begun.

    Args:
        out: The folder.
        planned: The index that is asked for, of one part.

    Yields:
        The header in the folder: what was appended since stays.

    Raises:
        StoreError: The folder holds something else, other settings or other samples,
            or another process writes to it.
    """
    with held(out):
        is_new = not (out / INDEX_FILE).exists()
        header = planned
        if is_new:
            _refuse_foreign(out)
            save_header(out, planned)
        else:
            header = _taken_up(out, planned)
        try:
            yield header
        except BaseException:
            if is_new and len(unfinished(out, header)) == len(header.shards()):
                remove(out / INDEX_FILE)
                remove(out / SHARDS)
            raise


@contextmanager
def held(out: Path) -> Iterator[None]:
    """Keep other processes from writing to an index as long as the block runs.

    Raises:
        StoreError: Another process does.
    """
    lock = locked(out)
    try:
        for remains in out.glob(".*.tmp"):
            remove(remains)
        yield
    finally:
        lock.release()


def _refuse_foreign(out: Path) -> None:
    foreign = sorted(p.name for p in out.iterdir() if p.name != LOCK)
    if foreign:
        raise StoreError(
            f"{out}: holds files of something else ({', '.join(foreign[:3])}) and no "
            f"{INDEX_FILE}; choose another --out or an empty folder"
        )


def _taken_up(out: Path, planned: IndexHeader) -> IndexHeader:
    found = load_header(out)
    require_same_settings(out, found, planned, "this command")
    for old, new in zip(found.parts, planned.parts, strict=False):
        if replace(old, data=new.data) != new:
            raise StoreError(
                f"{out}: holds an index of {_span(old)}, not {_span(new)}; choose "
                "another --out, or add samples with `driftmap index append`"
            )
    return found


def _span(part: IndexPart) -> str:
    spans = ", ".join(f"{span.start + 1} to {span.stop}" for span in part.spans)
    return f"samples {spans} of {part.num_samples} of {part.data}"
