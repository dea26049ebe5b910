"""What would a change of the same size do if it were drawn at random?

Every matrix that tuning changed is changed by a random matrix of the same length
(square root of the sum of squares). What was trained is usually of low rank and the
random change is not, so it is a yardstick for size, and no model of training.
"""

from dataclasses import replace
from typing import cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from driftmap.core.errors import MeasureError, ModelError
from driftmap.core.places import Site
from driftmap.core.seeds import child_seed
from driftmap.families.matrices import (
    effective_weight,
    set_site_weight,
    site_module,
    site_weight,
)
from driftmap.load.model import LoadedModel
from driftmap.load.twin import twin
from driftmap.recipes.steps.comparing.pair import Pair

MOST_ROUNDED = 0.1
"""Share of its length by which a random change may be off once it is rounded."""

MOST_WEIGHTS = 2**29
"""Entries of all matrices of a model up to which a random change is made."""


def random_change(pair: Pair) -> LoadedModel:
    """Change the base's matrices at random, each as far as tuning has changed it.

    Args:
        pair: Both models; neither is touched.

    Returns:
        The changed model. What tuning left as it was shares the base's memory.

    Raises:
        MeasureError: The model is too large, its weights cannot be read or written, or
            are too coarse to be moved so little, or no matrix was changed.
    """
    sites = pair.base.layout.sites
    size = sum(site.shape[0] * site.shape[1] for site in sites)
    if size > MOST_WEIGHTS:
        raise MeasureError(
            f"its matrices hold {size:,} entries, more than the {MOST_WEIGHTS:,} up "
            "to which it is made"
        )
    changed = twin(cast(PreTrainedModel, pair.base.model))
    own: set[int] = set()
    try:
        for site in sites:
            before = effective_weight(pair.base.model, site)
            after = effective_weight(pair.tuned.model, site).to(before.device)
            length = float(torch.linalg.vector_norm(after - before))
            if length == 0:
                continue
            _unshare(site_module(changed, site), own)
            noise = _noise(site.shape, child_seed(pair.study.seed, "chance", site.key))
            moved = before + (length * noise).to(before.device)
            stored = site_weight(changed, site)
            set_site_weight(changed, site, moved.to(stored.dtype))
            _must_be_as_far(changed, site, before, length)
    except ModelError as error:
        raise MeasureError(f"a weight cannot be read or written ({error})") from error
    if not own:
        raise MeasureError("no matrix was changed")
    return replace(pair.base, model=changed)


def _must_be_as_far(
    changed: nn.Module, site: Site, before: Tensor, length: float
) -> None:
    """Refuse a random change that the weights' number type has rounded to another."""
    moved = float(torch.linalg.vector_norm(effective_weight(changed, site) - before))
    if abs(moved / length - 1) > MOST_ROUNDED:
        raise MeasureError(
            f"{site.key}: in the number type of its weights a random change of that "
            f"length is rounded to {moved / length:.2f} times it; give --dtype float32"
        )


def _unshare(module: nn.Module, own: set[int]) -> None:
    """Give a module's parameters memory of their own, once."""
    for parameter in module.parameters(recurse=False):
        if id(parameter) not in own:
            parameter.data = parameter.data.clone()
            own.add(id(parameter))


def _noise(shape: tuple[int, int], seed: int) -> Tensor:
    """A random matrix of length 1."""
    stream = torch.Generator().manual_seed(seed)
    noise = torch.randn(*shape, generator=stream)
    return noise / torch.linalg.vector_norm(noise)
