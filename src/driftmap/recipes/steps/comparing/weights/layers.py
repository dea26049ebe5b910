"""How far did each layer move at one checkpoint, and nothing more than that?"""

from collections.abc import Mapping

import torch

from driftmap.families.matrices import site_weight
from driftmap.measure.drift import matrix_moments
from driftmap.recipes.steps.comparing.pair import Pair
from driftmap.recipes.steps.tuning.checkpoints import changes_at


def drift_by_layer(pair: Pair, step: int) -> Mapping[int, float]:
    """`|dW| / |W|` over all matrices of each layer, at one of the checkpoints.

    Args:
        pair: The two models; only files of what was made of the base are read.
        step: One of the steps of `pair.run.checkpoints`.

    Returns:
        Layer, from 0 -> the ratio; 0 where nothing moved.

    Raises:
        ModelError: The checkpoint is broken or of another model.
    """
    changes = changes_at(pair.study, pair.run.checkpoints, step).by_site
    moved: dict[int, float] = {}
    whole: dict[int, float] = {}
    for site in pair.base.layout.sites:
        weight = site_weight(pair.base.model, site)
        size = float(torch.linalg.vector_norm(weight.double())) ** 2
        whole[site.layer] = whole.get(site.layer, 0.0) + size
        moved.setdefault(site.layer, 0.0)
        if site in changes:
            moments = matrix_moments(weight, changes[site]).rows.total()
            moved[site.layer] += float(moments.change[0])
    return {
        layer: (moved[layer] / size) ** 0.5 if size else 0.0
        for layer, size in whole.items()
    }
