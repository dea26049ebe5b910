"""Which numbers of a drift study must be read with care?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from driftmap.core.places import Site
from driftmap.families.matrices import effective_weight
from driftmap.families.quantised import four_bit_kind
from driftmap.recipes.steps.bench import Study
from driftmap.recipes.steps.tuning.checkpoints import CheckpointChanges
from driftmap.results.drift import SMALLEST_WEIGHT
from driftmap.results.evidence import MatrixEvidence
from driftmap.results.groups import WeightGroup
from driftmap.results.statistics import Caution, GroupRatio
from driftmap.results.table import Table
from driftmap.stats import cautions, reading_cautions
from driftmap.stats.ratios import immobile_share


@dataclass(slots=True)
class ChangeCount:
    """Sums over changes and weights of matrices, filled one matrix at a time."""

    num_changes: int = 0
    num_zero: int = 0
    sum_change: float = 0.0
    sum_weight: float = 0.0

    def add(self, sizes: np.ndarray, drift: np.ndarray) -> None:
        """Count |W0| and |dW| of one matrix under one seed."""
        self.num_changes += drift.size
        self.num_zero += drift.size - int(np.count_nonzero(drift))
        self.sum_change += float(drift.sum())
        self.sum_weight += float(sizes.sum(dtype=np.float64))

    def sizes(self) -> reading_cautions.ChangeSizes:
        """Shares and means of what was counted."""
        num_changes, num_moved = self.num_changes, self.num_changes - self.num_zero
        return reading_cautions.ChangeSizes(
            zero_share=self.num_zero / max(1, num_changes),
            mean_change=self.sum_change / max(1, num_moved),
            mean_weight=self.sum_weight / max(1, num_changes),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sizes:
    """|W0| where something was tuned.

    Args:
        medians: Per group; groups without such a weight are left out.
        num_tiny: Weights of any group that relative change leaves out.
    """

    medians: Mapping[str, float]
    num_tiny: int


def study_cautions(
    study: Study,
    groups: Sequence[WeightGroup],
    evidence: Sequence[MatrixEvidence],
    ratios: Sequence[GroupRatio],
    num_shared: int,
    agreement: Table,
) -> tuple[Caution, ...]:
    """Gather the cautions that apply to a study.

    Args:
        study: The model under study.
        groups: All groups, the declared one first.
        evidence: What every matrix says at the tested step.
        ratios: All ratios, the declared one first.
        num_shared: Evaluated rows that were scored or tuned on too.
        agreement: What halves of the samples agree on, by group.
    """
    declared = agreement.where(group=groups[0].name)
    jaccard, num_samples = declared["jaccard"][0], int(declared["num_samples"][0])
    ceiling = float(jaccard) if np.isfinite(jaccard) else None
    num_tests = sum(ratio.p_adjusted is not None for ratio in ratios)
    num_draws = max((ratio.num_permutations for ratio in ratios), default=0)
    whole = [r for r in ratios if r.layer is None and r.part is None]
    immobile = {group.name: immobile_share(evidence, group.name) for group in groups}
    found = [
        cautions.few_seeds(evidence[0].num_seeds),
        cautions.few_permutations(num_tests, num_draws),
        cautions.shared_samples(num_shared),
        cautions.low_ceiling(groups[0].name, ceiling, num_samples),
        cautions.half_precision(study.loaded.identity.dtype),
        *(cautions.structural_zeros(name, share) for name, share in immobile.items()),
        *(
            cautions.few_weights(r.group, r.log_bias, r.num_weights, r.num_matrices)
            for r in whole
        ),
        *(cautions.dropped_bins(r.group, r.left_out) for r in whole),
        *_comparison_cautions(study, groups, [m.site for m in evidence if m.is_mobile]),
    ]
    return cautions.applying(found)


def read_cautions(
    study: Study, read: Sequence[CheckpointChanges], counted: ChangeCount
) -> tuple[Caution, ...]:
    """Say what was read of training, where that is not plain factors.

    Args:
        study: The model under study.
        read: What every training run had added at the tested step.
        counted: Sizes of the changes, over all matrices that hold a group.
    """
    first, dtype = read[0], study.loaded.identity.dtype
    half_types = dict.fromkeys(name for of_run in read for name in of_run.half_types)
    num_open = max(of_run.num_open for of_run in read)
    num_tuned = len(first.by_site)
    return cautions.applying(
        [
            reading_cautions.rounded_weights(tuple(half_types), counted.sizes()),
            reading_cautions.whole_matrices(first.num_whole, num_tuned),
            reading_cautions.dora(first.num_dora, num_tuned, num_open, dtype),
            reading_cautions.quantised_base(four_bit_kind(study.loaded.model)),
        ]
    )


def _comparison_cautions(
    study: Study, groups: Sequence[WeightGroup], mobile: Sequence[Site]
) -> list[Caution | None]:
    """Do the declared group and the others compare at all, weight by weight?"""
    declared = groups[0].name
    sizes = _sizes(study, groups, mobile)
    medians = dict(sizes.medians)
    modules = {g.name: {s.key: g.at(s).size for s in mobile} for g in groups}
    own_median, own_modules = medians.pop(declared, None), modules.pop(declared)
    return [
        cautions.tiny_weights(sizes.num_tiny),
        None
        if own_median is None
        else cautions.relative_change(declared, own_median, medians),
        cautions.module_mix(declared, own_modules, modules),
    ]


def _sizes(
    study: Study, groups: Sequence[WeightGroup], mobile: Sequence[Site]
) -> _Sizes:
    """One pass over the matrices: each is read once for all groups."""
    held: dict[str, list[np.ndarray]] = {group.name: [] for group in groups}
    num_tiny = 0
    for site in mobile:
        weight = effective_weight(study.loaded.model, site).abs().cpu().numpy()
        size = weight.reshape(-1)
        in_any = np.unique(np.concatenate([group.at(site) for group in groups]))
        num_tiny += int((size[in_any] <= SMALLEST_WEIGHT).sum())
        for group in groups:
            held[group.name].append(size[group.at(site)])
    whole = {name: np.concatenate([np.empty(0), *held[name]]) for name in held}
    return _Sizes(
        medians={n: float(np.median(size)) for n, size in whole.items() if size.size},
        num_tiny=num_tiny,
    )
