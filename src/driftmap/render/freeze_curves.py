"""How does what the model does after tuning depend on how much was frozen?"""

import re

from driftmap.render.charts import Line, Lines
from driftmap.render.freeze_answer import contrast_grid
from driftmap.render.page import Figure, Folded, Grid, Node, Paragraph, Row, Section
from driftmap.results.freeze_study import (
    ACCURACY,
    BEFORE,
    LOG_ODDS,
    MEAN,
    REFUSAL,
    FreezeStudy,
)
from driftmap.results.rules import DECLARED
from driftmap.results.table import Table

CONTROL = "control"
READING = (
    "Mean over training seeds, single seeds as thin lines, by the share of the group "
    "or of its control that is frozen. Band: 95 % interval over "
    "prompts. At 0 nothing is frozen; `before tuning` is the model as it was. If "
    "freezing these weights helps, the group's line rises above that of its control."
)


def curves_section(study: FreezeStudy) -> Section:
    """Curves over the frozen share, every contrast, and some answers."""
    outcomes = [str(name) for name in study.curve.unique("outcome")]
    figures = [_figure(study, outcome) for outcome in _ordered(outcomes)]
    contrasts = sorted(
        study.statistics.contrasts, key=lambda c: (outcomes.index(c.outcome), c.share)
    )
    nodes: list[Node] = [
        Paragraph(
            text="Does freezing help, and does more of it help more? The group's line "
            "is read against that of its control: freezing as many other weights also "
            "keeps tuning from doing some of its work."
        )
    ]
    nodes += [Row(figures=figures[n : n + 2]) for n in range(0, len(figures), 2)]
    nodes.append(
        Folded(
            summary="Every outcome at every share",
            nodes=[contrast_grid("Intervals at 95 %.", contrasts)],
        )
    )
    if len(study.examples):
        nodes.append(
            Folded(summary="Some answers, before and after", nodes=[_said(study)])
        )
    return Section(anchor="curve", title="What is left, share by share", nodes=nodes)


def _ordered(outcomes: list[str]) -> list[str]:
    """Refusal and its log-odds, then what the model gets right, then the rest."""
    first = [name for name in (REFUSAL, LOG_ODDS) if name in outcomes]
    right = [name for name in outcomes if name.startswith(ACCURACY)]
    return [*first, *right, *(o for o in outcomes if o not in (*first, *right))]


def _figure(study: FreezeStudy, outcome: str) -> Figure:
    is_rate = outcome != LOG_ODDS
    rows = study.curve.where(outcome=outcome)
    name = study.statistics.group.name
    slug = re.sub(r"[^a-z0-9]+", "_", outcome.lower())[:40].strip("_")
    return Figure(
        name=f"frozen_{slug}",
        title=f"{outcome[:1].upper()}{outcome[1:]} by frozen share",
        reading=READING,
        chart=Lines(
            x_title="frozen share",
            y_title="share" if is_rate else "nats",
            lines=[
                _line(rows, "group", name, DECLARED),
                _line(rows, "matched", CONTROL, "matched"),
                _level_line(rows),
            ],
            y_ends=(0.0, 1.0) if is_rate else None,
        ),
    )


def _line(rows: Table, kind: str, name: str, role: str) -> Line:
    """A kind of run over shares, from nothing frozen on."""
    runs = Table.joined([rows.where(kind="free"), rows.where(kind=kind)])
    means = runs.where(seed=MEAN)
    seeds = [seed for seed in runs.unique("seed") if seed != MEAN]
    return Line(
        name=name,
        x=means["share"].tolist(),
        y=means["value"].tolist(),
        low=means["low"].tolist(),
        high=means["high"].tolist(),
        threads=[runs.where(seed=seed)["value"].tolist() for seed in seeds],
        role=role,
    )


def _level_line(rows: Table) -> Line:
    """The model before tuning, at every share."""
    before = float(rows.where(kind=BEFORE)["value"][0])
    shares = [0.0, float(rows["share"].max())]
    return Line(name="before tuning", x=shares, y=[before, before], role="random")


def _said(study: FreezeStudy) -> Grid:
    share = 100 * study.statistics.declared_share
    return Grid(
        caption="Greedy answers to the first requests, of the first training seed.",
        columns=("request", "before", "nothing frozen", f"{share:g} % frozen"),
        rows=[
            (
                f"`{row['sample_id']}`",
                str(row["before"]),
                str(row["free"]),
                str(row["group"]),
            )
            for row in study.examples.rows()
        ],
    )
