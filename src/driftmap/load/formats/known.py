"""Which shapes are recognised, and in which order are they tried?"""

import json
from collections.abc import Sequence

from driftmap.core.errors import DataError
from driftmap.core.quoted import quoted
from driftmap.load.formats import (
    advbench,
    alpaca,
    chat,
    pretokenised,
    prompt_only,
    prompt_response,
    text,
)
from driftmap.load.formats.shape import Shape

_MOST_LISTED = 12

# The first that fits is taken: from the columns that mean one thing only to those
# that many files have.
SHAPES: tuple[Shape, ...] = (
    *pretokenised.SHAPES,
    *chat.SHAPES,
    *alpaca.SHAPES,
    *prompt_response.SHAPES,
    *advbench.SHAPES,
    *prompt_only.SHAPES,
    *text.SHAPES,
)


def recognise(
    source: str, columns: Sequence[str], shapes: Sequence[Shape], told: str = ""
) -> Shape:
    """Find the shape that a file's columns give away.

    Args:
        source: As the user gave it.
        columns: Under the names that the shapes know.
        shapes: Tried in order.
        told: What the error says between the source and what to do, where `columns`
            are not the names that stand in the file.

    Raises:
        DataError: None fits; names the columns and a row that would fit.

    >>> recognise("f.csv", ["prompt", "response", "text"], SHAPES).name
    'prompt/response'
    """
    present = frozenset(columns)
    for shape in shapes:
        if shape.fits(present):
            return shape
    wanted = "; ".join(
        " + ".join(f"`{need}`" for need in sorted(shape.needs)) for shape in shapes
    )
    usual = next((s for s in shapes if s.name == "prompt/response"), shapes[0])
    raise DataError(
        f"{source}: {told or f'its columns ({in_words(columns)})'} fit no known shape; "
        "rename them, or say with --columns KNOWN=YOURS which are one of "
        f"[{wanted}], for example {json.dumps(usual.example)}",
        topic="data-not-recognised",
    )


def in_words(columns: Sequence[str]) -> str:
    """Columns as errors list them."""
    listed = [f"`{quoted(column)}`" for column in columns[:_MOST_LISTED]]
    if len(columns) > _MOST_LISTED:
        listed.append(f"and {len(columns) - _MOST_LISTED} more")
    return ", ".join(listed) or "none"
