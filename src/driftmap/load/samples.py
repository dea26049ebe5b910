"""Which samples does a file hold, whatever its shape?"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from driftmap.core.errors import DataError
from driftmap.core.progress import say
from driftmap.core.seeds import child_seed
from driftmap.load.formats.known import SHAPES, recognise
from driftmap.load.formats.shape import Row, Shape
from driftmap.load.rows import read_rows
from driftmap.results.samples import Sample


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleSet:
    """The samples of one source.

    Args:
        samples: In file order; ids are `NAME:row`, rows counted from 0.
        shape: Name of the recognised shape.
        source: As the user gave it.
        sha256: Of the file's bytes; of the rows for a hub data set. It speaks of the
            whole source, also where only some of its rows were drawn.
    """

    samples: tuple[Sample, ...]
    shape: str
    source: str
    sha256: str


def read_samples(
    source: str,
    *,
    num_samples: int | None = None,
    seed: int = 0,
    shapes: Sequence[Shape] = SHAPES,
) -> SampleSet:
    """Read a samples file, recognising its shape by its columns.

    Args:
        source: A `.json`, `.jsonl`, `.csv`, `.parquet` or `.txt` file, a folder laid
            out like a hub data set, or `OWNER/NAME[@CONFIG][:SPLIT]` on the hub.
        num_samples: How many rows to draw, without replacement and kept in file
            order; all of them by default.
        seed: Decides which rows are drawn.
        shapes: Shapes to try, in order.

    Returns:
        The samples. Rows that say the same thing twice stay two samples.

    Raises:
        DataError: The source is missing, empty or broken, fits no shape, or one of
            its rows (whether drawn or not) lacks what its shape needs.
    """
    if num_samples is not None and num_samples < 1:
        raise DataError(f"{num_samples} samples of {source} are asked for; ask for 1+")
    found = read_rows(source)
    shape = recognise(source, found.columns, shapes)
    samples = [
        _sample(Row(place=f"{found.name}:{number}", cells=cells), shape)
        for number, cells in enumerate(found.rows)
    ]
    return SampleSet(
        samples=_draw(samples, num_samples, seed, source),
        shape=shape.name,
        source=source,
        sha256=found.sha256,
    )


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


def _draw(
    samples: list[Sample], num_samples: int | None, seed: int, source: str
) -> tuple[Sample, ...]:
    if num_samples is None:
        return tuple(samples)
    if num_samples > len(samples):
        say(f"{Path(source).name}: all its {len(samples)} rows are taken")
        return tuple(samples)
    random = np.random.default_rng(child_seed(seed, "samples"))
    drawn = random.choice(len(samples), num_samples, replace=False)
    return tuple(samples[index] for index in sorted(drawn.tolist()))
