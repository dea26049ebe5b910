"""How are many numbers with the same columns kept together?"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

Cell = str | int | float | bool


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Table:
    """A long table: equally long numpy columns under names."""

    columns: Mapping[str, np.ndarray]

    @classmethod
    def from_rows(cls, rows: Sequence[Mapping[str, Cell]]) -> "Table":
        """Turn rows with the same keys into columns.

        >>> Table.from_rows([{"step": 1, "group": "top"}])["group"].tolist()
        ['top']
        """
        names = list(rows[0]) if rows else []
        return cls(columns={n: np.array([row[n] for row in rows]) for n in names})

    @classmethod
    def joined(cls, tables: Sequence["Table"]) -> "Table":
        """Put tables with the same columns under each other, in order."""
        names = list(tables[0].columns) if tables else []
        return cls(columns={n: np.concatenate([t[n] for t in tables]) for n in names})

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()))) if self.columns else 0

    def __getitem__(self, name: str) -> np.ndarray:
        return self.columns[name]

    def where(self, **equal: Cell) -> "Table":
        """Rows whose named columns equal the given values."""
        keep = np.ones(len(self), dtype=bool)
        for name, value in equal.items():
            keep &= self.columns[name] == value
        return Table(columns={n: c[keep] for n, c in self.columns.items()})

    def unique(self, name: str) -> list[Cell]:
        """Distinct values of a column, in order of first appearance."""
        values, first = np.unique(self.columns[name], return_index=True)
        return [v.item() for v in values[np.argsort(first)]]

    def rows(self) -> Iterator[dict[str, Cell]]:
        """Rows as dictionaries of Python values."""
        lists = {name: column.tolist() for name, column in self.columns.items()}
        for number in range(len(self)):
            yield {name: values[number] for name, values in lists.items()}
