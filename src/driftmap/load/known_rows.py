"""How do the rows of a data set with a name here get on this machine, and into memory?

What lies in the data folder is used; a person without network copies the file there.
Otherwise it is downloaded once. A hub set stays in the hub library's own cache.
"""

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from driftmap.core.errors import DataError
from driftmap.core.folders import cache_folder
from driftmap.core.progress import phase, say
from driftmap.load.download import download
from driftmap.load.hub_rows import read_hub_rows
from driftmap.load.known_sets import KNOWN_SETS, HubSet, KnownSet, WebFile
from driftmap.load.rows import Rows, read_rows, rows_of, rows_sha256

COPY_ENDINGS = (".json", ".jsonl", ".csv", ".parquet")


def known_set(source: str, sets: Sequence[KnownSet] = KNOWN_SETS) -> KnownSet | None:
    """Tell which data set a name stands for; a file or folder of that name wins.

    Args:
        source: As the user gave it.
        sets: Which sets are known.
    """
    named = next((known for known in sets if known.name == source), None)
    if named is not None and Path(source).exists():
        say(
            f"{source}: the file or folder of that name here is read, not the known set"
        )
        return None
    return named


def data_folder() -> Path:
    """Where copies of known sets lie on this machine; it need not exist yet."""
    return cache_folder() / "data"


def place_of(known: KnownSet) -> Path | None:
    """Find a set on this machine, without reading it; None where it is not there."""
    copies = [data_folder() / name for name in _copy_names(known)]
    found = next((copy for copy in copies if copy.is_file()), None)
    if found is None and isinstance(known.origin, HubSet):
        return _in_hub_cache(known.origin)
    return found


def read_known(known: KnownSet) -> Rows:
    """Read a known set, downloading it first where it is not on this machine.

    Args:
        known: Which.

    Returns:
        Its rows. The hash is the published file's, or that of the rows which are kept.

    Raises:
        DataError: It is not there and cannot be downloaded, or is not what was
            published.
    """
    if isinstance(known.origin, WebFile):
        rows = _web_rows(known, known.origin)
    else:
        rows = _hub_rows(known, known.origin)
    if known.num_turns is not None:
        rows = _with_turns(rows, known, known.num_turns)
    return _without(rows, known) if known.leaves_out else rows


def _copy_names(known: KnownSet) -> list[str]:
    if isinstance(known.origin, WebFile):
        return [known.origin.file_name]
    return [known.origin.stem + ending for ending in COPY_ENDINGS]


def _web_rows(known: KnownSet, origin: WebFile) -> Rows:
    file = data_folder() / origin.file_name
    if not file.exists():
        with phase(f"download {known.name}"):
            download(origin.url, file, origin.sha256)
    with file.open("rb") as content:
        found = hashlib.file_digest(content, "sha256").hexdigest()
    if found != origin.sha256:
        raise DataError(
            f"{file}: its sha256 begins with {found[:12]} and that of the published "
            f"{known.name} with {origin.sha256[:12]}; remove the file, and it is "
            "downloaded again"
        )
    return replace(read_rows(str(file)), name=known.name)


def _hub_rows(known: KnownSet, origin: HubSet) -> Rows:
    copies = [data_folder() / name for name in _copy_names(known)]
    for copy in copies:
        if copy.is_file():
            read = read_rows(str(copy))
            rows = [row for row in read.rows if _is_of(row, origin)]
            return _named(known, rows, len(read.rows), rows_sha256(rows))
    try:
        with phase(f"read {origin.repository} from the hub"):
            _, rows = read_hub_rows(origin.repository, _wanted(origin))
    except DataError as error:
        raise DataError(
            f"{known.name}: {origin.repository} cannot be read from the hub; check the "
            f"network, or put a copy of it at {copies[0]} ("
            f"{', '.join(COPY_ENDINGS[1:])} will do as well)"
        ) from error
    return rows_of(known.name, rows, rows_sha256(rows))


def _wanted(origin: HubSet) -> tuple[str, str] | None:
    return None if origin.column is None else (origin.column, origin.value)


def _is_of(row: Mapping[str, object], origin: HubSet) -> bool:
    """Whether a copy's row is one of the set; a copy may hold the set's rows alone."""
    return origin.column is None or row.get(origin.column, origin.value) == origin.value


def _named(
    known: KnownSet, rows: Sequence[Mapping[str, object]], num_read: int, sha256: str
) -> Rows:
    _must_be_left(known, rows)
    if len(rows) < num_read:
        say(f"{known.name}: {len(rows)} of the {num_read} rows of its copy are its own")
    return rows_of(known.name, rows, sha256)


def _in_hub_cache(origin: HubSet) -> Path | None:
    from huggingface_hub.constants import HF_HOME

    cache = os.environ.get("HF_DATASETS_CACHE") or Path(HF_HOME) / "datasets"
    repository = re.split("[@:]", origin.repository)[0]
    folder = Path(cache) / repository.replace("/", "___")
    return folder if folder.is_dir() else None


def _without(rows: Rows, known: KnownSet) -> Rows:
    kept = tuple(row for row in rows.rows if not _holds(row, known.leaves_out))
    say(
        f"{known.name}: {len(rows.rows) - len(kept)} of {len(rows.rows)} rows hold a "
        "phrase of its list and are left out"
    )
    _must_be_left(known, kept)
    return rows_of(known.name, kept, rows_sha256(kept))


def _with_turns(rows: Rows, known: KnownSet, num_turns: int) -> Rows:
    kept = tuple(
        row
        for row in rows.rows
        if isinstance(turns := row.get("messages"), list) and len(turns) == num_turns
    )
    say(
        f"{known.name}: {len(rows.rows) - len(kept)} of {len(rows.rows)} rows have not "
        f"exactly {num_turns} turns and are left out"
    )
    _must_be_left(known, kept)
    return rows_of(known.name, kept, rows_sha256(kept))


def _must_be_left(known: KnownSet, rows: Sequence[object]) -> None:
    if not rows:
        raise DataError(f"{known.name}: no row is left; is the copy the right file?")


def _holds(row: Mapping[str, object], phrases: Sequence[str]) -> bool:
    """Whether a row has one of the phrases at the start of a word."""
    said = "\n".join(cell for cell in row.values() if isinstance(cell, str))
    text = said.lower().replace("’", "'")
    # Plain search first: it is ten times as fast, and most rows have none of them.
    return any(
        phrase in text and re.search(rf"\b{re.escape(phrase)}", text)
        for phrase in phrases
    )
