"""Which numbers of a drift study must be read with care?"""

from collections.abc import Sequence

import numpy as np

from driftmap.families.matrices import effective_weight
from driftmap.recipes.steps.bench import Study
from driftmap.results.drift import POOLED_LAYER, SMALLEST_WEIGHT
from driftmap.results.groups import WeightGroup
from driftmap.results.statistics import Caution, GroupRatio
from driftmap.results.table import Table
from driftmap.stats import cautions


def study_cautions(
    study: Study,
    groups: Sequence[WeightGroup],
    drift: Table,
    ratios: Sequence[GroupRatio],
    num_shared: int,
) -> tuple[Caution, ...]:
    """Gather the cautions that apply to a study.

    Args:
        study: The model under study.
        groups: All groups, the declared one first.
        drift: Rows of the drift table at the tested step.
        ratios: All ratios, the declared one first.
        num_shared: Rows that both scoring and evaluation have seen.
    """
    declared, others = groups[0], groups[1:]
    sizes = {group.name: _median_size(study, group) for group in groups}
    modules = {group.name: _per_module(group) for group in groups}
    num_tests = sum(r.p_value is not None and not r.is_primary for r in ratios)
    found = [
        cautions.few_seeds(len(ratios[0].thetas)),
        cautions.few_permutations(num_tests, ratios[0].num_permutations),
        cautions.shared_samples(num_shared),
        cautions.dropped_bins(declared.name, ratios[0].left_out),
        cautions.tiny_weights(sum(_num_tiny(study, group) for group in groups)),
        *(
            cautions.structural_zeros(group.name, _immobile_share(drift, group.name))
            for group in groups
        ),
        *(
            cautions.relative_change(
                declared.name, other.name, sizes[declared.name], sizes[other.name]
            )
            for other in others
        ),
        *(
            cautions.module_mix(
                declared.name, other.name, modules[declared.name], modules[other.name]
            )
            for other in others
        ),
    ]
    return cautions.applying(found)


def _weights(study: Study, group: WeightGroup) -> list[np.ndarray]:
    """|W0| of the group's weights, matrix by matrix."""
    model = study.loaded.model
    return [
        np.abs(effective_weight(model, site).float().cpu().numpy().reshape(-1)[index])
        for site, index in group.members.items()
    ]


def _median_size(study: Study, group: WeightGroup) -> float:
    sizes = np.concatenate([np.empty(0), *_weights(study, group)])
    return float(np.median(sizes)) if sizes.size else 0.0


def _num_tiny(study: Study, group: WeightGroup) -> int:
    return sum(int((w <= SMALLEST_WEIGHT).sum()) for w in _weights(study, group))


def _per_module(group: WeightGroup) -> dict[str, int]:
    return {site.key: index.size for site, index in group.members.items()}


def _immobile_share(drift: Table, group: str) -> float:
    rows = drift.where(
        layer=POOLED_LAYER, group=group, unit="weight", metric="absolute"
    )
    immobile, mobile = rows["immobile"].sum(), rows["count"].sum()
    return float(immobile / max(1, immobile + mobile))
