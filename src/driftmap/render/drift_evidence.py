"""Which evidence does the drift page show, and how is each piece to be read?"""

from collections.abc import Sequence

import numpy as np

from driftmap.render.charts import (
    Box,
    Boxes,
    Cells,
    Chart,
    Histogram,
    Line,
    Lines,
    Ranges,
)
from driftmap.render.page import Figure, Folded, Grid, Node, Paragraph, Section
from driftmap.render.wording import (
    MetricWords,
    interval,
    metric_words,
    number,
    p_value,
)
from driftmap.results.drift import POOLED_LAYER, POOLED_PART
from driftmap.results.drift_study import DriftStudy
from driftmap.results.statistics import EffectSize, GroupRatio
from driftmap.results.table import Table


def behaviour_section(study: DriftStudy) -> Section:
    """What the model did before tuning and at each checkpoint."""
    table = study.behaviour
    figures: list[Node] = [
        Figure(
            name=f"behaviour_{str(outcome).replace(' ', '_').replace('-', '_')}",
            title=f"{str(outcome).capitalize()} over training",
            reading="One line per training seed; the band is the 95 % Wilson "
            "interval over prompts where the value is a rate. Step 0 is the model "
            "before tuning.",
            chart=Lines(
                x_title="training step",
                y_title=str(outcome),
                lines=[
                    _seed_line(table.where(outcome=outcome, seed=seed))
                    for seed in table.unique("seed")
                ],
            ),
        )
        for outcome in table.unique("outcome")
    ]
    return Section(
        anchor="behaviour",
        title="Did tuning change the behaviour?",
        nodes=[
            Paragraph(
                text="Drift only means something beside what the model does. If the "
                "behaviour did not change, there is nothing to explain."
            ),
            *figures,
        ],
    )


def _seed_line(rows: Table) -> Line:
    rows = _by_step(rows)
    banded = bool(np.isfinite(rows["low"]).all())
    return Line(
        name=f"seed {rows['seed'][0]}",
        x=rows["step"].tolist(),
        y=rows["value"].tolist(),
        low=rows["low"].tolist() if banded else (),
        high=rows["high"].tolist() if banded else (),
    )


def evidence_section(study: DriftStudy) -> Section:
    """Drift against the matched control: whole model, over time, by place."""
    return Section(
        anchor="evidence",
        title="Do these weights drift more?",
        nodes=[
            _ratio_figure(study),
            _curve_figure(study),
            _map_figure(study),
        ],
    )


def _ratio_figure(study: DriftStudy) -> Figure:
    whole = [r for r in study.statistics.ratios if r.layer is None and r.part is None]
    margin = study.statistics.verdict.margin
    return Figure(
        name="ratio_by_group",
        title="Drift of each group over weights of the same size",
        reading="1 means that the group drifts as much as weights of its size outside "
        "every group. Bars are 95 % t intervals over training seeds. The shaded zone "
        f"is the declared margin: 1/{margin:g} to {margin:g} counts as alike.",
        chart=Ranges(
            x_title="ratio to the |W|-matched control",
            names=[r.group for r in whole],
            estimates=[r.rho for r in whole],
            lows=[r.interval95.low if r.interval95 else r.rho for r in whole],
            highs=[r.interval95.high if r.interval95 else r.rho for r in whole],
            reference=1.0,
            margin=(1 / margin, margin),
        ),
    )


def _curve_figure(study: DriftStudy) -> Figure:
    rows = study.curves.where(unit="weight", metric="absolute")
    words = metric_words("weight", "absolute")
    return Figure(
        name="drift_over_time",
        title=f"{words.title}, mean over training",
        reading=f"{words.direction} Bands are 95 % t intervals over "
        "seeds. Groups of different weight sizes are not comparable here; the matched "
        "control is.",
        chart=Lines(
            x_title="training step",
            y_title=words.title,
            lines=[
                _group_line(rows.where(group=group), str(group), "mean")
                for group in rows.unique("group")
            ],
        ),
    )


def _map_figure(study: DriftStudy) -> Figure:
    group = study.statistics.verdict.group
    rows = study.drift.where(
        step=study.statistics.step, group=group, metric="absolute", unit="weight"
    )
    layers = [layer for layer in sorted(rows.unique("layer")) if layer != POOLED_LAYER]
    parts = [part for part in rows.unique("part") if part != POOLED_PART]
    values = [
        [_mean_log(rows.where(layer=layer, part=part)["ratio"]) for part in parts]
        for layer in layers
    ]
    return Figure(
        name="ratio_by_place",
        title=f"Where `{group}` drifts more (orange) or less (blue) than its control",
        reading="Logarithm of the ratio per matrix, mean over seeds; 0 means alike, "
        "0.69 twice as much. Single matrices scatter widely by chance: look for "
        "patterns over layers or parts, and see the corrected tests below.",
        chart=Cells(
            x_labels=[str(part) for part in parts],
            y_labels=[str(layer) for layer in layers],
            x_title="part",
            y_title="layer",
            values=values,
            value_title="log ratio",
        ),
    )


def chance_section(study: DriftStudy) -> Section:
    """What chance alone gives, and every test with its correction."""
    primary = study.statistics.primary
    nodes: list[Node] = []
    if primary.null is not None:
        counts, edges = np.histogram(primary.null.ratios, bins=30)
        nodes.append(
            Figure(
                name="chance",
                title="The observed ratio among those that chance gives",
                reading="Each draw moves the group to other rows and columns of the "
                "same matrices and keeps its clustering. A single weight is not an "
                "independent sample: drawing weights one by one would make chance "
                f"look narrower (standard deviation {primary.null.closed_form_sd:.3g} "
                f"instead of {np.std(primary.null.ratios):.3g}).",
                chart=Histogram(
                    x_title="ratio of the group's drift to that of its size bins",
                    edges=edges.tolist(),
                    counts=counts.tolist(),
                    observed=primary.null.observed,
                    observed_name="observed",
                    chance_name="chance",
                ),
            )
        )
    others = [r for r in study.statistics.ratios if not r.is_primary]
    whole = [r for r in others if r.layer is None and r.part is None]
    places = [r for r in others if r not in whole]
    nodes.append(_tests("Whole model", [primary, *whole]))
    nodes.append(
        Folded(
            summary="Tests by layer and by part",
            nodes=[_tests("Layers and parts", places)],
        )
    )
    nodes.append(_effects(study.statistics.effects))
    return Section(anchor="chance", title="What would chance give?", nodes=nodes)


def _tests(caption: str, ratios: Sequence[GroupRatio]) -> Grid:
    return Grid(
        caption=f"{caption}: ratio to the matched control, 95 % interval over seeds, "
        "permutation p, and p corrected over all tests but the declared one.",
        columns=("group", "where", "ratio", "p", "corrected p", "weights"),
        rows=[
            (
                r.group + (" (declared)" if r.is_primary else ""),
                _where(r),
                interval(r.interval95) if r.interval95 else f"{r.rho:.2f}",
                p_value(r.p_value, r.num_permutations),
                "–" if r.p_adjusted is None else f"{r.p_adjusted:.3f}",
                f"{r.num_weights:,}",
            )
            for r in ratios
        ],
        align_right=frozenset({2, 3, 4, 5}),
    )


def _where(ratio: GroupRatio) -> str:
    layer = "" if ratio.layer is None else f"layer {ratio.layer}"
    return " ".join(filter(None, [layer, ratio.part])) or "whole model"


def _effects(effects: Sequence[EffectSize]) -> Grid:
    return Grid(
        caption="Effect sizes at the last step, for readers of older work. Cohen's d "
        "treats weights as independent and ignores their size: description, not "
        "evidence. Cliff's delta is the chance that a weight of the group drifts "
        "more than one of the baseline, minus the reverse.",
        columns=("metric", "group", "against", "Cohen's d", "label", "Cliff's delta"),
        rows=[
            (
                e.metric, e.group, e.baseline, number(e.cohens_d), e.label or "–",
                number(e.cliffs_delta),
            )
            for e in effects
        ],
        align_right=frozenset({3, 5}),
    )  # fmt: skip


def metrics_section(study: DriftStudy) -> Section:
    """For each metric: mean and spread over steps, boxes and figures at the end."""
    nodes: list[Node] = [
        Paragraph(
            text="Every metric in turn, with which direction means more drift and what "
            "either reading would look like in it."
        )
    ]
    curves = study.curves
    pairs = dict.fromkeys(zip(curves["unit"], curves["metric"], strict=True))
    for unit, metric in pairs:
        words = metric_words(str(unit), str(metric))
        of_metric = curves.where(unit=unit, metric=metric)
        last = study.drift.where(
            step=study.statistics.step, layer=POOLED_LAYER, unit=unit, metric=metric
        )
        nodes.append(
            Folded(
                summary=words.title,
                nodes=[
                    Paragraph(text=words.reading),
                    *_metric_figures(f"{unit}_{metric}", words, of_metric, last),
                    _summary(last),
                ],
            )
        )
    return Section(anchor="metrics", title="Every metric", nodes=nodes)


def _metric_figures(
    name: str, words: MetricWords, curves: Table, last: Table
) -> list[Figure]:
    def figure(kind: str, what: str, reading: str, chart: Chart) -> Figure:
        return Figure(
            name=f"{name}_{kind}",
            title=f"{words.title}: {what}",
            reading=reading,
            chart=chart,
        )

    mean = figure(
        "mean", "mean over steps", words.direction, _over_steps(words, curves, "mean")
    )
    if not np.isfinite(last["median"]).all():
        return [mean]
    spread = _over_steps(words, curves, "std")
    boxes = [_box(last.where(group=g), str(g)) for g in last.unique("group")]
    return [
        mean,
        figure(
            "spread",
            "spread over steps",
            "Standard deviation within the group, mean over seeds.",
            spread,
        ),
        figure(
            "boxes",
            "last step by group",
            "Box: quartiles; line: median; whiskers: least and greatest; each is the "
            "mean over seeds.",
            Boxes(y_title=words.title, boxes=boxes),
        ),
    ]


def _over_steps(words: MetricWords, curves: Table, column: str) -> Lines:
    return Lines(
        x_title="training step",
        y_title=words.title,
        lines=[
            _group_line(curves.where(group=group), str(group), column)
            for group in curves.unique("group")
        ],
    )


def _summary(last: Table) -> Grid:
    return Grid(
        caption="Last step, mean over seeds of each figure.",
        columns=("group", "count", "mean", "std", "median", "least", "greatest"),
        rows=[
            (
                str(group),
                f"{int(rows['count'][0]):,}",
                *(
                    number(float(np.mean(rows[name])))
                    for name in ("mean", "std", "median", "min", "max")
                ),
            )
            for group in last.unique("group")
            for rows in [last.where(group=group)]
        ],
        align_right=frozenset(range(1, 7)),
    )


def _group_line(rows: Table, group: str, column: str) -> Line:
    rows = _by_step(rows)
    banded = column == "mean" and bool(np.isfinite(rows["low"]).all())
    return Line(
        name=group,
        x=rows["step"].tolist(),
        y=rows[column].tolist(),
        low=rows["low"].tolist() if banded else (),
        high=rows["high"].tolist() if banded else (),
    )


def _box(rows: Table, name: str) -> Box:
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
    )


def _by_step(rows: Table) -> Table:
    order = np.argsort(rows["step"], kind="stable")
    return Table(columns={name: c[order] for name, c in rows.columns.items()})


def _mean_log(ratios: np.ndarray) -> float:
    seen = ratios[np.isfinite(ratios) & (ratios > 0)]
    return float(np.mean(np.log(seen))) if seen.size else float("nan")
