"""What would the published drift logs say of these groups?

Their convention, for exchange only: all weights pooled, immobile ones included as
zeros, a relative change of 0 where |W_0| <= 1e-8, no layers.
"""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float64
from torch import Tensor

from driftmap.core.places import Site
from driftmap.measure.drift.baseline import DriftBaseline, GroupPlace
from driftmap.measure.drift.change import weight_change
from driftmap.measure.drift.moments import fragment_moments
from driftmap.measure.drift.settled import Settled
from driftmap.results.drift import (
    PUBLISHED_METRICS,
    SMALLEST_WEIGHT,
    PublishedMetric,
    Summary,
    summarise,
)
from driftmap.signals.changes import MatrixChange

Figures = dict[str, float | int]
_Published = dict[PublishedMetric, Float64[np.ndarray, " _"]]


def published_summary(
    baseline: DriftBaseline, changes: Mapping[Site, MatrixChange]
) -> dict[PublishedMetric, dict[str, Figures]]:
    """Pool every group over all matrices, as `metrics` of a published drift log.

    Args:
        baseline: What `drift_baseline` kept.
        changes: What training has added at the checkpoint; matrices missing here were
            not tuned.

    Returns:
        Metric -> group -> mean, std, min, max, median, q25, q75, count. Changes are
        per weight, cosines and distances per fragment; a vector without direction
        has cosine 0, and an empty group is all zeros.

    Raises:
        MeasureError: As `DriftBaseline.change`.
    """
    parts: dict[str, list[_Published]] = {group: [] for group in baseline.groups}
    for held in baseline.sites:
        weight = baseline.weight(held.site)
        change = baseline.change(held.site, changes, weight)
        for group, place in held.places.items():
            parts[group].append(_published_values(place, change, weight))
    found: dict[PublishedMetric, dict[str, Figures]] = {
        metric: {} for metric in PUBLISHED_METRICS
    }
    for metric in PUBLISHED_METRICS:
        for group, of_group in parts.items():
            values = np.concatenate([np.empty(0), *(p[metric] for p in of_group)])
            found[metric][group] = _figures(summarise(values))
    return found


def _published_values(
    place: GroupPlace, change: Settled | None, weight: Tensor
) -> _Published:
    before, moved = place.weight, np.zeros(place.index.size)
    if change is not None:
        moved = weight_change(change, None, place.index, weight).numpy()
    size = np.abs(before)
    relative = np.zeros_like(moved)
    np.divide(np.abs(moved), size, out=relative, where=size > SMALLEST_WEIGHT)
    fragments = fragment_moments(before, moved, place.starts)
    return {
        "absolute_change": np.abs(moved),
        "relative_change": relative,
        "cosine_similarity": np.where(fragments.directed, fragments.cosine, 0.0),
        "l2_distance": fragments.l2,
    }


def _figures(summary: Summary) -> Figures:
    names = ("mean", "std", "min", "max", "median", "q25", "q75")
    if summary.count == 0:
        return dict.fromkeys(names, 0.0) | {"count": 0}
    return {name: getattr(summary, name) for name in names} | {"count": summary.count}
