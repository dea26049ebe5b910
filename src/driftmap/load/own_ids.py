"""What do rows that carry ids say, and which version of a sample is each of them?"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from driftmap.core.errors import DataError
from driftmap.load.columns import columns_to_take
from driftmap.load.formats.known import SHAPES, in_words, recognise
from driftmap.load.formats.shape import Content, Row, Shape
from driftmap.load.python_rows import YieldedSamples
from driftmap.load.rows import Rows
from driftmap.load.samples import rows_of_source
from driftmap.results.samples import Sample

ORIGINAL = "original"
MadeColumn = Literal["paraphrased_messages", "model_generated_messages"]
MADE: Mapping[MadeColumn, str] = {
    "paraphrased_messages": "paraphrased",
    "model_generated_messages": "generated",
}
"""Columns of the published LIMA sets and the versions that they hold; the last one
that a set has is what the set was made for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """The samples of one source, under the ids that they carry.

    Args:
        source: As the user gave it.
        name: Short name of the source, for rows that name no version.
        samples: In file order.
        remarks: What whoever made a row said of it, by its id.
        sha256: Of the source.
    """

    source: str
    name: str
    samples: tuple[Sample, ...]
    remarks: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    sha256: str


def made_columns(source: str) -> tuple[MadeColumn, ...]:
    """List the columns in which a source holds versions of its own rows."""
    found = rows_of_source(source)
    if isinstance(found, YieldedSamples):
        return ()
    return tuple(column for column in MADE if column in found.columns)


def read_versions(
    source: str,
    column: MadeColumn | Literal["last"] | None,
    columns: Mapping[str, str],
) -> Version:
    """Read samples that keep the `id`, `original_id` and `version` of their rows.

    Args:
        source: Any source of samples (see `driftmap.load.samples`).
        column: The column that holds the turns of one version; `last` for the last
            such column that there is; None, or where there is none, for the row's own
            turns.
        columns: The file's columns by the names that shapes know.

    Returns:
        The samples. A row without `id` is called `NAME:row`, one without
        `original_id` is its own original.

    Raises:
        DataError: The source cannot be read, fits no shape, or an id is no text.
    """
    found = rows_of_source(source)
    if isinstance(found, YieldedSamples):
        name = source.rpartition(":")[2]
        return Version(
            source=source, name=name, samples=found.samples, sha256=found.sha256
        )
    if column == "last":
        made: list[MadeColumn] = [c for c in MADE if c in found.columns]
        column = made[-1] if made else None
    if column is not None:
        found, columns = _of_version(found, column), {}
    samples, remarks = _read(source, found, columns)
    return Version(
        source=source,
        name=found.name,
        samples=samples,
        remarks=remarks,
        sha256=found.sha256,
    )


def _of_version(found: Rows, column: MadeColumn) -> Rows:
    """Rows whose turns are those of one made column."""
    rows = tuple(
        {
            "id": row.get("id"),
            "original_id": row.get("original_id"),
            "version": row.get("version", MADE[column]),
            "messages": row.get(column),
        }
        for row in found.rows
    )
    return Rows(
        name=found.name,
        columns=("id", "original_id", "version", "messages"),
        rows=rows,
        sha256=found.sha256,
    )


def _read(
    source: str, found: Rows, columns: Mapping[str, str]
) -> tuple[tuple[Sample, ...], dict[str, tuple[str, ...]]]:
    take = columns_to_take(found.columns, columns)
    told = "" if take is None else f"its columns ({in_words(found.columns)}), renamed,"
    shape = recognise(source, tuple(take or found.columns), SHAPES, told)
    samples: list[Sample] = []
    remarks: dict[str, tuple[str, ...]] = {}
    for number, cells in enumerate(found.rows):
        place = f"{Path(found.name).name}:{number}"
        sample = _sample(place, cells, take, shape)
        samples.append(sample)
        if said := _remarks(place, cells):
            remarks[sample.id] = said
    return tuple(samples), remarks


def _sample(
    place: str,
    cells: Mapping[str, object],
    take: Mapping[str, str] | None,
    shape: Shape,
) -> Sample:
    own = take or {}
    chosen = cells if take is None else {k: cells.get(own[k]) for k in own}
    row = Row(place=place, cells=chosen, own_names=own)
    content: Content = shape.read(row)
    sample_id = _own(place, cells, "id") or place
    return Sample(
        id=sample_id,
        original_id=_own(place, cells, "original_id") or sample_id,
        version=_own(place, cells, "version") or ORIGINAL,
        messages=content.messages,
        label=row.label(),
        tokens=content.tokens,
        plain_prompt=content.plain_prompt,
    )


def _own(place: str, cells: Mapping[str, object], column: str) -> str | None:
    value = cells.get(column)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise DataError(f"{place}: `{column}` is neither text nor a whole number")
    text = str(value).strip()
    if not text or not text.isprintable():
        raise DataError(
            f"{place}: `{column}` is empty or cannot be printed; give it a name, or "
            "leave it out"
        )
    return text


def _remarks(place: str, cells: Mapping[str, object]) -> tuple[str, ...]:
    flags = cells.get("flags")
    if flags is not None and not (
        isinstance(flags, list) and all(isinstance(flag, str) for flag in flags)
    ):
        raise DataError(f"{place}: `flags` is no list of texts; mend or remove it")
    said = tuple(f"flagged: {flag}" for flag in flags or ())
    return (*said, "incomplete") if cells.get("complete") is False else said
