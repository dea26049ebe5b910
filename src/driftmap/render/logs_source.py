"""How would the published source read drift logs? For comparison, never a verdict."""

from collections.abc import Sequence

from driftmap.render.logs_answer import last_of
from driftmap.render.logs_words import ABSOLUTE, cohens_d
from driftmap.render.page import Callout, Grid, Node, Paragraph, Section
from driftmap.render.wording import number
from driftmap.results.drift_logs import LogsStudy
from driftmap.results.table import Cell

FRAGILE_D, PATHWAY_D = 0.5, 0.2
"""Cohen's d above which, and below which, the published source reads A and B."""

FRAGILE_DIFFERENCE = 0.01
"""Difference of means above which its code reads A."""

SAFETY = ("safety_set_diff", "safety_snip_top", "difference", "top")
"""Groups that stand for the behaviour."""

INTRODUCTION = (
    "For comparison only, and no verdict: the published source calls a behaviour's "
    f"weights fragile (A) where Cohen's d against `utility` is above {FRAGILE_D}, and "
    f"speaks of another pathway (B) below {PATHWAY_D}. Its code goes by a difference "
    f"of means above {FRAGILE_DIFFERENCE} instead. Neither looks at chance, at the "
    "size of the weights or at which of them could move."
)


def source_sections(study: LogsStudy) -> list[Section]:
    """One section, or none where no group of the behaviour has a d."""
    effects = last_of(study.effects.where(metric=ABSOLUTE))
    rows = [
        row
        for row in effects.rows()
        if row["group"] in SAFETY and row["baseline"] == "utility" and row["label"]
    ]
    if not rows:
        return []
    logs = last_of(study.logs.where(metric=ABSOLUTE))
    greatest = float(logs["max"].max())
    nodes: list[Node] = [
        Paragraph(text=INTRODUCTION),
        _grid(int(logs["step"][0]), rows),
    ]
    if greatest <= FRAGILE_DIFFERENCE:
        nodes.append(_never(greatest))
    title = "How the published source reads this"
    return [Section(anchor="source", title=title, nodes=nodes)]


def _grid(step: int, rows: Sequence[dict[str, Cell]]) -> Grid:
    return Grid(
        caption=f"Absolute change against `utility`, step {step}.",
        columns=("group", "Cohen's d", "by d", "difference of means", "by its code"),
        rows=[
            (
                f"`{row['group']}`",
                cohens_d(float(row["cohens_d"])),
                _by_d(float(row["cohens_d"])),
                number(float(row["mean_difference"])),
                "A" if float(row["mean_difference"]) > FRAGILE_DIFFERENCE else "B",
            )
            for row in rows
        ],
        align_right=frozenset({1, 3}),
    )


def _by_d(d: float) -> str:
    if d > FRAGILE_D:
        return "A"
    return "B" if d < PATHWAY_D else "neither"


def _never(greatest: float) -> Callout:
    return Callout(
        kind="note",
        title="A rule that could not say A",
        texts=[
            f"No weight of these groups moved by more than {number(greatest)}, so no "
            f"difference of means can reach {FRAGILE_DIFFERENCE}."
        ],
    )
