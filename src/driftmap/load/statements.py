"""Which statements does a file hold, and which of them are true?"""

from dataclasses import dataclass

from driftmap.core.errors import DataError
from driftmap.core.quoted import quoted
from driftmap.load.formats.known import in_words
from driftmap.load.formats.shape import Row
from driftmap.load.rows import read_rows

_TRUTHS = {"1": True, "true": True, "0": False, "false": False}


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """One sentence that is true or false.

    Args:
        id: `NAME:row`.
        text: The sentence.
        is_true: Whether it is true.
    """

    id: str
    text: str
    is_true: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class StatementFile:
    """All statements of one source.

    Args:
        statements: In file order.
        sha256: Of what was read.
    """

    statements: tuple[Statement, ...]
    sha256: str


def read_statements(source: str) -> StatementFile:
    """Read rows of `statement` and `label` (1 or 0, true or false).

    Args:
        source: A CSV, JSON, JSON Lines or Parquet file, or a data set on the hub.

    Raises:
        DataError: The source cannot be read, lacks one of the columns, or a row says
            neither true nor false.
    """
    rows = read_rows(source)
    missing = [name for name in ("statement", "label") if name not in rows.columns]
    if missing:
        raise DataError(
            f"{source}: its columns ({in_words(rows.columns)}) lack "
            f"{in_words(missing)}; write `statement,label` with label 1 or 0"
        )
    statements = [
        _statement(Row(place=f"{rows.name}:{number}", cells=cells))
        for number, cells in enumerate(rows.rows)
    ]
    return StatementFile(statements=tuple(statements), sha256=rows.sha256)


def _statement(row: Row) -> Statement:
    label = str(row.value("label")).strip().removesuffix(".0").lower()
    if label not in _TRUTHS:
        raise DataError(
            f"{row.where('label')} is {quoted(label)!r}; write 1 for true, 0 for false"
        )
    return Statement(
        id=row.place, text=row.text("statement").strip(), is_true=_TRUTHS[label]
    )
