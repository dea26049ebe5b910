"""Which rows does a JSON or JSON Lines text hold?

What other readers settle silently is refused: a key that is there twice, nesting and
numbers without end.
"""

import io
import json
from collections import Counter
from collections.abc import Sequence

from driftmap.core.errors import DataError
from driftmap.core.quoted import quoted


class _KeyTwiceError(Exception):
    """One object has the same key twice."""


def json_rows(source: str, text: str) -> list[dict[str, object]]:
    """Read one list of objects.

    Args:
        source: What errors call the file.
        text: All of it; nothing but white space is no rows.

    Raises:
        DataError: It is not JSON, or not a list of objects.
    """
    if not text.strip():
        return []
    try:
        rows = _value(text, source)
    except json.JSONDecodeError as error:
        hint = "mend it"
        if error.msg == "Extra data":
            hint = "if every line is a row of its own, name the file .jsonl"
        raise DataError(
            f"{source}: line {error.lineno} is not JSON ({error.msg}); {hint}"
        ) from error
    if not isinstance(rows, list):
        raise DataError(
            f"{source}: it holds one {type(rows).__name__}, not a list of rows; "
            'write [{"prompt": ..., "response": ...}, ...]'
        )
    return [_object(row, f"{source}: row {number}") for number, row in enumerate(rows)]


def json_line_rows(source: str, text: str) -> list[dict[str, object]]:
    """Read one object a line, whatever ends the lines; empty ones are passed over.

    Args:
        source: What errors call the file.
        text: All of it.

    Raises:
        DataError: A line is not JSON, or no object.
    """
    rows = []
    for number, line in enumerate(io.StringIO(text, newline=None), start=1):
        if not line.strip():
            continue
        where = f"{source}: line {number}"
        try:
            rows.append(_object(_value(line, where), where))
        except json.JSONDecodeError as error:
            raise DataError(
                f"{where} is not JSON ({error.msg} at character {error.pos}); "
                "mend it or remove it"
            ) from error
    return rows


def _value(text: str, where: str) -> object:
    """Read one JSON value; JSONDecodeError is left to those who know its place."""
    try:
        return json.loads(text, object_pairs_hook=_with_keys_once)
    except json.JSONDecodeError:
        raise
    except _KeyTwiceError as error:
        raise DataError(
            f"{where}: the key `{quoted(str(error))}` is there twice in one object; "
            "rename or remove one"
        ) from error
    except RecursionError as error:
        raise DataError(
            f"{where}: its lists or objects lie too deep in each other to be read; "
            "leave them out"
        ) from error
    except ValueError as error:  # more digits than Python reads
        raise DataError(
            f"{where}: it holds a number of thousands of digits; write it as a string"
        ) from error


def _with_keys_once(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    cells = dict(pairs)
    if len(cells) != len(pairs):
        counts = Counter(key for key, _ in pairs)
        raise _KeyTwiceError(next(key for key in cells if counts[key] > 1))
    return cells


def _object(row: object, where: str) -> dict[str, object]:
    if isinstance(row, dict):
        return row
    found = "a list" if isinstance(row, list) else quoted(json.dumps(row))
    raise DataError(
        f"{where} is {found}, not an object with columns; "
        'write {"prompt": ..., "response": ...}'
    )
