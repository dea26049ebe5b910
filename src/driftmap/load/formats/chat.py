"""How is a row read that holds a conversation?

Two spellings are in use: `messages` with `role` and `content`, and `conversations`
with `from` and `value`, or just the turns in order, the user first.
"""

from collections.abc import Mapping

from driftmap.core.errors import DataError
from driftmap.core.quoted import quoted
from driftmap.load.formats.shape import Content, Row, Shape, checked_text
from driftmap.results.samples import Message, Role

_ROLES: Mapping[str, Role] = {
    "system": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
}


def read_messages(row: Row) -> Content:
    """Read a list of turns with `role` and `content`."""
    return Content(messages=read_turns(row, "messages"))


def read_turns(row: Row, column: str) -> tuple[Message, ...]:
    """Read the turns of a column, each with `role` and `content`.

    Raises:
        DataError: The column is missing or no such list.
    """
    turns = _turns(row, column)
    return tuple(_turn(row, number, t, "role") for number, t in enumerate(turns))


def read_conversations(row: Row) -> Content:
    """Read a list of turns with `from` and `value`, or of texts in turn.

    >>> row = Row(place="a:0", cells={"conversations": ["Hi", "Yo"]})
    >>> [m.role for m in read_conversations(row).messages]
    ['user', 'assistant']
    """
    turns = _turns(row, "conversations")
    if all(isinstance(turn, str) for turn in turns):
        turns = [
            {"from": ("human", "gpt")[number % 2], "value": text}
            for number, text in enumerate(turns)
        ]
    return Content(
        messages=tuple(_turn(row, number, t, "from") for number, t in enumerate(turns))
    )


def _turns(row: Row, column: str) -> list[object]:
    turns = row.value(column)
    if not isinstance(turns, list) or not turns:
        raise DataError(
            f"{row.where(column)} is no list of turns; "
            "JSON Lines and Parquet can hold one, CSV cannot"
        )
    return turns


def _turn(row: Row, number: int, turn: object, role_key: str) -> Message:
    text_key = {"role": "content", "from": "value"}[role_key]
    role = turn.get(role_key) if isinstance(turn, Mapping) else None
    text = turn.get(text_key) if isinstance(turn, Mapping) else None
    if not isinstance(role, str) or not isinstance(text, str):
        raise DataError(
            f"{row.place}: turn {number} lacks a text under `{role_key}` or "
            f"`{text_key}`; every turn needs both"
        )
    if role not in _ROLES:
        raise DataError(
            f"{row.place}: turn {number} is spoken by '{quoted(role)}'; "
            f"known are {', '.join(_ROLES)}"
        )
    where = f"{row.place}: turn {number}"
    return Message(role=_ROLES[role], content=checked_text(where, text))


SHAPES = (
    Shape(
        name="messages",
        needs=frozenset({"messages"}),
        read=read_messages,
        example={
            "messages": [
                {"role": "user", "content": "Name a colour."},
                {"role": "assistant", "content": "Blue."},
            ]
        },
    ),
    Shape(
        name="conversations",
        needs=frozenset({"conversations"}),
        read=read_conversations,
        example={
            "conversations": [
                {"from": "human", "value": "Name a colour."},
                {"from": "gpt", "value": "Blue."},
            ]
        },
    ),
)
