"""How do the rows of a file, or of a data set on the hub, become columns and values?

Files are told apart by their ending. Nothing is guessed inside them: a broken line is
named, not skipped.
"""

import csv
import hashlib
import io
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow
import pyarrow.parquet

from driftmap.core.errors import DataError
from driftmap.core.progress import say
from driftmap.load.hub_rows import HUB_SOURCE, read_hub_rows

ENDINGS = (".json", ".jsonl", ".csv", ".parquet", ".txt")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """All rows of one source.

    Args:
        name: Short name, the first half of every sample id.
        columns: Columns, in the order of the first row.
        rows: Value by column, in file order.
        sha256: Of the file's bytes; of the rows themselves for a hub data set.
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
        text = json.dumps(rows, sort_keys=True, default=str)
        sha256 = hashlib.sha256(text.encode()).hexdigest()
    else:
        raise DataError(
            f"{source}: there is no such file; check the path, or write a hub data set "
            "as OWNER/NAME"
        )
    if not rows:
        raise DataError(f"{source}: it holds no rows; is it the right file?")
    return Rows(name=name, columns=tuple(rows[0]), rows=tuple(rows), sha256=sha256)


def _may_be_on_hub(source: str) -> bool:
    return bool(HUB_SOURCE.fullmatch(source)) and Path(source).suffix not in ENDINGS


def _file_bytes(path: Path) -> bytes:
    if path.suffix not in ENDINGS:
        raise DataError(
            f"{path}: files ending in {path.suffix or 'nothing'} are not read; "
            f"known are {', '.join(ENDINGS)}"
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
    readers = {".json": _json, ".jsonl": _jsonl, ".csv": _csv, ".txt": _lines}
    return readers[path.suffix](path, text)


def _json(path: Path, text: str) -> list[dict[str, object]]:
    if not text.strip():
        return []
    try:
        rows = json.loads(text)
    except json.JSONDecodeError as error:
        hint = "mend it"
        if error.msg == "Extra data":
            hint = "if every line is a row of its own, name the file .jsonl"
        raise DataError(
            f"{path}: line {error.lineno} is not JSON ({error.msg}); {hint}"
        ) from error
    if not isinstance(rows, list):
        raise DataError(
            f"{path}: it holds one {type(rows).__name__}, not a list of rows; "
            'write [{"prompt": ..., "response": ...}, ...]'
        )
    for number, row in enumerate(rows):
        _must_be_object(row, f"{path}: row {number}")
    return rows


def _jsonl(path: Path, text: str) -> list[dict[str, object]]:
    rows = []
    for number, line in enumerate(io.StringIO(text), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise DataError(
                f"{path}: line {number} is not JSON ({error.msg} at character "
                f"{error.pos}); mend it or remove it"
            ) from error
        _must_be_object(row, f"{path}: line {number}")
        rows.append(row)
    return rows


def _must_be_object(row: object, where: str) -> None:
    if not isinstance(row, dict):
        raise DataError(
            f"{where} is {json.dumps(row)[:40]}, not an object with columns; "
            'write {"prompt": ..., "response": ...}'
        )


def _csv(path: Path, text: str) -> list[dict[str, object]]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        table = [(reader.line_num, cells) for cells in reader if cells]
    except csv.Error as error:
        raise DataError(
            f"{path}: line {reader.line_num} is not CSV ({error}); mend it"
        ) from error
    if not table:
        return []
    columns = table[0][1]
    twice = sorted({c for c in columns if columns.count(c) > 1})
    if twice:
        raise DataError(f"{path}: column `{twice[0]}` is there twice; rename one")
    return [_csv_row(path, columns, line, cells) for line, cells in table[1:]]


def _csv_row(
    path: Path, columns: list[str], line: int, cells: list[str]
) -> dict[str, object]:
    if len(cells) != len(columns):
        raise DataError(
            f"{path}: line {line} has {len(cells)} cells for {len(columns)} columns; "
            "are commas inside a text quoted?"
        )
    row = zip(columns, cells, strict=True)
    return {column: cell for column, cell in row if column}


def _parquet(path: Path, content: bytes) -> list[dict[str, object]]:
    try:
        table = pyarrow.parquet.read_table(pyarrow.BufferReader(content))
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(
            f"{path}: it is not a whole Parquet file ({_first_line(error)}); "
            "write or download it again"
        ) from error
    return table.to_pylist()


def _lines(path: Path, text: str) -> list[dict[str, object]]:
    lines = [line for line in re.split(r"\r?\n", text) if line.strip()]
    if lines and lines[0] == "0":
        # What pandas writes above a column without a name.
        say(f"{path}: the first line, 0, is a column number and is left out")
        lines = lines[1:]
    return [{"text": line} for line in lines]


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0].rstrip(".")
