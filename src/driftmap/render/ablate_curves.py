"""How do outcomes change with the dose, beside the band of the controls?"""

import re

import numpy as np

from driftmap.render.ablate_answer import doses_grid
from driftmap.render.charts import Line, Lines
from driftmap.render.page import Figure, Folded, Grid, Node, Paragraph, Row, Section
from driftmap.results.ablation import (
    ACCURACY,
    ANSWER_NATS,
    INTACT,
    LOG_ODDS,
    OWN,
    REFUSAL,
    Ablated,
    AblationStudy,
)
from driftmap.results.rules import DECLARED
from driftmap.results.table import Table

CONTROLS = "controls"
TITLES = {ANSWER_NATS: "How unlike the intact model the answers are,"}
READING = (
    "Band around the group: 95 % interval over prompts. Band around the controls: from "
    "the lowest to the highest draw, the null. Dose 0 is the untouched model."
)


def curves_sections(study: AblationStudy) -> list[Section]:
    """One section per group: its dose curves, every contrast, some answers."""
    return [
        Section(
            anchor=f"doses-{number}",
            title=f"What `{about.name}` does, dose by dose",
            nodes=_nodes(study, about, number),
        )
        for number, about in enumerate(study.statistics.groups, 1)
    ]


def _nodes(study: AblationStudy, about: Ablated, number: int) -> list[Node]:
    outcomes = [str(name) for name in study.doses.unique("outcome")]
    figures = [
        _figure(study.doses, about, outcome, number) for outcome in _ordered(outcomes)
    ]
    contrasts = [c for c in study.statistics.contrasts if c.group == about.name]
    contrasts.sort(key=lambda c: (outcomes.index(c.outcome), c.dose))
    nodes: list[Node] = [
        Paragraph(
            text="If the behaviour depends on the group, its curve leaves the band of "
            "the controls. If accuracy leaves it too, the model is damaged rather than "
            "changed."
        )
    ]
    nodes += [Row(figures=figures[n : n + 2]) for n in range(0, len(figures), 2)]
    nodes.append(doses_grid(contrasts))
    examples = study.examples.where(group=about.name)
    if len(examples):
        shown = Folded(
            summary="Some answers, before and after", nodes=[_said(examples)]
        )
        nodes.append(shown)
    return nodes


def _ordered(outcomes: list[str]) -> list[str]:
    """Refusal and its log-odds, then what the model gets right, then the rest."""
    first = [name for name in (REFUSAL, LOG_ODDS) if name in outcomes]
    right = [name for name in outcomes if name.startswith(ACCURACY)]
    return [*first, *right, *(o for o in outcomes if o not in (*first, *right))]


def _figure(doses: Table, about: Ablated, outcome: str, number: int) -> Figure:
    is_rate = outcome == REFUSAL or outcome.startswith(ACCURACY)
    is_nats = outcome == ANSWER_NATS
    slug = re.sub(r"[^a-z0-9]+", "_", outcome.lower())[:40].strip("_")
    return Figure(
        name=f"dose_{number}_{slug}",
        title=f"{TITLES.get(outcome, outcome[:1].upper() + outcome[1:])} by dose",
        reading=READING,
        chart=Lines(
            x_title=f"share of {about.unit} taken",
            y_title="share" if is_rate else "nats per token" if is_nats else "nats",
            lines=[
                _own_line(doses, about.name, outcome),
                _control_line(doses, about.name, outcome),
            ],
            y_ends=(0.0, 1.0) if is_rate else None,
        ),
    )


def _own_line(doses: Table, group: str, outcome: str) -> Line:
    rows = _with_intact(doses, doses.where(group=group, draw=OWN), outcome)
    return Line(
        name=group,
        x=rows["dose"].tolist(),
        y=rows["value"].tolist(),
        low=rows["low"].tolist(),
        high=rows["high"].tolist(),
        role=DECLARED,
    )


def _control_line(doses: Table, group: str, outcome: str) -> Line:
    of_group = doses.where(group=group)
    is_control = of_group["draw"] != OWN
    drawn = Table(columns={n: c[is_control] for n, c in of_group.columns.items()})
    rows = _with_intact(doses, drawn, outcome)
    x = np.unique(rows["dose"])
    by_dose = [rows["value"][rows["dose"] == dose] for dose in x]
    return Line(
        name=CONTROLS,
        x=x.tolist(),
        y=[float(values.mean()) for values in by_dose],
        low=[float(values.min()) for values in by_dose],
        high=[float(values.max()) for values in by_dose],
        role="matched",
    )


def _with_intact(doses: Table, rows: Table, outcome: str) -> Table:
    both = Table.joined([doses.where(group=INTACT), rows]).where(outcome=outcome)
    order = np.argsort(both["dose"], kind="stable")
    return Table(columns={name: column[order] for name, column in both.columns.items()})


def _said(examples: Table) -> Grid:
    return Grid(
        caption="Greedy answers to the first requests, intact and at the largest dose.",
        columns=("sample", "request", "intact", "group taken"),
        rows=[
            (
                f"`{row['sample_id']}`",
                str(row["request"]),
                str(row["before"]),
                str(row["after"]),
            )
            for row in examples.rows()
        ],
    )
