"""How far has every group moved in every matrix at one checkpoint?"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from torch import Tensor

from driftmap.core.places import Site
from driftmap.measure.drift.baseline import DriftBaseline, GroupPlace, SiteBaseline
from driftmap.measure.drift.change import weight_change
from driftmap.measure.drift.matched import (
    BinChange,
    MatchedReference,
    bin_change,
    matched_reference,
)
from driftmap.measure.drift.moments import (
    MatrixMoments,
    settled_moments,
    settled_reference,
)
from driftmap.measure.drift.settled import Settled
from driftmap.measure.drift.values import UnitMetric, Values, num_units, unit_values
from driftmap.results.drift import (
    POOLED_LAYER,
    POOLED_PART,
    UNIT_METRICS,
    summarise,
)
from driftmap.results.table import Cell, Table
from driftmap.signals.changes import MatrixChange


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Moved:
    """One tuned matrix at one checkpoint."""

    weight: Tensor
    change: Settled
    matrix: MatrixMoments
    bins: BinChange


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _GroupHere:
    """One group in one matrix, or in all of them, at one checkpoint."""

    values: Mapping[UnitMetric, Values]
    immobile: Mapping[UnitMetric, int]
    matched: MatchedReference


def drift_table(
    baseline: DriftBaseline,
    changes: Mapping[Site, MatrixChange],
    *,
    step: int,
    seed: int,
) -> Table:
    """Summarise every metric per group and matrix, and pooled over matrices.

    Matrices are read, measured and let go one by one.

    Statistics are over mobile units; those of matrices that nothing tuned, and those
    of nothing but weights that were kept from moving, are zero by construction and
    only counted. For `absolute`, `null_mean` and `null_sd` are
    mean and standard deviation of the group's mean under draws within bins of
    |W_0|, and `ratio` is the group's sum over its control outside every declared
    group; pooled, exp of the mean log over matrices. They are NaN elsewhere.

    Args:
        baseline: What `drift_baseline` kept.
        changes: What training has added at the checkpoint; matrices missing here were
            not tuned.
        step: Training step of the checkpoint.
        seed: Training seed.

    Returns:
        Columns step, seed, layer, part, path, group, unit, metric, those of
        `Summary`, ratio, null_mean, null_sd. Pooled rows have layer -1, part `all`
        and an empty path.

    Raises:
        MeasureError: As `DriftBaseline.change`.
    """
    parts: dict[str, list[tuple[Site, _GroupHere]]] = {g: [] for g in baseline.groups}
    for held in baseline.sites:
        moved = _moved(baseline, held, changes)
        for group, place in held.places.items():
            parts[group].append((held.site, _group_here(place, moved)))
    moment: dict[str, Cell] = {"step": step, "seed": seed}
    return Table.from_rows(
        [moment | row for group in parts for row in _group_rows(group, parts[group])]
    )


def _moved(
    baseline: DriftBaseline, held: SiteBaseline, changes: Mapping[Site, MatrixChange]
) -> _Moved | None:
    if held.site not in changes and not baseline.reference:
        return None
    weight = baseline.weight(held.site)
    change = baseline.change(held.site, changes, weight)
    if change is None:
        return None
    then = settled_reference(baseline.reference.get(held.site), weight)
    return _Moved(
        weight=weight,
        change=change,
        matrix=settled_moments(weight, change, then, held.norms),
        bins=bin_change(change, held.codes, weight),
    )


def _group_rows(
    group: str, parts: Sequence[tuple[Site, _GroupHere]]
) -> list[dict[str, Cell]]:
    rows: list[dict[str, Cell]] = []
    for site, here in parts:
        place: dict[str, Cell] = {
            "layer": site.layer, "part": site.part, "path": site.key, "group": group
        }  # fmt: skip
        rows += [place | row for row in _summary_rows(here)]
    everywhere: dict[str, Cell] = {
        "layer": POOLED_LAYER, "part": POOLED_PART, "path": "", "group": group
    }  # fmt: skip
    pooled = _pooled([here for _, here in parts])
    return rows + [everywhere | row for row in _summary_rows(pooled)]


def _group_here(place: GroupPlace, moved: _Moved | None) -> _GroupHere:
    if moved is None:
        units = num_units(place)
        return _GroupHere(
            values={key: np.empty(0) for key in UNIT_METRICS},
            immobile={(u, m): units[u] + place.still[u] for u, m in UNIT_METRICS},
            matched=MatchedReference(ratio=math.nan, total=0.0, variance=0.0),
        )
    change = weight_change(moved.change, None, place.index, moved.weight).numpy()
    values = unit_values(place, change, moved.matrix)
    absolute = values["weight", "absolute"]
    return _GroupHere(
        values=values,
        immobile={(unit, metric): place.still[unit] for unit, metric in UNIT_METRICS},
        matched=matched_reference(absolute, place.bin_of, moved.bins),
    )


def _pooled(parts: Sequence[_GroupHere]) -> _GroupHere:
    logs = [math.log(p.matched.ratio) for p in parts if p.matched.ratio > 0]
    return _GroupHere(
        values={
            key: np.concatenate([np.empty(0), *(p.values[key] for p in parts)])
            for key in UNIT_METRICS
        },
        immobile={key: sum(p.immobile[key] for p in parts) for key in UNIT_METRICS},
        matched=MatchedReference(
            ratio=math.exp(sum(logs) / len(logs)) if logs else math.nan,
            total=math.fsum(p.matched.total for p in parts),
            variance=math.fsum(p.matched.variance for p in parts),
        ),
    )


def _summary_rows(here: _GroupHere) -> list[dict[str, Cell]]:
    rows: list[dict[str, Cell]] = []
    for unit, metric in UNIT_METRICS:
        values = here.values[unit, metric]
        summary = summarise(values, here.immobile[unit, metric])
        ratio = null_mean = null_sd = math.nan
        if metric == "absolute" and values.size:
            ratio = here.matched.ratio
            null_mean = here.matched.total / values.size
            null_sd = math.sqrt(here.matched.variance) / values.size
        rows.append(
            {"unit": unit, "metric": metric, **asdict(summary)}
            | {"ratio": ratio, "null_mean": null_mean, "null_sd": null_sd}
        )
    return rows
