"""Do the same weights carry the behaviour once the model is tuned?"""

import numpy as np

from driftmap.render.charts import Cells
from driftmap.render.freeze_words import KINDS
from driftmap.render.page import Figure, Folded, Grid, Node, Paragraph, Section
from driftmap.render.wording import percent
from driftmap.results.freeze_study import FreezeStudy, OverlapReading
from driftmap.results.statistics import Interval
from driftmap.results.table import Table

POOLED = "all"
"""The row over all matrices."""

REACH = 2.0
"""Ratio at which the map's colours are full."""


def overlap_section(study: FreezeStudy) -> Section:
    """Old and new group, between the floor of chance and the ceiling of noise."""
    readings = study.statistics.overlaps
    if not readings:
        text = "No tuned model was scored again (`--rescore none`)."
        nodes: list[Node] = [Paragraph(text=text)]
    else:
        nodes = [
            Paragraph(text=_in_words(readings)),
            _pooled_grid(readings),
            _kept_grid(readings),
            _map_figure(study),
            Folded(summary="Matrix by matrix", nodes=[_matrix_grid(study)]),
        ]
    return Section(
        anchor="overlap",
        title="Do the same weights carry it after tuning?",
        nodes=nodes,
    )


def _in_words(readings: tuple[OverlapReading, ...]) -> str:
    free = next((r for r in readings if r.kind == "free"), readings[0])
    words = (
        f"With {KINDS[free.kind]}, {percent(free.kept)} of the group is chosen again "
        f"by the same samples after tuning (Jaccard {_interval(free.jaccard)}; 1 would "
        "be no change)."
    )
    if free.across is None or free.ceiling is None:
        return words
    words += (
        " That shares the noise of the samples, so it cannot be read against the "
        "ceiling. Across disjoint halves of the samples the old and the new group "
        f"share {_interval(free.across)}, where the old groups of these halves share "
        f"{free.ceiling:.2f} (the ceiling, {free.num_samples} samples a half) and "
        f"chance gives {free.floor:.3f}"
    )
    if free.standing is None:
        return words + ": halves agree no more than by chance."
    return (
        f"{words}: {percent(max(0.0, free.standing))} of the way from chance to no "
        "change at all."
    )


def _pooled_grid(readings: tuple[OverlapReading, ...]) -> Grid:
    return Grid(
        caption="Old and new group over all matrices, means over training seeds; "
        "brackets hold 95 % t intervals over seeds. `Standing` is where the overlap "
        "across halves lies between floor, 0, and ceiling, 1.",
        columns=(
            "frozen", "share", "seeds", "chosen again", "Jaccard, same samples",
            "floor", "Jaccard, across halves", "ceiling", "standing",
        ),
        rows=[
            (
                KINDS[r.kind],
                percent(r.share),
                f"{r.jaccard.num}",
                percent(r.kept),
                _interval(r.jaccard),
                f"{r.floor:.3f}",
                "–" if r.across is None else _interval(r.across),
                _known(r.ceiling),
                _known(r.standing),
            )
            for r in readings
        ],
        align_right=frozenset(range(1, 9)),
    )  # fmt: skip


def _kept_grid(readings: tuple[OverlapReading, ...]) -> Grid:
    return Grid(
        caption="Are frozen weights still in the group after tuning? Part of each that "
        "is chosen again.",
        columns=(
            "frozen", "share", "frozen weights of the group",
            "its weights that could move", "all frozen weights",
        ),
        rows=[
            (
                KINDS[r.kind],
                percent(r.share),
                *(
                    "–" if part is None else percent(part)
                    for part in (r.kept_frozen, r.kept_mobile, r.frozen_new)
                ),
            )
            for r in readings
        ],
        align_right=frozenset({1, 2, 3, 4}),
    )  # fmt: skip


def _map_figure(study: FreezeStudy) -> Figure:
    """Overlap over ceiling in each matrix, with nothing frozen."""
    rows = study.overlap.where(kind="free")
    inside = rows["matrix"] != POOLED
    rows = Table(columns={n: c[inside] for n, c in rows.columns.items()})
    layers = sorted({int(layer) for layer in rows["layer"]})
    parts = [str(part) for part in rows.unique("part")]
    has_ceiling = bool(np.isfinite(rows["ceiling"]).any())
    top, bottom = ("across", "ceiling") if has_ceiling else ("jaccard", "")
    return Figure(
        name="overlap_by_place",
        title="Where the group changed most (blue)",
        reading="With nothing frozen: Jaccard of old and new group in each matrix, "
        "mean over seeds"
        + (
            ", across halves of the samples and over the ceiling: 1 is no more change "
            "than the samples' noise."
            if has_ceiling
            else ": 1 is no change."
        )
        + " Places without a weight of the group are empty. Matrices with few weights "
        "scatter widely.",
        chart=Cells(
            x_labels=parts,
            y_labels=[str(layer) for layer in layers],
            x_title="part of the block",
            y_title="layer",
            ratios=[
                [
                    _ratio(rows.where(layer=layer, part=part), top, bottom)
                    for part in parts
                ]
                for layer in layers
            ],
            value_title="overlap over ceiling" if has_ceiling else "Jaccard",
            reach=REACH,
        ),
    )


def _ratio(rows: Table, top: str, bottom: str) -> float:
    """Mean over seeds; NaN where nothing is known."""
    if not len(rows):
        return float("nan")
    above = rows[top].astype(np.float64)
    below = rows[bottom].astype(np.float64) if bottom else np.ones(len(rows))
    if not np.isfinite(above).all() or not (below > 0).all():
        return float("nan")
    return float(above.mean() / below.mean())


def _matrix_grid(study: FreezeStudy) -> Grid:
    rows = []
    for kind in study.overlap.unique("kind"):
        of_kind = study.overlap.where(kind=kind)
        for share in of_kind.unique("share"):
            of_share = of_kind.where(share=share)
            for matrix in of_share.unique("matrix"):
                some = of_share.where(matrix=matrix)
                rows.append(_matrix_row(str(kind), float(share), str(matrix), some))
    return Grid(
        caption="Means over training seeds. `Standing` as above, here of the same "
        "samples: it may pass 1, as both groups share their noise.",
        columns=(
            "frozen", "share", "matrix", "old weights", "chosen again", "Jaccard",
            "floor", "across halves", "ceiling", "standing",
        ),
        rows=rows,
        align_right=frozenset({1, 3, 4, 5, 6, 7, 8, 9}),
    )  # fmt: skip


def _matrix_row(kind: str, share: float, matrix: str, rows: Table) -> tuple[str, ...]:
    words = {"free": "nothing", "group": "group", "matched": "control"}
    figures = ("jaccard", "floor", "across", "ceiling", "standing")
    return (
        words[kind],
        percent(share),
        f"`{matrix}`",
        f"{rows['num_old'].mean():,.0f}",
        _share(rows, "kept"),
        *(_mean(rows, figure) for figure in figures),
    )


def _share(rows: Table, column: str) -> str:
    values = rows[column].astype(np.float64)
    return percent(float(values.mean())) if np.isfinite(values).all() else "–"


def _mean(rows: Table, column: str) -> str:
    values = rows[column].astype(np.float64)
    return f"{values.mean():.2f}" if np.isfinite(values).all() else "–"


def _interval(value: Interval) -> str:
    if value.num < 2:
        return f"{value.estimate:.2f}"
    return f"{value.estimate:.2f} ({value.low:.2f} to {value.high:.2f})"


def _known(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"
