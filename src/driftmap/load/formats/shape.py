"""What does a known data set shape look like, and what does a row of it say?

A shape is a row of data: the columns that give it away, a function from one row to
its content, and an example that the error for an unknown file shows.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from driftmap.core.errors import DataError
from driftmap.results.samples import Message, TokenRow

LABEL_COLUMNS = ("label", "final_label", "category")


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What one row says, before it has an id.

    Args:
        messages: The turns; empty only with `tokens`.
        tokens: A pretokenised row.
        plain_prompt: The published wording before the response, if there is one.
    """

    messages: tuple[Message, ...] = ()
    tokens: TokenRow | None = None
    plain_prompt: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row of a file, with the place that errors name.

    Args:
        place: `NAME:row`, the id that its sample gets.
        cells: Value by column.
        own_names: What the file calls a column, where it has another name for it.
    """

    place: str
    cells: Mapping[str, object]
    own_names: Mapping[str, str] = field(default_factory=dict)

    def where(self, column: str) -> str:
        """The cell as errors name it."""
        return f"{self.place}: `{self.own_names.get(column, column)}`"

    def value(self, column: str) -> object:
        """The cell as it is.

        Raises:
            DataError: There is no such cell, or it holds nothing.
        """
        value = self.cells.get(column)
        if value is None:
            raise DataError(
                f"{self.where(column)} is missing; fill it in or leave the row out"
            )
        return value

    def text(self, column: str) -> str:
        """The cell as text that is not empty.

        Raises:
            DataError: The cell is missing, empty or no text.
        """
        text = self.text_or_empty(column, default=self.value(column))
        if not text.strip():
            raise DataError(
                f"{self.where(column)} is empty; fill it in or leave the row out"
            )
        return text

    def text_or_empty(self, column: str, default: object = "") -> str:
        """The cell as text; a missing one is empty.

        Raises:
            DataError: The cell holds something other than text.
        """
        value = self.cells.get(column)
        return checked_text(self.where(column), default if value is None else value)

    def label(self) -> str | None:
        """What the row is an example of, from the first column that says so.

        Raises:
            DataError: It holds half a character.
        """
        for column in LABEL_COLUMNS:
            value = self.cells.get(column)
            if isinstance(value, str | int | float) and value != "":
                return checked_text(self.where(column), str(value))
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """One recognised shape of a data set.

    Args:
        name: What messages and provenance call it.
        needs: Columns that must be there.
        takes: Columns that are read as well where they are there.
        refuses: Columns that must not be there, since they mean another shape.
        read: From a row to its content.
        example: A row that fits.
    """

    name: str
    needs: frozenset[str]
    takes: frozenset[str] = frozenset()
    refuses: frozenset[str] = frozenset()
    read: Callable[[Row], Content]
    example: Mapping[str, object]

    def fits(self, columns: frozenset[str]) -> bool:
        """Whether a file with these columns has this shape."""
        return self.needs <= columns and not self.refuses & columns


def checked_text(where: str, value: object) -> str:
    """Text that a tokenizer can read.

    Args:
        where: Row and column, for the error.
        value: What is there.

    Raises:
        DataError: It is no text, or holds half a character.
    """
    if not isinstance(value, str):
        raise DataError(f"{where} holds {_kind(value)}, not text; write it as a string")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise DataError(
            f"{where} holds half a character (\\u{ord(value[error.start]):04x}) at "
            f"character {error.start}; write the whole one or remove it"
        ) from error
    return value


def question_and_answer(question: str, answer: str) -> tuple[Message, ...]:
    """The two turns of a row that asks once and answers once."""
    return (
        Message(role="user", content=question),
        Message(role="assistant", content=answer),
    )


def _kind(value: object) -> str:
    kinds = {bool: "true or false", int: "a number", float: "a number", list: "a list"}
    if value is None:
        return "nothing"
    return kinds.get(type(value), f"a {type(value).__name__}")
