"""How far apart do the drifts of two groups lie, over all training runs together?"""

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
from jaxtyping import Float64
from torch import Tensor

from driftmap.core.places import Site
from driftmap.measure.drift import difference, weight_change
from driftmap.results.drift import POOLED_LAYER
from driftmap.results.groups import WeightGroup
from driftmap.results.statistics import EffectSize, Summary
from driftmap.results.table import Table
from driftmap.signals.changes import MatrixChange
from driftmap.stats.effects import effect_from_summaries, effect_size

BASELINES = ("utility", "random", "matched")
"""Groups that the scored groups are compared with."""

Changes = Sequence[Mapping[Site, MatrixChange]]
"""What every training run had added at one step."""


def study_effects(
    groups: Sequence[WeightGroup],
    changes: Changes,
    weight: Callable[[Site], Tensor],
    drift: Table,
) -> tuple[EffectSize, ...]:
    """Compare every scored group with every baseline, weights of all runs together.

    Args:
        groups: All groups, the declared one first.
        changes: What training had added at the tested step.
        weight: Gives a matrix before training.
        drift: The drift table at that step, all runs.

    Returns:
        Absolute change from every weight, with Cliff's delta; the other metrics from
        what the table says of each run.
    """
    scored = [group.name for group in groups if group.name not in BASELINES]
    there = {group.name for group in groups}
    pairs = [(name, b) for name in scored for b in BASELINES if b in there]
    return (*_absolute(_moved(groups, changes, weight), pairs), *_others(drift, pairs))


def pooled_summary(rows: Table) -> Summary | None:
    """One group's figures over all its units in all runs, from those of each run.

    Mean and standard deviation are exact; the median is the mean of the runs'
    medians, units counted.

    Args:
        rows: One row per run with count, mean, std and median.

    Returns:
        The figures, or None where no run has a unit.
    """
    counts = rows["count"]
    if not counts.sum():
        return None
    held = counts > 0
    share = counts[held] / counts.sum()
    means, stds, medians = (rows[name][held] for name in ("mean", "std", "median"))
    mean = float(share @ means)
    return Summary(
        count=int(counts.sum()),
        mean=mean,
        std=float(share @ (stds**2 + (means - mean) ** 2)) ** 0.5,
        median=float(share @ medians),
    )


def _absolute(
    moved: Mapping[str, Float64[np.ndarray, " weight"]], pairs: list[tuple[str, str]]
) -> Iterator[EffectSize]:
    for name, baseline in pairs:
        if moved[name].size and moved[baseline].size:
            yield effect_size((name, moved[name]), (baseline, moved[baseline]))


def _moved(
    groups: Sequence[WeightGroup], changes: Changes, weight: Callable[[Site], Tensor]
) -> dict[str, Float64[np.ndarray, " weight"]]:
    """|dW| of the groups' mobile weights, runs one after the other.

    A matrix is asked for once, since it may be read from a file each time.
    """
    parts: dict[str, list[np.ndarray]] = {group.name: [] for group in groups}
    for of_run in changes:
        for site in of_run:
            here = [group for group in groups if group.at(site).size]
            if here:
                change, before = of_run[site], weight(site)
                settled = difference(change, None, site.key, before)
                for group in here:
                    moved = weight_change(settled, None, group.at(site), before)
                    parts[group.name].append(moved.abs().numpy())
    return {
        name: np.concatenate([np.empty(0), *found]) for name, found in parts.items()
    }


def _others(drift: Table, pairs: list[tuple[str, str]]) -> Iterator[EffectSize]:
    pooled = drift.where(layer=POOLED_LAYER)
    kinds = zip(pooled["unit"].tolist(), pooled["metric"].tolist(), strict=True)
    for unit, metric in dict.fromkeys(kinds):
        if metric == "absolute":
            continue
        rows = pooled.where(unit=unit, metric=metric)
        known = {n: pooled_summary(rows.where(group=n)) for n in rows.unique("group")}
        for name, baseline in pairs:
            one, other = known.get(name), known.get(baseline)
            if one and other:
                of, against = (name, one), (baseline, other)
                yield effect_from_summaries(of, against, f"{metric} ({unit})")
