"""Which facts does a file hold, in whichever published shape?"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from driftmap.core.errors import DataError
from driftmap.core.quoted import quoted
from driftmap.load.columns import columns_to_take
from driftmap.load.fact_shapes import SHAPES, FactShape
from driftmap.load.formats.known import in_words
from driftmap.load.formats.shape import Row
from driftmap.load.pararel import NAME as PARAREL
from driftmap.load.pararel import pararel_folder, read_pararel
from driftmap.load.rows import Rows, read_rows
from driftmap.results.facts import Fact

AS_THEY_ARE: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class FactFile:
    """All facts of one source.

    Args:
        facts: In file order; fields that the source lacks are empty.
        shape: Which of the known shapes it has.
        sha256: Of what was read.
    """

    facts: tuple[Fact, ...]
    shape: str
    sha256: str


def read_facts(source: str, columns: Mapping[str, str] = AS_THEY_ARE) -> FactFile:
    """Read known_1000, CounterFact, EasyEdit, zsRE, ParaRel, or facts of our own shape.

    Args:
        source: A JSON, JSON Lines, CSV or Parquet file, ParaRel's folder, or a data set
            on the hub.
        columns: The file's column by the name of a part of a fact, as `parse_columns`
            reads it; by default the shape is recognised.

    Returns:
        The facts, ids unique.

    Raises:
        DataError: The source cannot be read, has no known shape, or a row lacks what
            its shape needs, which is named by its key.
    """
    folder = Path(source).expanduser()
    home = pararel_folder(folder) if folder.is_dir() else None
    if home is not None:
        facts, sha256 = read_pararel(home)
        return FactFile(facts=facts, shape=PARAREL, sha256=sha256)
    rows = read_rows(source)
    taken = columns_to_take(rows.columns, columns) if columns else None
    shape = _recognised(source, _under_known_names(rows.columns, taken))
    facts = tuple(shape.read(row) for row in _rows(rows, taken))
    _require_own_ids(source, facts)
    return FactFile(facts=facts, shape=shape.name, sha256=rows.sha256)


def in_every_wording(facts: Sequence[Fact]) -> tuple[Fact, ...]:
    """Ask for each fact in each of its wordings; they share `said`.

    >>> fact = Fact(id="a", subject="X", prompt="X is", paraphrases=("So X is",))
    >>> [(one.id, one.prompt, one.said) for one in in_every_wording([fact])]
    [('a', 'X is', 'a'), ('a/1', 'So X is', 'a')]
    """
    return tuple(
        replace(
            fact,
            id=f"{fact.id}/{number}" if number else fact.id,
            fact_id=fact.said,
            prompt=prompt,
            paraphrases=(),
        )
        for fact in facts
        for number, prompt in enumerate((fact.prompt, *fact.paraphrases))
    )


def _under_known_names(
    columns: Sequence[str], taken: Mapping[str, str] | None
) -> frozenset[str]:
    return frozenset(columns) if taken is None else frozenset(taken)


def _recognised(source: str, columns: frozenset[str]) -> FactShape:
    for shape in SHAPES:
        if shape.fits(columns):
            return shape
    nearest = min(SHAPES, key=lambda shape: _distance(shape, columns))
    missing = sorted(nearest.needs - columns)
    raise DataError(
        f"{source}: its columns ({in_words(sorted(columns))}) are those of no file of "
        f"facts; {nearest.name} lacks {in_words(missing)}; write "
        '{"subject": ..., "prompt": ..., "answer": ...}, or say with --columns '
        "KNOWN=YOURS which column is which",
        topic="data-not-recognised",
    )


def _distance(shape: FactShape, columns: frozenset[str]) -> tuple[int, int]:
    """How many columns a shape misses, and how few it has."""
    return len(shape.needs - columns), -len(shape.needs & columns)


def _rows(rows: Rows, taken: Mapping[str, str] | None) -> list[Row]:
    names = {} if taken is None else dict(taken)
    return [
        Row(
            place=f"{rows.name}:{number}",
            cells=cells if taken is None else _renamed(cells, names),
            own_names=names,
        )
        for number, cells in enumerate(rows.rows)
    ]


def _renamed(
    cells: Mapping[str, object], names: Mapping[str, str]
) -> dict[str, object]:
    return {known: cells[own] for known, own in names.items() if own in cells}


def _require_own_ids(source: str, facts: Sequence[Fact]) -> None:
    for fact_id, count in Counter(fact.id for fact in facts).items():
        if count > 1:
            raise DataError(
                f"{source}: {count} facts have the id {quoted(fact_id)!r}; give each "
                "one of its own"
            )
