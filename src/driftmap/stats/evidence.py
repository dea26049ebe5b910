"""What does one matrix say about every group, before matrices are pooled?

A study visits its matrices one at a time: only one matrix, and its drift under
one seed, need to be in memory.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float64, Int16, Int64

from driftmap.core.errors import MeasureError
from driftmap.core.places import Site
from driftmap.results.evidence import GroupEvidence, MatrixEvidence
from driftmap.stats.bins import quantile_bins
from driftmap.stats.matched import (
    BinMoments,
    MatchedSums,
    bin_moments,
    matched_sums,
    null_moments,
    outside,
)
from driftmap.stats.permutation import Moves, draw_moves, log_bias, permuted_sums

CORRECTION_DRAWS = 199
"""Draws that estimate how far a log ratio reads low by chance, per training seed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawPlan:
    """How chance is drawn.

    Args:
        seed: The run's seed.
        num_permutations: B; 0 gives plain ratios: no p-values, no correction for
            the noise of small groups.
        num_bins: Quantile bins of |W| per matrix.
        controls: Names of groups that were drawn to stand for other weights. All
            others are declared: none of their weights serves as a control.
    """

    seed: int
    num_permutations: int = 999
    num_bins: int = 40
    controls: Collection[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Place:
    """What all training seeds share: the matrix before training and its groups.

    `groups` are the members that can move, `num_kept` counts the others.
    """

    site: Site
    bins: Int16[np.ndarray, " weight"]
    groups: Mapping[str, Int64[np.ndarray, " _"]]
    num_kept: Mapping[str, int]
    free: Bool[np.ndarray, " weight"]
    mobile: Bool[np.ndarray, "row column"] | None
    moves: Moves

    def counted(self, values: Float64[np.ndarray, " weight"]) -> BinMoments:
        """Moments per bin of weights that can move."""
        num_bins = int(self.bins.max()) + 1
        if self.mobile is None:
            return bin_moments(values, self.bins, num_bins)
        held = self.mobile.reshape(-1)
        return bin_moments(values[held], self.bins[held], num_bins)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _SeedSums:
    """What one training seed adds; residuals are 0 where the matrix did not move."""

    has_moved: bool
    residuals: Float64[np.ndarray, " weight"]
    sums: Mapping[str, MatchedSums]
    log_biases: Mapping[str, float]


def matrix_evidence(
    site: Site,
    magnitudes: Float[np.ndarray, "row column"],
    drifts: Iterable[Float64[np.ndarray, "row column"]],
    groups: Mapping[str, Int64[np.ndarray, " _"]],
    plan: DrawPlan,
    mobile: Bool[np.ndarray, "_ _"] | None = None,
) -> MatrixEvidence:
    """Compare every group of one matrix with weights of its own size.

    The residual of a weight is `e = d / mu_bin - 1`, mu_bin the mean drift of all
    weights of its |W| bin (e is 0 where that is 0), averaged over seeds; a group's
    T is the sum of its residuals. Each bin is its own unit because permutations
    move a group across bins: where drift scales with |W|, residuals in the
    matrix's unit are smallest among small weights, draws that land there make the
    null too narrow, and groups of large weights look extreme by chance.

    Weights that were kept from moving count nowhere: neither in a group nor among
    its controls, and no draw ends on them.

    Args:
        site: The matrix.
        magnitudes: |W0|, by which weights are matched.
        drifts: d = |dW| after training, one matrix per seed; taken one by one.
        groups: Flat indices of every group, ascending.
        plan: Seed, permutations, bins, and which groups are controls.
        mobile: Weights that training could move; None where nothing was frozen.

    Returns:
        Each group's sums and permuted sums. If some seed left the matrix
        unchanged it is immobile: it has no ratio and its T is 0.

    Raises:
        MeasureError: A drift or magnitude is not finite, a drift is negative or
            of another shape, or there is no seed.

    >>> site = Site(path="m.up", layer=0, part="up", num_rows=2, num_columns=2)
    >>> w, d = np.ones((2, 2)), np.array([[6.0, 2.0], [2.0, 2.0]])
    >>> plan = DrawPlan(seed=0, num_permutations=9)
    >>> top = matrix_evidence(site, w, [d], {"top": np.array([0])}, plan).groups["top"]
    >>> top.observed, top.expected, top.residual
    (array([6.]), array([2.]), 1.0)
    """
    present = {name: index for name, index in groups.items() if index.size}
    place = _place(site, magnitudes, present, plan, mobile)
    total = np.zeros(place.bins.size)
    seeds: list[_SeedSums] = []
    for drift in drifts:
        sums = _seed_sums(_flat_drift(site, magnitudes, drift), place)
        total += sums.residuals
        seeds.append(sums)
    if not seeds:
        raise MeasureError(f"{site.key}: no drift was given; train at least one seed")
    is_mobile = all(sums.has_moved for sums in seeds)
    residuals = total / len(seeds) if is_mobile else np.zeros_like(total)
    return MatrixEvidence(
        site=site,
        num_seeds=len(seeds),
        is_mobile=is_mobile,
        groups=_group_evidence(residuals, place, seeds),
    )


def _place(
    site: Site,
    magnitudes: Float[np.ndarray, "row column"],
    groups: Mapping[str, Int64[np.ndarray, " _"]],
    plan: DrawPlan,
    mobile: Bool[np.ndarray, "_ _"] | None,
) -> _Place:
    bins = _magnitude_bins(site, magnitudes, plan.num_bins)
    declared = [index for name, index in groups.items() if name not in plan.controls]
    free, moving = outside(bins.size, declared), dict(groups)
    if mobile is not None:
        flat = mobile.reshape(-1)
        free &= flat
        moving = {name: index[flat[index]] for name, index in groups.items()}
    return _Place(
        site=site,
        bins=bins,
        groups=moving,
        num_kept={n: index.size - moving[n].size for n, index in groups.items()},
        free=free,
        mobile=mobile,
        moves=draw_moves(site, plan.num_permutations, plan.seed, mobile),
    )


def _magnitude_bins(
    site: Site, magnitudes: Float[np.ndarray, "row column"], num_bins: int
) -> Int16[np.ndarray, " weight"]:
    try:
        return quantile_bins(magnitudes.reshape(-1), num_bins)
    except MeasureError as error:
        raise MeasureError(f"{site.key}: {error}") from error


def _flat_drift(
    site: Site,
    magnitudes: Float[np.ndarray, "row column"],
    drift: Float64[np.ndarray, "_ _"],
) -> Float64[np.ndarray, " weight"]:
    if drift.shape != magnitudes.shape:
        raise MeasureError(
            f"{site.key}: drift of shape {drift.shape} "
            f"for weights of shape {magnitudes.shape}"
        )
    if not (np.isfinite(drift).all() and (drift >= 0).all()):
        raise MeasureError(
            f"{site.key}: a drift is negative, NaN or infinite; did training diverge?"
        )
    return drift.reshape(-1)


def _seed_sums(drift: Float64[np.ndarray, " weight"], place: _Place) -> _SeedSums:
    bins, free, groups = place.bins, place.free, place.groups
    whole_mean = place.counted(drift).mean
    control = bin_moments(drift[free], bins[free], len(whole_mean))
    has_moved = bool(whole_mean.any())
    unit = np.where(whole_mean > 0, whole_mean, 1.0)
    residuals = (drift - whole_mean[bins]) / unit[bins]
    if place.mobile is not None:
        residuals[~place.mobile.reshape(-1)] = 0
    draws = permuted_sums(
        residuals.reshape(place.site.shape),
        place.moves.first(CORRECTION_DRAWS if has_moved else 0),
        list(groups.values()),
        place.mobile,
    )
    return _SeedSums(
        has_moved=has_moved,
        residuals=residuals,
        sums={n: matched_sums(drift, bins, m, control) for n, m in groups.items()},
        log_biases={
            name: log_bias(1 + of_group / max(1, members.size))
            for (name, members), of_group in zip(groups.items(), draws, strict=True)
        },
    )


def _group_evidence(
    residuals: Float64[np.ndarray, " weight"], place: _Place, seeds: list[_SeedSums]
) -> dict[str, GroupEvidence]:
    whole = place.counted(residuals)
    draws = permuted_sums(
        residuals.reshape(place.site.shape),
        place.moves,
        list(place.groups.values()),
        place.mobile,
    )
    return {
        name: GroupEvidence(
            num_members=members.size + place.num_kept[name],
            num_weights=seeds[0].sums[name].num_weights,
            num_left_out_bins=seeds[0].sums[name].num_left_out_bins,
            observed=np.array([s.sums[name].observed for s in seeds]),
            expected=np.array([s.sums[name].expected for s in seeds]),
            log_bias=np.array([s.log_biases[name] for s in seeds]),
            residual=float(residuals[members].sum()),
            residual_draws=of_group,
            residual_variance=null_moments(place.bins, members, whole).variance,
            num_kept=place.num_kept[name],
        )
        for (name, members), of_group in zip(place.groups.items(), draws, strict=True)
    }
