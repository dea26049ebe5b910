"""How alike are the groups, and would other samples or shares choose others?"""

from collections.abc import Sequence

import numpy as np

from driftmap.render.charts import Shades
from driftmap.render.drift_words import declared_card
from driftmap.render.page import Figure, Folded, Grid, Node, Paragraph, Section
from driftmap.render.wording import percent, share
from driftmap.results.drift import POOLED_LAYER
from driftmap.results.drift_study import DriftStudy
from driftmap.results.rules import DECLARED
from driftmap.results.table import Cell, Table

MOST_ROWS = 600
"""Longest table of matrices on a page; the file holds all."""


def overlap_sections(study: DriftStudy) -> list[Section]:
    """What every two groups share; nothing where the run did not look."""
    if study.overlaps is None or not len(study.overlaps):
        return []
    table = study.overlaps
    nodes: list[Node] = [
        Paragraph(text=_in_words(table)),
        _group_figure(table),
        _pair_grid(table.where(layer=POOLED_LAYER)),
        *_places(study, table),
    ]
    if study.grid is not None:
        nodes.append(_share_grid(study, study.grid))
    return [Section(anchor="overlap", title="How alike are the groups?", nodes=nodes)]


def _in_words(table: Table) -> str:
    words = (
        "The overlap of two groups (Jaccard) is the number of their common weights "
        "over that of the weights of either: 1 is the same group, 0 none in common. "
        "It says something only between two numbers: the floor, what groups drawn "
        "blindly from the same matrices share, and the ceiling, what one rule finds "
        "again when it sees other samples of the same kind."
    )
    pooled = table.where(layer=POOLED_LAYER)
    known = [row for row in pooled.rows() if np.isfinite(float(row["standing"]))]
    if not known:
        return words
    row = known[0]
    return (
        f"{words} Here `{row['left']}` and `{row['right']}` share "
        f"{_share(row, 'across')} across halves of the samples, where the ceiling is "
        f"{_share(row, 'ceiling')}: {_share(row, 'standing')} of the way from chance, "
        "0, to as much as two groups of one meaning would share, 1."
    )


def _group_figure(table: Table) -> Figure:
    pooled = table.where(layer=POOLED_LAYER)
    names = list(dict.fromkeys([*pooled.unique("left"), *pooled.unique("right")]))
    values = {
        frozenset((row["left"], row["right"])): float(row["jaccard"])
        for row in pooled.rows()
    }
    labels = [str(name) for name in names]
    return Figure(
        name="overlap_of_groups",
        title="What every two groups share, over all matrices",
        reading="Jaccard. On the diagonal stands what two halves of the samples choose "
        "alike, the ceiling of the group; it is empty where no samples chose the group "
        f"or nothing is known of halves. {_by_rule(labels)}".strip(),
        chart=Shades(
            x_labels=labels,
            y_labels=labels[::-1],
            x_title="group",
            y_title="group",
            shares=[
                [values.get(frozenset((a, b)), float("nan")) for a in names]
                for b in names[::-1]
            ],
            value_title="Jaccard",
        ),
    )


def _by_rule(labels: Sequence[str]) -> str:
    """Which zeros are no finding, among the groups that a study chose by itself."""
    if not {DECLARED, "utility"} <= set(labels):
        return ""
    return (
        f"A 0 of `{DECLARED}` with `utility`, and of `matched` with scored groups, "
        "follows from how they are taken."
    )


def _pair_grid(rows: Table) -> Grid:
    return Grid(
        caption="Every two groups over all matrices. Kept: common weights over those "
        "of the first group, and of the second. Floor: Jaccard of blind draws of their "
        "sizes from the same matrices. Across halves: one group by half of its "
        "samples, the other by half of its own. Ceiling: what halves of each share "
        f"(geometric mean), {_num_samples(rows)}. Standing: (across - floor) / "
        "(ceiling - floor). Groups of one score share their noise, so that no ceiling "
        "fits them.",
        columns=(
            "groups", "common", "Jaccard", "floor", "kept", "kept of second",
            "across halves", "ceiling", "standing",
        ),
        rows=[
            (
                _pair(row),
                f"{row['num_common']:,}",
                *(_share(row, name) for name in ("jaccard", "floor")),
                *(_percent(row, name) for name in ("kept", "kept_right")),
                *(_share(row, name) for name in ("across", "ceiling", "standing")),
            )
            for row in rows.rows()
        ],
        align_right=frozenset(range(1, 9)),
    )  # fmt: skip


def _places(study: DriftStudy, table: Table) -> list[Node]:
    """Maps over layers and parts, and a folded table of all matrices."""
    declared = declared_card(study).name
    nodes: list[Node] = []
    alone = _inside(table.where(left=declared, right=declared))
    if len(alone):
        nodes.append(
            _map(
                alone,
                name="reproducible_by_place",
                title=f"Where halves of the samples agree on `{declared}`",
                reading="Jaccard of what two halves of the samples choose, "
                f"{_num_samples(alone)}: the ceiling of any overlap of that group. "
                f"Blind draws would share {_span(alone, 'floor')}. An empty place "
                "holds no weight of either. Matrices with few weights scatter widely.",
                column="jaccard",
            )
        )
    apart = _inside(table.where(left="top", right="utility"))
    if len(apart) and np.isfinite(apart["standing"]).any():
        nodes.append(
            _map(
                apart,
                name="overlap_by_place",
                title="Where behaviour and utility ask for the same weights",
                reading="Standing of the overlap of `top` and `utility` in each "
                "matrix: 0 is what chance gives, 1 as much as if both asked for the "
                "same. A place is empty where halves agree no more than by chance.",
                column="standing",
            )
        )
    return [*nodes, *_by_matrix(alone, apart)]


def _map(rows: Table, *, name: str, title: str, reading: str, column: str) -> Figure:
    layers = sorted({int(layer) for layer in rows["layer"]})
    parts = [str(part) for part in rows.unique("part")]
    values = {
        (int(row["layer"]), str(row["part"])): float(row[column]) for row in rows.rows()
    }
    return Figure(
        name=name,
        title=title,
        reading=reading,
        chart=Shades(
            x_labels=parts,
            y_labels=[str(layer) for layer in layers],
            x_title="part of the block",
            y_title="layer",
            shares=[
                [values.get((layer, part), float("nan")) for part in parts]
                for layer in layers
            ],
            value_title="Jaccard" if column == "jaccard" else column,
        ),
    )


def _by_matrix(*tables: Table) -> list[Folded]:
    rows = [row for table in tables for row in table.rows()][:MOST_ROWS]
    if not rows:
        return []
    grid = Grid(
        caption="The same by matrix. A group with itself is by halves of the samples.",
        columns=(
            "groups", "layer", "part", "weights", "common", "Jaccard", "floor", "kept",
            "across halves", "ceiling", "standing",
        ),
        rows=[
            (
                _pair(row),
                f"{row['layer']}",
                str(row["part"]),
                f"{row['num_left']:,} and {row['num_right']:,}",
                f"{row['num_common']:,}",
                *(_share(row, name) for name in ("jaccard", "floor")),
                _percent(row, "kept"),
                *(_share(row, name) for name in ("across", "ceiling", "standing")),
            )
            for row in rows
        ],
        align_right=frozenset({1, 3, 4, 5, 6, 7, 8, 9, 10}),
    )  # fmt: skip
    return [Folded(summary="Overlap by matrix", nodes=[grid])]


def _share_grid(study: DriftStudy, grid: Table) -> Grid:
    own = study.settings.get("p"), study.settings.get("q")
    return Grid(
        caption="What `difference` would be at other shares. Kept: part of the top q "
        "by behaviour score that the top p by utility score leaves. Reproducible: "
        "overlap (Jaccard) of what two halves of the samples choose, "
        f"{_num_samples(grid)}, and what blind draws of their sizes would share.",
        columns=("p", "q", "weights", "kept", "reproducible", "by chance"),
        rows=[
            (
                f"{row['p']:g}" + " (this run)" * ((row["p"], row["q"]) == own),
                f"{row['q']:g}",
                f"{row['num_weights']:,}",
                _percent(row, "share_kept"),
                _share(row, "ceiling"),
                _share(row, "floor"),
            )
            for row in grid.rows()
        ],
        align_right=frozenset(range(6)),
    )


def _pair(row: dict[str, Cell]) -> str:
    left, right = row["left"], row["right"]
    return f"`{left}`, halves" if left == right else f"`{left}`, `{right}`"


def _inside(rows: Table) -> Table:
    inside = rows["layer"] != POOLED_LAYER
    return Table(columns={n: column[inside] for n, column in rows.columns.items()})


def _num_samples(rows: Table) -> str:
    most = max((int(count) for count in rows["num_samples"]), default=0)
    return f"{most} samples a half" if most else "unknown here"


def _span(rows: Table, column: str) -> str:
    low, high = share(float(rows[column].min())), share(float(rows[column].max()))
    return low if low == high else f"{low} to {high}"


def _share(row: dict[str, Cell], name: str) -> str:
    return share(float(row[name])) or "–"


def _percent(row: dict[str, Cell], name: str) -> str:
    value = float(row[name])
    return percent(value) if np.isfinite(value) else "–"
