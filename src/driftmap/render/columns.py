"""How are many things of one kind shown side by side, and which of them?

`Listing` is a table whose lines lead somewhere. `Columns` is a table with a column for
each thing; on the page a person chooses which columns stand beside each other.
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """A table whose lines lead to pages of their own.

    Args:
        caption: What it lists.
        columns: Names of the columns.
        rows: Cells already written for a person; nothing in them is read as a mark.
        addresses: Where the first cell of each row leads, as a relative address; empty
            for nowhere.
        align_right: Numbers of the columns that hold figures.
    """

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    addresses: Sequence[str]
    align_right: frozenset[int] = frozenset()

    def __post_init__(self) -> None:
        """There is one address for each row."""
        assert len(self.rows) == len(self.addresses), "an address for each row"


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One thing beside others.

    Args:
        title: Its name.
        address: Where its own page is, as a relative address; empty for nowhere.
        cells: What is said of it, one text for each row.
    """

    title: str
    address: str
    cells: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """Things of one kind side by side; nothing in their texts is read as a mark.

    Args:
        caption: What stands beside each other.
        rows: Names of the rows.
        kept: How many rows, from the first, are shown even where they are equal in all
            chosen columns; the others hide then.
        columns: The things.
    """

    caption: str
    rows: Sequence[str]
    kept: int
    columns: Sequence[Column]

    def __post_init__(self) -> None:
        """Every column has a cell in every row."""
        assert all(len(one.cells) == len(self.rows) for one in self.columns)
