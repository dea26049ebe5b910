"""Which texts does a file hold about subjects, and about those with an answer?"""

from driftmap.core.errors import DataError
from driftmap.load.formats.shape import Row
from driftmap.load.rows import read_rows
from driftmap.results.edits import AboutText


def read_about(source: str) -> tuple[AboutText, ...]:
    """Read rows of `text`, and `subject` or `answer`.

    Args:
        source: A JSON, JSON Lines, CSV or Parquet file, or a data set on the hub.

    Raises:
        DataError: The source cannot be read, has no such columns, or a row says
            neither whom its text is about nor what is true of them.
    """
    rows = read_rows(source)
    if "text" not in rows.columns or not {"subject", "answer"} & set(rows.columns):
        raise DataError(
            f"{source}: its columns are {', '.join(sorted(rows.columns))}; give rows "
            "of `text`, and `subject` or `answer`"
        )
    found = []
    for number, cells in enumerate(rows.rows):
        row = Row(place=f"{rows.name}:{number}", cells=cells, own_names={})
        about = AboutText(
            text=row.text("text"),
            subject=row.text_or_empty("subject").strip(),
            answer=row.text_or_empty("answer").strip(),
        )
        if not (about.subject or about.answer):
            raise DataError(
                f"{row.place}: says neither whom its text is about (`subject`) nor "
                "what is true of them (`answer`); give one"
            )
        found.append(about)
    return tuple(found)
