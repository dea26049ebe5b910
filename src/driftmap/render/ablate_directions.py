"""How much of what matrices say lies in the directions that were taken?"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64

from driftmap.render.page import Grid, Paragraph, Section
from driftmap.render.wording import percent
from driftmap.results.ablation import AblationStudy
from driftmap.results.table import Table

_READING = (
    "What a matrix says to all tokens of the behaviour's samples is a cloud of points. "
    "Its energy is the sum of their squared sizes; the strongest directions are those "
    "that hold most of it. A share near 100 % means that taking them takes nearly all "
    "that the matrix says to such text, whatever the text is about."
)


def directions_sections(study: AblationStudy) -> list[Section]:
    """Energy and rank by part; nothing where no directions were taken."""
    if study.directions is None:
        return []
    num_tokens = int(study.directions["num_tokens"].max())
    grid = Grid(
        caption="Per part, over its matrices: median, lowest and highest. Counts are "
        f"of directions; {num_tokens:,} tokens tell `told apart` of them apart.",
        columns=("part", "matrices", "taken", "of", "told apart", "energy taken"),
        rows=_rows(study.directions),
        align_right=frozenset({1, 2, 3, 4, 5}),
    )
    return [
        Section(
            anchor="directions",
            title="What the directions hold",
            nodes=[Paragraph(text=_READING), grid],
        )
    ]


def _rows(directions: Table) -> list[Sequence[str]]:
    rows: list[Sequence[str]] = []
    for part in directions.unique("part"):
        of_part = directions.where(part=part)
        rows.append(
            (
                f"`{part}`",
                f"{len(of_part)}",
                _counts(of_part["taken"]),
                _counts(of_part["most"]),
                _counts(of_part["rank"]),
                _shares(of_part["energy_share"].astype(np.float64)),
            )
        )
    return rows


def _counts(values: np.ndarray) -> str:
    low, high = int(values.min()), int(values.max())
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _shares(values: Float64[np.ndarray, " matrix"]) -> str:
    low, high = percent(float(values.min())), percent(float(values.max()))
    middle = percent(float(np.median(values)))
    return middle if values.size == 1 else f"{middle} ({low} to {high})"
