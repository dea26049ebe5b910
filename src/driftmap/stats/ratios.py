"""How much does each group drift relative to its control, over many matrices?

Per seed `theta = mean over matrices of (log rho_m - b_m)`; `rho = exp(mean theta)`.
b_m is what chance gives for the log of a ratio as noisy as rho_m: without it a
group of few weights, or of few clusters, reads below 1 where nothing differs. The
whole model, each layer and each part are partial sums of the same permutations.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64

from driftmap.core.errors import MeasureError
from driftmap.core.places import PARTS, Part
from driftmap.results.evidence import GroupEvidence, MatrixEvidence
from driftmap.results.statistics import (
    GroupRatio,
    Interval,
    LeftOut,
    NullDistribution,
)
from driftmap.stats.intervals import cluster_bootstrap, exponentiated, t_interval
from driftmap.stats.permutation import permutation_p


def group_ratios(
    evidence: Sequence[MatrixEvidence],
    *,
    primary: str | None,
    seed: int,
    metric: str = "absolute",
) -> tuple[GroupRatio, ...]:
    """Pool matrices into ratios of the whole model, its layers and its parts.

    Args:
        evidence: One entry per matrix, all with the same seeds.
        primary: The group whose whole-model ratio is the declared test; None
            where the metric or the step is description only.
        seed: The run's seed, for the bootstrap.
        metric: What drifted.

    Returns:
        The primary test first, then group by group: whole model, layers, parts.
        A scope without any matrix that gives a ratio is left out. p-values are
        not corrected yet.

    Raises:
        MeasureError: There is no matrix, matrices differ in their seeds, or the
            primary group has no ratio in any matrix.
    """
    _check(evidence)
    names = list(dict.fromkeys(n for matrix in evidence for n in matrix.groups))
    layers = sorted({m.site.layer for m in evidence})
    parts = sorted({m.site.part for m in evidence}, key=PARTS.index)
    places = [(None, None), *((n, None) for n in layers), *((None, n) for n in parts)]
    scopes = [
        _Scope(group=name, layer=layer, part=part, metric=metric)
        for name in names
        for layer, part in places
    ]
    ratios = []
    for scope in scopes:
        held = [m for m in evidence if scope.holds(m)]
        if any(m.groups[scope.group].has_ratio for m in held):
            ratios.append(_ratio(scope, held, primary, seed))
    if primary is not None and not any(ratio.is_primary for ratio in ratios):
        raise MeasureError(
            f"group {primary!r} has no matrix in which it and its control both "
            "drifted; tune modules that hold it, or declare another group"
        )
    return tuple(sorted(ratios, key=lambda ratio: not ratio.is_primary))


def immobile_share(evidence: Sequence[MatrixEvidence], group: str) -> float:
    """Share of a group's weights in matrices that training left unchanged.

    Weights that were kept from moving do not count here.

    Args:
        evidence: One entry per matrix that holds any of the group's weights.
        group: Its name; 0 if it has no weight at all.
    """
    held = [m for m in evidence if group in m.groups]
    num_members = sum(m.groups[group].num_members for m in held)
    num_still = sum(m.groups[group].num_mobile for m in held if not m.is_mobile)
    return num_still / max(1, num_members)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scope:
    group: str
    layer: int | None
    part: Part | None
    metric: str

    @property
    def is_whole(self) -> bool:
        return self.layer is None and self.part is None

    def holds(self, matrix: MatrixEvidence) -> bool:
        return (
            self.group in matrix.groups
            and self.layer in (None, matrix.site.layer)
            and self.part in (None, matrix.site.part)
        )


def _check(evidence: Sequence[MatrixEvidence]) -> None:
    if not evidence:
        raise MeasureError("no matrix was compared; tune at least one linear map")
    odd = [m.site.key for m in evidence if m.num_seeds != evidence[0].num_seeds]
    if odd:
        raise MeasureError(
            f"{odd[0]} has another number of training seeds than "
            f"{evidence[0].site.key}; compare every matrix under the same seeds"
        )


def _ratio(
    scope: _Scope, held: list[MatrixEvidence], primary: str | None, seed: int
) -> GroupRatio:
    used = [m for m in held if m.groups[scope.group].has_ratio]
    logs = _log_ratios([m.groups[scope.group] for m in used])
    thetas = logs.mean(axis=1)
    members = [m.groups[scope.group] for m in held]
    draws = np.sum([g.residual_draws for g in members], axis=0)
    return GroupRatio(
        group=scope.group,
        metric=scope.metric,
        layer=scope.layer,
        part=scope.part,
        thetas=tuple(thetas.tolist()),
        rho=float(np.exp(thetas.mean())),
        log_bias=float(np.mean([m.groups[scope.group].log_bias for m in used])),
        interval90=_of_ratio(t_interval(thetas, 0.9)),
        interval95=_of_ratio(t_interval(thetas, 0.95)),
        bootstrap95=_of_ratio(cluster_bootstrap(logs, _cells(used), 0.95, seed)),
        p_value=permutation_p(
            sum(g.residual for g in members),
            draws,
            float(sum(g.num_mobile for g in members)),
        )
        if draws.size
        else None,
        p_adjusted=None,
        num_permutations=draws.size,
        is_primary=scope.is_whole and scope.group == primary,
        num_matrices=len(used),
        num_weights=sum(m.groups[scope.group].num_weights for m in used),
        left_out=_left_out(scope.group, held),
        null=_null(scope.group, held) if scope.is_whole and draws.size else None,
    )


def _log_ratios(members: list[GroupEvidence]) -> Float64[np.ndarray, "seed matrix"]:
    logs = [np.log(g.observed / g.expected) - g.log_bias for g in members]
    return np.stack(logs, axis=1)


def _cells(used: list[MatrixEvidence]) -> Int64[np.ndarray, " matrix"]:
    places = [(m.site.layer, m.site.part) for m in used]
    numbers = {place: number for number, place in enumerate(dict.fromkeys(places))}
    return np.array([numbers[place] for place in places])


def _of_ratio(of_log: Interval | None) -> Interval | None:
    return None if of_log is None else exponentiated(of_log)


def _left_out(group: str, held: list[MatrixEvidence]) -> LeftOut:
    members = [m.groups[group] for m in held]
    counted = sum(g.num_weights for g in members if g.has_ratio)
    return LeftOut(
        num_matrices=sum(not g.has_ratio for g in members),
        num_bins=sum(g.num_left_out_bins for g in members),
        num_weights=sum(g.num_members for g in members) - counted,
        num_immobile=sum(
            m.groups[group].num_kept if m.is_mobile else m.groups[group].num_members
            for m in held
        ),
    )


def _null(group: str, held: list[MatrixEvidence]) -> NullDistribution:
    members = [m.groups[group] for m in held if m.is_mobile]
    count = sum(g.num_mobile for g in members)
    draws = np.sum([g.residual_draws for g in members], axis=0)
    return NullDistribution(
        observed=float(1 + sum(g.residual for g in members) / count),
        ratios=tuple((1 + draws / count).tolist()),
        closed_form_sd=float(sum(g.residual_variance for g in members) ** 0.5 / count),
    )
