"""What does every metric say of every group, one metric at a time?"""

from dataclasses import replace

import numpy as np

from driftmap.render.charts import Box, Boxes, Chart, Lines
from driftmap.render.drift_cautions import cautions_at
from driftmap.render.drift_curves import group_line
from driftmap.render.drift_words import role_of
from driftmap.render.metric_parts import clustering_caution, lines_over_steps
from driftmap.render.page import (
    Figure,
    Folded,
    Grid,
    Node,
    Paragraph,
    Row,
    Section,
)
from driftmap.render.wording import MetricWords, metric_words, number
from driftmap.results.drift import POOLED_LAYER
from driftmap.results.drift_study import DriftStudy
from driftmap.results.statistics import EffectSize
from driftmap.results.table import Table

SHARES = frozenset({"sign_agreement"})
"""Metrics of yes and no: their mean says everything."""

SUMMARY = {
    "mean": "mean", "std": "std", "median": "median", "least": "min",
    "greatest": "max",
}  # fmt: skip
"""Columns of the summary and of the table behind it."""

FAR_OUT = 1000
"""Ratio of greatest to median from which a logarithmic axis is needed."""


def metrics_section(study: DriftStudy) -> Section:
    """For each metric: mean and spread over steps, boxes and figures at the end."""
    pairs = dict.fromkeys(
        zip(
            map(str, study.curves["unit"]),
            map(str, study.curves["metric"]),
            strict=True,
        )
    )
    return Section(
        anchor="metrics",
        title="Every metric",
        nodes=[
            Paragraph(
                text="Drift can be measured in several ways. Each is shown by itself: "
                "which direction means more drift, what either reading would look like "
                "in it or why it does not compare groups, its mean and spread over "
                "training, its distribution at the last step, and effect sizes. "
                "The verdict rests on none of these tables."
            ),
            *(_metric(study, unit, metric) for unit, metric in pairs),
        ],
    )  # fmt: skip


def _metric(study: DriftStudy, unit: str, metric: str) -> Folded:
    words = metric_words(unit, metric, study.statistics.verdict.group)
    curves = study.curves.where(unit=unit, metric=metric)
    last = study.drift.where(
        step=study.statistics.step, layer=POOLED_LAYER, unit=unit, metric=metric
    )
    nodes: list[Node] = [Paragraph(text=words.reading)]
    nodes += clustering_caution(words)
    if metric == "relative":
        nodes += cautions_at(study, "relative")
    figures = _figures(study, f"{unit}_{metric}", words, (curves, last))
    nodes.append(Row(figures=figures[:1] if metric in SHARES else figures))
    if len(last):
        nodes.append(_summary(last, is_share=metric in SHARES))
    effects = [e for e in study.statistics.effects if e.metric in _keys(unit, metric)]
    if effects:
        nodes.append(_effects(effects))
    return Folded(summary=words.title, nodes=nodes)


def _keys(unit: str, metric: str) -> set[str]:
    """Names of a metric among the effect sizes; absolute change has its own."""
    own = {metric} if (unit, metric) == ("weight", "absolute") else set()
    return own | {f"{metric} ({unit})"}


def _figures(
    study: DriftStudy, name: str, words: MetricWords, rows: tuple[Table, Table]
) -> list[Figure]:
    curves, last = rows

    def figure(kind: str, what: str, reading: str, chart: Chart) -> Figure:
        return Figure(
            name=f"{name}_{kind}",
            title=f"{words.name}: {what}",
            reading=reading,
            chart=chart,
        )  # fmt: skip

    mean = _over_steps(study, words, curves, "mean")
    figures = [figure("mean", "mean over steps", words.direction, mean)]
    if np.isfinite(curves["std"]).any():
        spread = _over_steps(study, words, curves, "std")
        reading = "Standard deviation within each group, mean over seeds."
        figures.append(figure("spread", "spread over steps", reading, spread))
    boxes = [
        _box(rows, name=group, role=role_of(study, group))
        for group in map(str, last.unique("group"))
        for rows in [last.where(group=group)]
        if np.isfinite(rows["median"]).all()
    ]
    if boxes:
        reading = (
            "Box: quartiles; line inside: median, dashed: mean; whiskers: least and "
            "greatest; each is the mean over seeds."
        )
        is_log = _has_far_outlier(boxes)
        if is_log:
            boxes = [replace(b, low=b.low if b.low > 0 else b.q25) for b in boxes]
            reading += " The axis is logarithmic; a least of 0 is not on it."
        chart = Boxes(x_title=words.unit, boxes=boxes, is_log=is_log)
        figures.append(figure("boxes", "last step by group", reading, chart))
    return figures


def _over_steps(
    study: DriftStudy, words: MetricWords, curves: Table, column: str
) -> Lines:
    lines = [
        group_line(curves.where(group=group), group, column, role_of(study, group))
        for group in map(str, curves.unique("group"))
    ]
    return lines_over_steps(words.unit, lines)


def _has_far_outlier(boxes: list[Box]) -> bool:
    return all(box.q25 > 0 for box in boxes) and any(
        box.high > FAR_OUT * box.median for box in boxes
    )


def _summary(last: Table, *, is_share: bool) -> Grid:
    names = {"mean": "mean"} if is_share else SUMMARY
    return Grid(
        caption="Last step, mean over seeds"
        + (
            "."
            if is_share
            else " of each figure. The range runs from least to greatest."
        ),
        columns=("group", "count", *names),
        rows=[
            (
                f"`{group}`",
                f"{int(rows['count'][0]):,}",
                *(number(float(np.mean(rows[name]))) for name in names.values()),
            )
            for group in last.unique("group")
            for rows in [last.where(group=group)]
        ],
        align_right=frozenset(range(1, 2 + len(names))),
    )


def _effects(effects: list[EffectSize]) -> Grid:
    return Grid(
        caption="Effect sizes at the last step, for readers of older work. Cohen's d "
        "is description only: it treats weights as independent and ignores their "
        "size. Cliff's delta is the chance that a weight of the group drifts more "
        "than one of the other, minus the reverse; it needs every weight, so not "
        "every metric has it.",
        columns=(
            "group", "against", "Cohen's d (description only)", "label",
            "Cliff's delta", "difference of medians",
        ),
        rows=[
            (
                f"`{e.group}`", f"`{e.baseline}`", _two_digits(e.cohens_d),
                e.label or "–", _two_digits(e.cliffs_delta),
                _signed(e.median_difference),
            )
            for e in effects
        ],
        align_right=frozenset({2, 4, 5}),
    )  # fmt: skip


def _two_digits(value: float | None) -> str:
    return "–" if value is None or not np.isfinite(value) else f"{value:+.2f}"


def _signed(value: float | None) -> str:
    written = number(value)
    return f"+{written}" if value is not None and value > 0 else written


def _box(rows: Table, *, name: str, role: str) -> Box:
    def mean(column: str) -> float:
        return float(np.mean(rows[column]))

    return Box(
        name=name,
        low=mean("min"),
        q25=mean("q25"),
        median=mean("median"),
        q75=mean("q75"),
        high=mean("max"),
        mean=mean("mean"),
        role=role,
    )
