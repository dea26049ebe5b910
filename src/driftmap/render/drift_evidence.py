"""Which evidence does the drift page show, and what would chance give?"""

from collections.abc import Sequence

import numpy as np

from driftmap.render.charts import Cells, Histogram, Lines, Ranges
from driftmap.render.drift_cautions import cautions_at
from driftmap.render.drift_curves import group_line
from driftmap.render.drift_words import role_of, when_declared
from driftmap.render.page import Facts, Figure, Folded, Grid, Node, Paragraph, Section
from driftmap.render.wording import interval, metric_words, number, p_value
from driftmap.results.drift import POOLED_LAYER, POOLED_PART
from driftmap.results.drift_study import DriftStudy
from driftmap.results.statistics import GroupRatio, NullDistribution


def evidence_section(study: DriftStudy) -> Section:
    """Drift against the matched control: whole model, by place, over time."""
    return Section(
        anchor="evidence",
        title="Do these weights drift more?",
        nodes=[
            Paragraph(
                text="A ratio compares each group with all weights of the same size in "
                "the same matrices that belong to no group, so that neither a group's "
                "large weights nor the matrices it lies in can make it look special."
            ),
            *cautions_at(study, "ratio"),
            _ratio_figure(study),
            *_other_intervals(study.statistics.primary),
            _map_figure(study),
            _curve_figure(study),
            *cautions_at(study, "pooled"),
        ],
    )


def _whole(study: DriftStudy) -> list[GroupRatio]:
    return [r for r in study.statistics.ratios if r.layer is None and r.part is None]


def _ratio_figure(study: DriftStudy) -> Figure:
    whole = _whole(study)
    margin = study.statistics.verdict.margin
    bars = (
        "Bars are 95 % t intervals over training seeds."
        if any(ratio.interval95 for ratio in whole)
        else "There are no intervals: they need at least 2 training seeds."
    )
    return Figure(
        name="ratio_by_group",
        title="Drift of each group over that of weights of the same size",
        reading=f"1 means that the group drifts as much as its control. {bars} The "
        f"shaded zone is the declared margin: {1 / margin:.2g} to {margin:g} counts as "
        "alike.",
        chart=Ranges(
            x_title="ratio to weights of the same size",
            names=[r.group for r in whole],
            estimates=[r.rho for r in whole],
            lows=[r.interval95.low if r.interval95 else r.rho for r in whole],
            highs=[r.interval95.high if r.interval95 else r.rho for r in whole],
            reference=1.0,
            margin=(1 / margin, margin),
            roles=[role_of(study, r.group) for r in whole],
        ),
    )


def _other_intervals(primary: GroupRatio | None) -> list[Facts]:
    if primary is None:
        return []
    pairs = [
        ("95 % interval over seeds", interval(primary.interval95)),
        ("95 % bootstrap over seeds and matrices", interval(primary.bootstrap95)),
        (
            "Compared",
            f"{primary.num_weights:,} weights in {primary.num_matrices:,} matrices",
        ),
        (
            "Left out: no control, no drift, not tuned or kept from moving",
            f"{primary.left_out.num_weights:,} weights",
        ),
    ]
    return [Facts(pairs=pairs)]


def _curve_figure(study: DriftStudy) -> Figure:
    rows = study.curves.where(unit="weight", metric="absolute")
    words = metric_words("weight", "absolute")
    return Figure(
        name="drift_over_time",
        title=f"{words.name}, mean over the group's weights, over training",
        reading=f"{words.direction} Bands are 95 % t intervals over seeds. Large "
        "weights and some matrices move more in any training, so only `matched` is a "
        f"fair comparison for `{study.statistics.verdict.group}` here.",
        chart=Lines(
            x_title="training step",
            y_title="weight units",
            lines=[
                group_line(rows.where(group=name), name, "mean", role_of(study, name))
                for name in map(str, rows.unique("group"))
            ],
            y_from_zero=True,
        ),
    )


def _map_figure(study: DriftStudy) -> Figure:
    group = study.statistics.verdict.group
    rows = study.drift.where(
        step=study.statistics.step, group=group, metric="absolute", unit="weight"
    )
    layers = [layer for layer in sorted(rows.unique("layer")) if layer != POOLED_LAYER]
    parts = [part for part in rows.unique("part") if part != POOLED_PART]
    ratios = [
        [_mean_ratio(rows.where(layer=layer, part=part)["ratio"]) for part in parts]
        for layer in layers
    ]
    return Figure(
        name="ratio_by_place",
        title=f"Where `{group}` drifts more (orange) or less (blue) than its control",
        reading="The ratio in each matrix, geometric mean over seeds; an empty place "
        "was not tuned or holds no weight of the group. What chance puts into ratios "
        "of few weights is still in them. Single matrices scatter widely by chance: "
        "look for patterns over layers or parts, and see the corrected tests in the "
        "next section.",
        chart=Cells(
            x_labels=[str(part) for part in parts],
            y_labels=[str(layer) for layer in layers],
            x_title="part of the block",
            y_title="layer",
            ratios=ratios,
            value_title="ratio",
            reach=study.statistics.verdict.margin,
        ),
    )


def chance_section(study: DriftStudy) -> Section:
    """What chance alone gives, and every test with its correction."""
    primary = study.statistics.primary
    ratios = study.statistics.ratios
    places = [r for r in ratios if r.layer is not None or r.part is not None]
    nodes: list[Node] = [
        Paragraph(
            text="Two kinds of luck are kept apart. The interval asks whether another "
            "training would give another ratio; the verdict compares it with the "
            "margin. The permutation p asks whether another choice of weights would "
            "have drifted so; a ratio can lie beyond chance and still be too near 1 to "
            f"matter. Only one test was declared {when_declared(study)}: "
            f"`{study.statistics.verdict.group}`, whole model, absolute change, last "
            "step. All other "
            "p-values are corrected for their number, so that one in twenty does not "
            "count as a finding."
        ),
        *cautions_at(study, "chance"),
    ]
    if primary is not None and primary.null is not None:
        nodes.append(_null_figure(primary.null))
    nodes.append(_whole_model_tests(study))
    if places:
        nodes.append(
            Folded(summary="Tests by layer and by part", nodes=[_place_tests(places)])
        )
    return Section(anchor="chance", title="What would chance give?", nodes=nodes)


def _null_figure(null: NullDistribution) -> Figure:
    counts, edges = np.histogram(null.ratios, bins=30)
    return Figure(
        name="chance",
        title="The observed ratio among those that chance gives",
        reading="Each draw moves the group to other rows and columns of the same "
        "matrices and keeps its clustering. The ratio here is to whole size bins, so "
        "it can differ a little from the one above. Weights are not independent: "
        "drawing them one by one would make chance look like a spread of "
        f"{number(null.closed_form_sd)} instead of "
        f"{number(float(np.std(null.ratios)))} (standard deviations).",
        chart=Histogram(
            x_title="ratio",
            edges=edges.tolist(),
            counts=counts.tolist(),
            observed=null.observed,
            observed_name="observed",
            chance_name="chance",
        ),
    )


def _whole_model_tests(study: DriftStudy) -> Grid:
    alike = {e.group: e.is_similar for e in study.statistics.equivalences}
    return Grid(
        caption="Whole model: ratio to weights of the same size with its 95 % interval "
        "over seeds; permutation p, and p corrected over all tests but the declared "
        "one and those of controls (Benjamini-Hochberg). Alike: the 90 % interval lies "
        "within the margin.",
        columns=("group", "ratio", "p", "corrected p", "alike", "weights"),
        rows=[
            (
                f"`{r.group}`" + (" (declared)" if r.is_primary else ""),
                *_test(r),
                {True: "yes", False: "not shown"}[alike.get(r.group, False)],
                f"{r.num_weights:,}",
            )
            for r in _whole(study)
        ],
        align_right=frozenset({1, 2, 3, 5}),
    )


def _place_tests(ratios: Sequence[GroupRatio]) -> Grid:
    return Grid(
        caption="Layers and parts: ratio with its 95 % interval over seeds, "
        "permutation p, and p corrected over all tests but the declared one and those "
        "of controls.",
        columns=("group", "where", "ratio", "p", "corrected p", "weights"),
        rows=[
            (f"`{r.group}`", _where(r), *_test(r), f"{r.num_weights:,}")
            for r in ratios
        ],
        align_right=frozenset({2, 3, 4, 5}),
    )  # fmt: skip


def _test(ratio: GroupRatio) -> tuple[str, str, str]:
    of_seeds = ratio.interval95
    return (
        interval(of_seeds) if of_seeds else f"{ratio.rho:.2f}",
        p_value(ratio.p_value, ratio.num_permutations),
        "–" if ratio.p_adjusted is None else f"{ratio.p_adjusted:.3f}",
    )


def _where(ratio: GroupRatio) -> str:
    layer = "" if ratio.layer is None else f"layer {ratio.layer}"
    return " ".join(filter(None, [layer, ratio.part]))


def _mean_ratio(ratios: np.ndarray) -> float:
    seen = ratios[np.isfinite(ratios) & (ratios > 0)]
    return float(np.exp(np.mean(np.log(seen)))) if seen.size else float("nan")
