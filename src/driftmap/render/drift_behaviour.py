"""What did the model do before tuning and at each checkpoint, as the page shows it?"""

import numpy as np

from driftmap.render.charts import Line, Lines, Numbers
from driftmap.render.drift_cautions import cautions_at
from driftmap.render.drift_words import is_tuned_elsewhere
from driftmap.render.page import Figure, Grid, Node, Paragraph, Row, Section
from driftmap.render.wording import change_of_rate, rate
from driftmap.results.drift_study import DriftStudy
from driftmap.results.table import Table

SIDE_RATES = "refusal rate on "
"""Rates that stand apart: how often harmless prompts are refused."""

KNOWN_NATS = 0.01
"""A first loss below it has next to nothing left to learn."""

MOST_POINTS = 300
"""Points of a loss curve; more are averaged in blocks."""


def behaviour_section(study: DriftStudy) -> Section:
    """Refusal and accuracy beside each other, then what else was followed."""
    table = study.behaviour
    nodes: list[Node] = [
        Paragraph(
            text="Drift only means something beside what the model does. If the "
            "behaviour did not change, there is nothing to explain; if accuracy fell "
            "with it, tuning broke more than the behaviour."
        ),
        *cautions_at(study, "behaviour"),
        _rates_figure(table, is_side=False),
    ]
    aside = [
        *([_rates_figure(table, is_side=True)] if _rates(table, is_side=True) else []),
        *(_level_figure(table, outcome) for outcome in _levels(table)),
        *([_loss_figure(study)] if len(study.losses) else []),
    ]
    if aside:
        nodes.append(Row(figures=aside))
    return Section(
        anchor="behaviour",
        title="Did tuning change the behaviour?",
        nodes=[*nodes, _changes(study)],
    )


def _outcomes(table: Table) -> list[tuple[str, bool]]:
    """Outcome and whether it is a rate, in the table's order."""
    return [
        (str(name), bool(np.isfinite(table.where(outcome=name)["low"]).all()))
        for name in table.unique("outcome")
    ]


def _rates(table: Table, *, is_side: bool) -> list[str]:
    return [
        name
        for name, is_rate in _outcomes(table)
        if is_rate and name.startswith(SIDE_RATES) == is_side
    ]


def _levels(table: Table) -> list[str]:
    return [name for name, is_rate in _outcomes(table) if not is_rate]


def _rates_figure(table: Table, *, is_side: bool) -> Figure:
    return Figure(
        name="refusal_of_harmless" if is_side else "behaviour",
        title="Refusal where it is not wanted"
        if is_side
        else "Refusal and accuracy over training",
        reading="Thick: mean over training seeds; thin: each seed. The band is the 95 "
        "% Wilson interval over prompts, averaged over seeds. Step 0 is the model "
        "before tuning.",
        chart=Lines(
            x_title="training step",
            y_title="share",
            lines=[_mean_line(table, name) for name in _rates(table, is_side=is_side)],
            y_ends=(0.0, 1.0),
        ),
    )


def _level_figure(table: Table, outcome: str) -> Figure:
    return Figure(
        name=outcome.replace(" ", "_").replace("-", "_"),
        title=f"{outcome[:1].upper()}{outcome[1:]} over training",
        reading="Log-odds that the first token of the answer opens a refusal, mean "
        "over prompts; above 0 a refusal is the likelier beginning. Thick: mean over "
        "seeds; thin: each seed.",
        chart=Lines(
            x_title="training step",
            y_title="nats",
            lines=[_mean_line(table, outcome)],
        ),
    )


def _mean_line(table: Table, outcome: str) -> Line:
    rows = table.where(outcome=outcome)
    steps = np.unique(rows["step"])
    seeds = rows.unique("seed")

    def of_seed(seed: object, column: str) -> np.ndarray:
        mine = rows["seed"] == seed
        values = np.full(len(steps), np.nan)
        values[np.searchsorted(steps, rows["step"][mine])] = rows[column][mine]
        return values

    def mean(column: str) -> list[float]:
        return np.mean([of_seed(seed, column) for seed in seeds], axis=0).tolist()

    is_rate = bool(np.isfinite(rows["low"]).all())
    return Line(
        name=outcome,
        x=steps.tolist(),
        y=mean("value"),
        low=mean("low") if is_rate else (),
        high=mean("high") if is_rate else (),
        threads=[of_seed(seed, "value").tolist() for seed in seeds]
        if len(seeds) > 1
        else (),
    )


def _loss_figure(study: DriftStudy) -> Figure:
    losses = study.losses
    taken = (
        "As its trainer logged it"
        if is_tuned_elsewhere(study)
        else "Mean cross-entropy per counted token of each step's samples"
    )
    return Figure(
        name="training_loss",
        title="Training loss by seed",
        reading=f"{taken}. A curve that still falls at the end means that training was "
        "short; one that jumps, that the learning rate was high."
        f"{_known_before(losses)}",
        chart=Lines(
            x_title="training step",
            y_title="nats per token",
            lines=[
                Line(
                    name=f"seed {seed}",
                    x=_in_blocks(rows["step"]),
                    y=_in_blocks(rows["loss_nats"]),
                )
                for seed in losses.unique("seed")
                for rows in [losses.where(seed=seed)]
            ],
        ),
    )


def _known_before(losses: Table) -> str:
    first = losses["loss_nats"][losses["step"] == losses["step"].min()]
    if float(np.mean(first)) >= KNOWN_NATS:
        return ""
    return (
        " The first loss is already near 0: the model knew these answers before. Its "
        "drift is real all the same, because the optimiser scales its steps."
    )


def _in_blocks(values: np.ndarray) -> Numbers:
    num_blocks = min(len(values), MOST_POINTS)
    return [float(block.mean()) for block in np.array_split(values, num_blocks)]


def _changes(study: DriftStudy) -> Grid:
    return Grid(
        caption="Before tuning and after its last step (mean over seeds), with 95 % "
        "Wilson intervals over prompts. The change is taken prompt by prompt; its 95 % "
        "interval is a bootstrap over prompts.",
        columns=("outcome", "prompts", "before", "after", "change"),
        rows=[
            (
                b.outcome,
                f"{b.before.num:,}",
                rate(b.before),
                rate(b.after),
                change_of_rate(b.change),
            )
            for b in study.statistics.behaviours
        ],
        align_right=frozenset({1, 2, 3, 4}),
    )
