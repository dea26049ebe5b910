"""How do the rows of a file, or of a data set on the hub, become columns and values?

Files are told apart by their ending. Nothing is guessed inside them: a broken line is
named, not skipped.
"""

import csv
import hashlib
import io
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow
import pyarrow.parquet

from driftmap.core.errors import DataError
from driftmap.core.progress import say
from driftmap.core.quoted import quoted
from driftmap.load.hub_rows import HUB_SOURCE, read_hub_rows
from driftmap.load.json_rows import json_line_rows, json_rows

ENDINGS = (".json", ".jsonl", ".csv", ".parquet", ".txt")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """All rows of one source.

    Args:
        name: Short name, the first half of every sample id.
        columns: Of all rows, in the order in which they are first met.
        rows: Value by column, in file order.
        sha256: Of the file's bytes; of the rows themselves where they come from none.
    """

    name: str
    columns: tuple[str, ...]
    rows: tuple[Mapping[str, object], ...]
    sha256: str


def read_rows(source: str) -> Rows:
    """Read a file, a folder that `datasets` understands, or a hub data set.

    Args:
        source: A path, or `OWNER/NAME[@CONFIG][:SPLIT]` on the hub.

    Raises:
        DataError: The source is missing, empty, broken or of an unknown kind.
    """
    path = Path(source).expanduser()
    if path.is_file():
        name, content = path.stem, _file_bytes(path)
        rows = _parse(path, content)
        sha256 = hashlib.sha256(content).hexdigest()
    elif path.is_dir() or _may_be_on_hub(source):
        name, rows = read_hub_rows(source)
        sha256 = rows_sha256(rows)
    else:
        raise DataError(
            f"{source}: there is no such file; check the path, or write a hub data set "
            "as OWNER/NAME or a known one (`driftmap data list`) by its name",
            topic="data-not-recognised",
        )
    if not rows:
        raise DataError(f"{source}: it holds no rows; is it the right file?")
    return rows_of(name, rows, sha256)


def rows_of(name: str, rows: Sequence[Mapping[str, object]], sha256: str) -> Rows:
    """Name the columns of rows.

    Args:
        name: First half of the sample ids.
        rows: At least one.
        sha256: Of what they were read from.
    """
    # Not of the first row alone: where that one lacks its answer, all others would
    # be read as if they had none.
    columns = tuple(dict.fromkeys(column for row in rows for column in row))
    return Rows(name=name, columns=columns, rows=tuple(rows), sha256=sha256)


def rows_sha256(rows: Iterable[Mapping[str, object]]) -> str:
    """Hash rows by what they hold, whichever file they came from."""
    # As one JSON list, but never all of it in memory.
    digest = hashlib.sha256(b"[")
    for number, row in enumerate(rows):
        text = json.dumps(row, sort_keys=True, default=str)
        digest.update((", " * bool(number) + text).encode())
    digest.update(b"]")
    return digest.hexdigest()


def _may_be_on_hub(source: str) -> bool:
    return bool(HUB_SOURCE.fullmatch(source)) and Path(source).suffix not in ENDINGS


def _file_bytes(path: Path) -> bytes:
    if path.suffix == ".py":
        raise DataError(
            f"{path}: name the function that yields the rows, as in {path}:rows"
        )
    if path.suffix not in ENDINGS:
        raise DataError(
            f"{path}: files ending in {path.suffix or 'nothing'} are not read; "
            f"known are {', '.join(ENDINGS)}",
            topic="data-not-recognised",
        )
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(
            f"{path}: it cannot be read ({error.strerror}); check its permissions"
        ) from error


def _parse(path: Path, content: bytes) -> list[dict[str, object]]:
    if path.suffix == ".parquet":
        return _parquet(path, content)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: byte {error.start} is not UTF-8; save the file as UTF-8"
        ) from error
    readers = {
        ".json": json_rows,
        ".jsonl": json_line_rows,
        ".csv": _csv,
        ".txt": _lines,
    }
    return readers[path.suffix](str(path), text)


def _csv(source: str, text: str) -> list[dict[str, object]]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        table = [(reader.line_num, cells) for cells in reader if cells]
    except csv.Error as error:
        raise DataError(
            f"{source}: line {reader.line_num} is not CSV ({error}); mend it"
        ) from error
    if not table:
        return []
    columns = table[0][1]
    _must_be_separated_by_commas(source, columns)
    _must_differ(source, columns)
    return [_csv_row(source, columns, line, cells) for line, cells in table[1:]]


def _must_be_separated_by_commas(source: str, columns: list[str]) -> None:
    """Refuse what a spreadsheet of another country writes: one column of many."""
    found = [mark for mark in (";", "\t") if len(columns) == 1 and mark in columns[0]]
    if found:
        told = "a tab" if found[0] == "\t" else f"`{found[0]}`"
        raise DataError(
            f"{source}: its columns seem to be separated by {told}; save it with commas"
        )


def _csv_row(
    source: str, columns: list[str], line: int, cells: list[str]
) -> dict[str, object]:
    if len(cells) != len(columns):
        raise DataError(
            f"{source}: line {line} has {len(cells)} cells for {len(columns)} columns; "
            "are commas inside a text quoted?"
        )
    row = zip(columns, cells, strict=True)
    return {column: cell for column, cell in row if column}


def _must_differ(source: str, columns: Sequence[str]) -> None:
    for column, count in Counter(columns).items():
        if count > 1:
            raise DataError(
                f"{source}: column `{quoted(column)}` is there twice; rename one"
            )


def _parquet(path: Path, content: bytes) -> list[dict[str, object]]:
    try:
        table = pyarrow.parquet.read_table(pyarrow.BufferReader(content))
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(
            f"{path}: it is not a whole Parquet file ({_first_line(error)}); "
            "write or download it again"
        ) from error
    columns = table.column_names
    _must_differ(str(path), columns)
    cells = [_cells(path, table, column) for column in columns]
    if not cells:
        return []
    return [dict(zip(columns, row, strict=True)) for row in zip(*cells, strict=True)]


def _cells(path: Path, table: pyarrow.Table, column: str) -> list[object]:
    try:
        return table[column].to_pylist()
    # Each kind of value fails in its own way: dates beyond the year 9999, time zones
    # that do not exist, texts that are not UTF-8.
    except (pyarrow.ArrowException, ValueError, OverflowError, LookupError) as error:
        raise DataError(
            f"{path}: column `{quoted(column)}` cannot be read ({_first_line(error)}); "
            "leave it out or write it as text"
        ) from error


def _lines(source: str, text: str) -> list[dict[str, object]]:
    lines = [line for line in re.split(r"\r\n|\r|\n", text) if line.strip()]
    if lines and lines[0] == "0":
        # What pandas writes above a column without a name.
        say(f"{source}: the first line, 0, is a column number and is left out")
        lines = lines[1:]
    return [{"text": line} for line in lines]


def _first_line(error: Exception) -> str:
    return quoted(str(error).partition("\n")[0].rstrip("."), longest=200)
