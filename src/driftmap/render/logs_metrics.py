"""What do drift logs say in one metric: curves, boxes, effect sizes?"""

import re
from dataclasses import replace

from driftmap.render.charts import Box, Boxes, Chart, Line, Lines
from driftmap.render.logs_answer import last_of, logs_cautions
from driftmap.render.logs_words import cohens_d, logged_metric_words, signed
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
from driftmap.render.wording import MetricWords, number
from driftmap.results.drift_logs import LogsStudy
from driftmap.results.table import Table

NEGLIGIBLE = 0.2
"""Cohen's d up to which the label is negligible: the least that its axis shows."""

_SUMMARY = {
    "mean": "mean", "std": "std", "least": "min", "lower quartile": "q25",
    "median": "median", "upper quartile": "q75", "greatest": "max",
}  # fmt: skip


def logs_metric_section(study: LogsStudy, place: int, metric: str) -> Section:
    """One metric: mean and spread over steps, boxes and effects at the last step.

    Args:
        study: The logs.
        place: Number of the metric on the page.
        metric: Its name in the logs.
    """
    words = logged_metric_words(metric)
    logs = study.logs.where(metric=metric)
    effects = study.effects.where(metric=metric)
    name = f"{place}_{re.sub(r'[^a-z0-9]+', '_', metric.lower())[:40]}"
    figures = _figures(name, words, _held(logs), effects)
    nodes: list[Node] = [Paragraph(text=words.direction)]
    nodes += clustering_caution(words)
    if metric == "relative_change":
        nodes += logs_cautions(study, "relative")
    rows = (figures[:2], figures[2:3], figures[3:])
    nodes += [Row(figures=row) for row in rows if row]
    nodes.append(_summary(last_of(logs)))
    if len(effects):
        nodes.append(_effects(last_of(effects)))
        nodes.append(
            Folded(summary="Effect sizes at every step", nodes=[_all_effects(effects)])
        )
    return Section(anchor=f"metric-{place}", title=words.title, nodes=nodes)


def _held(logs: Table) -> Table:
    """Rows of groups that hold anything: zeros of an empty group are no drift."""
    keep = logs["count"] > 0
    return Table(columns={name: column[keep] for name, column in logs.columns.items()})


def _figures(
    name: str, words: MetricWords, logs: Table, effects: Table
) -> list[Figure]:
    def figure(kind: str, what: str, reading: str, chart: Chart) -> Figure:
        return Figure(
            name=f"{name}_{kind}",
            title=f"{words.name}: {what}",
            reading=reading,
            chart=chart,
        )

    if not len(logs):
        return []
    mean, spread = (_over_steps(words, logs, column) for column in ("mean", "std"))
    found = [
        figure(
            "mean",
            "mean over steps",
            "Mean over each group at the logged steps.",
            mean,
        ),
        figure(
            "spread",
            "spread over steps",
            "Standard deviation within each group (ddof 0): how unlike its weights "
            "are, and no uncertainty of the mean.",
            spread,
        ),
        figure("boxes", "last step by group", *_boxes(words, last_of(logs))),
    ]
    for baseline in effects.unique("baseline"):
        pairs = effects.where(baseline=baseline, undefined="")
        if len(set(pairs["step"].tolist())) > 1:
            chart = _d_over_steps(pairs)
            reading = (
                f"Above 0 the group's mean lies above that of `{baseline}`. Between "
                "-0.2 and 0.2 the label is negligible."
            )
            what = f"Cohen's d against {baseline} over steps"
            found.append(figure(f"d_{baseline}", what, reading, chart))
    return [replace(f, name=_safe(f.name)) for f in found]


def _safe(name: str) -> str:
    """A file name, whatever a group is called."""
    return re.sub(r"[^A-Za-z0-9_]+", "_", name)


def _over_steps(words: MetricWords, logs: Table, column: str) -> Lines:
    lines = [
        Line(name=str(group), x=rows["step"].tolist(), y=rows[column].tolist())
        for group in logs.unique("group")
        for rows in [logs.where(group=group)]
    ]
    return lines_over_steps(words.unit, lines)


def _boxes(words: MetricWords, last: Table) -> tuple[str, Boxes]:
    boxes = [
        Box(
            name=str(row["group"]),
            low=float(row["min"]),
            q25=float(row["q25"]),
            median=float(row["median"]),
            q75=float(row["q75"]),
            high=float(row["max"]),
            mean=float(row["mean"]),
        )
        for row in last.rows()
    ]
    flat = [box.name for box in boxes if box.q25 == box.q75]
    reading = (
        f"Step {int(last['step'][0])}. Box: quartiles; line inside: median, dashed: "
        "mean; whiskers: least and greatest."
    )
    if flat:
        names = "every group" if len(flat) == len(boxes) else ", ".join(flat)
        reading += f" The quartiles of {names} are one number, so the box is a line."
    return reading, Boxes(x_title=words.unit, boxes=boxes)


def _d_over_steps(effects: Table) -> Lines:
    values = effects["cohens_d"]
    return Lines(
        x_title="training step",
        y_title="Cohen's d (description only)",
        lines=[
            Line(name=str(g), x=rows["step"].tolist(), y=rows["cohens_d"].tolist())
            for g in effects.unique("group")
            for rows in [effects.where(group=g)]
        ],
        y_ends=(min(-NEGLIGIBLE, *values), max(NEGLIGIBLE, *values)),
    )


def _summary(last: Table) -> Grid:
    return Grid(
        caption=f"Step {int(last['step'][0])}, the last one logged in this metric. "
        "Standard deviation with ddof 0.",
        columns=("group", "count", *_SUMMARY),
        rows=[
            (
                f"`{row['group']}`",
                f"{row['count']:,}",
                *(
                    number(float(row[name])) if row["count"] else "–"
                    for name in _SUMMARY.values()
                ),
            )
            for row in last.rows()
        ],
        align_right=frozenset(range(1, 2 + len(_SUMMARY))),
    )


def _effects(last: Table) -> Grid:
    return Grid(
        caption=f"Effect sizes at step {int(last['step'][0])}: description, no test.",
        columns=(
            "group", "against", "Cohen's d", "difference of means",
            "difference of medians", "label",
        ),
        rows=[
            (
                f"`{row['group']}`", f"`{row['baseline']}`",
                cohens_d(float(row["cohens_d"])),
                *_differences(row),
                str(row["label"]) or f"undefined: {row['undefined']}",
            )
            for row in last.rows()
        ],
        align_right=frozenset({2, 3, 4}),
    )  # fmt: skip


def _differences(row: dict[str, str | int | float | bool]) -> tuple[str, str]:
    if "empty" in str(row["undefined"]):
        return "–", "–"
    return signed(float(row["mean_difference"])), signed(
        float(row["median_difference"])
    )


def _all_effects(effects: Table) -> Grid:
    return Grid(
        caption="Cohen's d with all its digits stands in `tables/effects.parquet`.",
        columns=(
            "step", "group", "against", "Cohen's d", "difference of means", "label",
        ),
        rows=[
            (
                str(row["step"]), f"`{row['group']}`", f"`{row['baseline']}`",
                cohens_d(float(row["cohens_d"])), _differences(row)[0],
                str(row["label"]) or f"undefined: {row['undefined']}",
            )
            for row in effects.rows()
        ],
        align_right=frozenset({0, 3, 4}),
    )  # fmt: skip
