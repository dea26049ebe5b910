"""How is a row read that only asks?

Such rows serve generation and evaluation; scoring and tuning need answers and refuse
them. A file that also has a column which looks like an answer is not taken for a list
of prompts.
"""

from driftmap.load.formats.shape import Content, Row, Shape
from driftmap.results.samples import Message

ANSWER_COLUMNS = frozenset(
    {"response", "completion", "output", "answer", "target", "chosen", "rejected"}
)


def read_prompt(row: Row, column: str) -> Content:
    """Read one prompt as the user's turn."""
    return Content(messages=(Message(role="user", content=row.text(column)),))


def _shape(column: str) -> Shape:
    return Shape(
        name=f"{column} only",
        needs=frozenset({column}),
        refuses=ANSWER_COLUMNS,
        read=lambda row: read_prompt(row, column),
        example={column: "Name a colour.", "category": "harmless"},
    )


SHAPES = (_shape("prompt"), _shape("instruction"), _shape("goal"))
