"""How is a row of running text read?

It has no question and no answer, no chat template touches it, and all of its tokens
count; commands that need a response ask for `positions all`.
"""

from driftmap.load.formats.prompt_only import ANSWER_COLUMNS
from driftmap.load.formats.shape import Content, Row, Shape
from driftmap.results.samples import Message


def read_text(row: Row) -> Content:
    """Read one running text."""
    return Content(messages=(Message(role="text", content=row.text("text")),))


SHAPES = (
    Shape(
        name="text",
        needs=frozenset({"text"}),
        refuses=ANSWER_COLUMNS | {"prompt", "instruction"},
        read=read_text,
        example={"text": "The sky was blue that day."},
    ),
)
