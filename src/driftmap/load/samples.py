"""Which samples does a source hold, whatever its shape?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from driftmap.core.errors import DataError
from driftmap.core.progress import say
from driftmap.core.seeds import child_seed
from driftmap.load.columns import AS_THEY_ARE, columns_to_take
from driftmap.load.formats.known import SHAPES, in_words, recognise
from driftmap.load.formats.shape import Row, Shape
from driftmap.load.known_rows import known_set, read_known
from driftmap.load.python_rows import YieldedSamples, python_source, read_python
from driftmap.load.rows import Rows, read_rows
from driftmap.results.samples import Sample


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleSet:
    """The samples of one source.

    Args:
        samples: In file order; ids are `NAME:row`, rows counted from 0.
        shape: Name of the recognised shape.
        source: As the user gave it.
        sha256: Of the file's bytes; of the rows where they come from no file. It speaks
            of the whole source, also where only some of its rows were drawn.
        columns: All columns of the source; none where a function made samples.
    """

    samples: tuple[Sample, ...]
    shape: str
    source: str
    sha256: str
    columns: tuple[str, ...] = ()


def read_samples(
    source: str,
    *,
    num_samples: int | None = None,
    seed: int = 0,
    shapes: Sequence[Shape] = SHAPES,
    columns: Mapping[str, str] = AS_THEY_ARE,
) -> SampleSet:
    """Read samples, recognising their shape by their columns.

    Args:
        source: A `.json`, `.jsonl`, `.csv`, `.parquet` or `.txt` file, a folder laid
            out like a hub data set, `OWNER/NAME[@CONFIG][:SPLIT]` on the hub,
            `FILE.py:FUNCTION`, or the name of a known set.
        num_samples: How many rows to draw, without replacement and kept in file
            order; all of them by default.
        seed: Decides which rows are drawn.
        shapes: Shapes to try, in order.
        columns: The file's column by the name that a shape knows it under; see
            `driftmap.load.columns`.

    Returns:
        The samples. Rows that say the same thing twice stay two samples.

    Raises:
        DataError: The source is missing, empty or broken, fits no shape, or one of
            its rows (whether drawn or not) lacks what its shape needs.
    """
    if num_samples is not None and num_samples < 1:
        raise DataError(f"{num_samples} samples of {source} are asked for; ask for 1+")
    whole = _whole(source, shapes, columns)
    if num_samples is None:
        return whole
    if num_samples > len(whole.samples):
        say(all_are_taken(whole))
    return replace(whole, samples=draw(whole.samples, num_samples, seed))


def draw(
    samples: tuple[Sample, ...], num_samples: int, seed: int
) -> tuple[Sample, ...]:
    """Draw rows without replacement, kept in their order; all where too few are there.

    Args:
        samples: All rows of a source.
        num_samples: How many to draw (count).
        seed: Decides which.
    """
    if num_samples > len(samples):
        return samples
    random = np.random.default_rng(child_seed(seed, "samples"))
    drawn = random.choice(len(samples), num_samples, replace=False)
    return tuple(samples[index] for index in sorted(drawn.tolist()))


def all_are_taken(whole: SampleSet) -> str:
    """What to say of a source that holds fewer rows than were asked for."""
    return f"{Path(whole.source).name}: all its {len(whole.samples)} rows are taken"


def rows_of_source(source: str) -> Rows | YieldedSamples:
    """Read the rows of a source, whatever kind it is of.

    Args:
        source: As `read_samples` takes it.

    Returns:
        Its rows, or the samples that a function of a person's own made itself.

    Raises:
        DataError: The source is missing, empty or broken.
    """
    if (python := python_source(source)) is not None:
        return read_python(python)
    if (known := known_set(source)) is not None:
        return read_known(known)
    return read_rows(source)


def _whole(
    source: str, shapes: Sequence[Shape], columns: Mapping[str, str]
) -> SampleSet:
    found = rows_of_source(source)
    if isinstance(found, YieldedSamples):
        return SampleSet(
            samples=found.samples, shape="samples", source=source, sha256=found.sha256
        )
    return _shaped(source, found, shapes, columns)


def _shaped(
    source: str, found: Rows, shapes: Sequence[Shape], columns: Mapping[str, str]
) -> SampleSet:
    take = columns_to_take(found.columns, columns)
    told = ""
    if columns:
        pairs = ",".join(f"{name}={own}" for name, own in columns.items())
        how = "read with" if take is not None else "which have none of"
        told = f"its columns ({in_words(found.columns)}), {how} --columns {pairs},"
    shape = recognise(source, tuple(take or found.columns), shapes, told)
    samples = [
        _sample(_row(f"{found.name}:{number}", cells, take), shape)
        for number, cells in enumerate(found.rows)
    ]
    return SampleSet(
        samples=tuple(samples),
        shape=shape.name,
        source=source,
        sha256=found.sha256,
        columns=found.columns,
    )


def _row(
    place: str, cells: Mapping[str, object], take: Mapping[str, str] | None
) -> Row:
    if take is None:
        return Row(place=place, cells=cells)
    chosen = {name: cells.get(own) for name, own in take.items()}
    return Row(place=place, cells=chosen, own_names=take)


def _sample(row: Row, shape: Shape) -> Sample:
    content = shape.read(row)
    return Sample(
        id=row.place,
        original_id=row.place,
        messages=content.messages,
        label=row.label(),
        tokens=content.tokens,
        plain_prompt=content.plain_prompt,
    )
