"""How far apart do logged groups lie, and does that agree with who logged them?

Means and standard deviations are all there is: Cohen's d follows from them, a
null does not.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from driftmap.results.drift_logs import ComparisonCheck
from driftmap.results.statistics import EffectSize, Summary
from driftmap.results.table import Cell, Table
from driftmap.stats.effects import effect_from_summaries

BASELINES = ("utility", "random", "matched")
"""Groups that others are compared with, where the logs have them."""

MATCHED_TO = ("difference", "safety_set_diff")
"""Names of the one group that `matched` is the control of."""

Row = Mapping[str, Cell]

_WORDS = ("metric", "group", "baseline", "label", "undefined")
_FIGURES = (
    "cohens_d", "mean_difference", "median_difference", "group_mean", "group_std",
    "baseline_mean", "baseline_std",
)  # fmt: skip
_NO_EFFECTS = Table(
    columns={"step": np.empty(0, dtype=np.int64)}
    | {name: np.empty(0, dtype=str) for name in _WORDS}
    | {name: np.empty(0) for name in _FIGURES}
)
_SAME = 1e-9
_AGREES = 1e-6


def logged_effects(logs: Table) -> Table:
    """Compare groups at every step and in every metric.

    Every other group is compared with `utility` and `random`, and the group that has
    a control of its own with `matched`.

    Args:
        logs: Columns step, metric, group, mean, std, median and count.

    Returns:
        Columns step, metric, group, baseline, cohens_d, label, mean_difference,
        median_difference, mean and std of both, and `undefined`, which says why
        there is no d (then d is NaN and the label empty). No row where the logs have
        no baseline.

    >>> rows = [
    ...     {"step": 9, "metric": "absolute_change", "group": group, "mean": mean,
    ...      "std": 1.0, "median": 0.0, "count": 4}
    ...     for group, mean in (("top", 2.0), ("utility", 1.5))
    ... ]
    >>> effects = logged_effects(Table.from_rows(rows))
    >>> effects["cohens_d"].tolist(), effects["label"].tolist()
    ([0.5], ['medium'])
    """
    rows = [
        _effect_row(place, row, baseline)
        for place, groups in _by_place(logs).items()
        for name in BASELINES
        for baseline in [groups.get(name)]
        if baseline
        for row in groups.values()
        if row is not baseline and (name != "matched" or row["group"] in MATCHED_TO)
    ]
    return Table.from_rows(rows) if rows else _NO_EFFECTS


def checked_comparisons(logs: Table, comparisons: Table) -> tuple[ComparisonCheck, ...]:
    """Compute each published Cohen's d again.

    Args:
        logs: As for `logged_effects`.
        comparisons: Columns metric, group, baseline, cohens_d, group_mean,
            baseline_mean, group_std and baseline_std.

    Returns:
        One check per comparison: against the last step that has its means and
        deviations, or against those of the file itself where no step has them.
    """
    places = _by_place(logs)
    return tuple(_check(places, row) for row in comparisons.rows())


def last_comparisons(logs: Table) -> Table:
    """The comparisons of a `statistical_results.json`: those of the last step.

    Args:
        logs: As for `logged_effects`.

    Returns:
        Columns metric, group, baseline, mean_diff, cohens_d, and mean and std of
        both. A pair without a d is left out, since JSON has no number for it.
    """
    effects = logged_effects(logs)
    last = effects.where(step=int(logs["step"].max()), undefined="")
    return Table(columns={**last.columns, "mean_diff": last["mean_difference"]})


def _by_place(logs: Table) -> dict[tuple[int, str], dict[str, Row]]:
    """Rows by group, under their step and metric."""
    places: dict[tuple[int, str], dict[str, Row]] = {}
    for row in logs.rows():
        place = int(row["step"]), str(row["metric"])
        places.setdefault(place, {})[str(row["group"])] = row
    return places


def _effect_row(place: tuple[int, str], group: Row, baseline: Row) -> dict[str, Cell]:
    effect = _effect(place[1], group, baseline)
    undefined = _why_undefined(group, baseline)
    d = None if undefined else effect.cohens_d
    return {
        "step": place[0],
        "metric": place[1],
        "group": effect.group,
        "baseline": effect.baseline,
        "cohens_d": np.nan if d is None else d,
        "label": "" if d is None else str(effect.label),
        "mean_difference": effect.mean_difference,
        "median_difference": effect.median_difference,
        "group_mean": effect.of_group.mean,
        "group_std": effect.of_group.std,
        "baseline_mean": effect.of_baseline.mean,
        "baseline_std": effect.of_baseline.std,
        "undefined": undefined,
    }


def _why_undefined(group: Row, baseline: Row) -> str:
    for row in (group, baseline):
        if row["count"] == 0:
            return f"`{row['group']}` is empty"
    return "" if float(group["std"]) or float(baseline["std"]) else "neither varies"


def _effect(metric: str, group: Row, baseline: Row) -> EffectSize:
    return effect_from_summaries(
        (str(group["group"]), _summary(group)),
        (str(baseline["group"]), _summary(baseline)),
        metric,
    )


def _summary(row: Row) -> Summary:
    return Summary(
        count=int(row["count"]),
        mean=float(row["mean"]),
        std=float(row["std"]),
        median=float(row["median"]),
    )


def _check(
    places: Mapping[tuple[int, str], Mapping[str, Row]], published: Row
) -> ComparisonCheck:
    metric, group, baseline = (
        str(published[name]) for name in ("metric", "group", "baseline")
    )
    found = list(_steps_of(places, published))
    of_group, of_baseline = found[-1][1:] if found else _own_numbers(published)
    computed = None
    if not _why_undefined(of_group, of_baseline):
        computed = _effect(metric, of_group, of_baseline).cohens_d
    told = float(published["cohens_d"])
    return ComparisonCheck(
        metric=metric,
        group=group,
        baseline=baseline,
        published=told,
        computed=computed,
        step=found[-1][0] if found else None,
        agrees=computed is not None
        and abs(told - computed) <= _AGREES * max(abs(computed), _AGREES),
    )


def _steps_of(
    places: Mapping[tuple[int, str], Mapping[str, Row]], published: Row
) -> Iterator[tuple[int, Row, Row]]:
    """Steps whose means and deviations the comparison repeats, ascending."""
    for (step, metric), groups in places.items():
        group = groups.get(str(published["group"]))
        baseline = groups.get(str(published["baseline"]))
        if metric != published["metric"] or group is None or baseline is None:
            continue
        logged = [row[name] for row in (group, baseline) for name in ("mean", "std")]
        if _same(logged, [published[name] for name in _FOUR]):
            yield step, group, baseline


_FOUR = ("group_mean", "group_std", "baseline_mean", "baseline_std")


def _same(left: Sequence[Cell], right: Sequence[Cell]) -> bool:
    return bool(np.allclose(_floats(left), _floats(right), rtol=_SAME, atol=0))


def _floats(cells: Sequence[Cell]) -> np.ndarray:
    return np.array([float(cell) for cell in cells])


def _own_numbers(published: Row) -> tuple[Row, Row]:
    """The comparison's own summaries; its file does not say how many weights."""
    group, baseline = (
        {
            "group": published[side],
            "count": 1,
            "mean": published[f"{side}_mean"],
            "std": published[f"{side}_std"],
            "median": 0.0,
        }
        for side in ("group", "baseline")
    )
    return group, baseline
