"""What happens to a model without some weights, or with other values in their place?

Every function is a context manager: inside the block the model is changed, after it,
also after an error, every bit is as before. A target is a group of weights, or regions
(rows, columns, heads, neurons, matrices, layers).
"""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from driftmap.core.places import Site
from driftmap.core.seeds import child_seed
from driftmap.intervene.editing import Edit, edited
from driftmap.intervene.regions import Regions, Target, all_but, regions_of

WeightOf = Callable[[Site], Float[Tensor, "row column"]]
"""Gives the matrix of a site, from another model say."""

NoiseKind = Literal["gaussian", "shuffle"]


def zero(model: nn.Module, target: Target) -> AbstractContextManager[None]:
    """Set weights to zero.

    Args:
        model: With or without PEFT adapters; with, W + dW is zero.
        target: Which weights.
    """
    return edited(model, regions_of(target), zeros())


def keep_only(
    model: nn.Module, target: Target, sites: Iterable[Site]
) -> AbstractContextManager[None]:
    """Set all weights of some matrices to zero but these.

    Args:
        model: With or without PEFT adapters.
        target: The weights that stay.
        sites: The matrices, as a rule all that are scored.

    Raises:
        MeasureError: The target lies outside them.
    """
    return edited(model, all_but(target, sites), zeros())


def scale(
    model: nn.Module, target: Target, factor: float
) -> AbstractContextManager[None]:
    """Multiply weights by a factor.

    Args:
        model: With or without PEFT adapters.
        target: Which weights.
        factor: 1 changes nothing, 0 is `zero`, -1 turns signs.
    """
    return edited(model, regions_of(target), scaled(factor))


def restore(
    model: nn.Module, target: Target, base: WeightOf
) -> AbstractContextManager[None]:
    """Give weights the values they have in another model, as before tuning.

    Args:
        model: With or without PEFT adapters; with, W + dW becomes the base's W.
        target: Which weights.
        base: Gives the other model's matrix of a site.
    """
    return edited(model, regions_of(target), taken_from(base))


def noise(
    model: nn.Module, target: Target, seed: int, kind: NoiseKind = "gaussian"
) -> AbstractContextManager[None]:
    """Disturb weights at random, matrix by matrix.

    Args:
        model: With or without PEFT adapters.
        target: Which weights.
        seed: Same seed, same noise, in whatever order matrices are visited.
        kind: `gaussian` adds noise with the standard deviation of the target's own
            values in that matrix; `shuffle` puts these values into another order.
    """
    regions = regions_of(target)
    return edited(model, regions, disturbed(regions, seed, kind))


def zeros() -> Edit:
    """Nothing but zeros."""
    return lambda site, weight: torch.zeros_like(weight)


def scaled(factor: float) -> Edit:
    """Every value times a factor, rounded once."""
    return lambda site, weight: weight.double() * factor


def taken_from(base: WeightOf) -> Edit:
    """The values of another model."""
    return lambda site, weight: base(site).to(weight.device)


def disturbed(regions: Regions, seed: int, kind: NoiseKind) -> Edit:
    """Values with noise, or in another order; see `noise`."""

    def disturb(site: Site, weight: Tensor) -> Tensor:
        mask = regions[site].mask(site, weight.device)
        values = weight[mask].double()
        draw = np.random.default_rng(child_seed(seed, "noise", kind, site.key))
        if kind == "shuffle":
            order = torch.from_numpy(draw.permutation(len(values)))
            values = values[order.to(values.device)]
        elif len(values):
            spread = values.std(correction=0)
            drawn = torch.from_numpy(draw.standard_normal(len(values)))
            values = values + spread * drawn.to(values.device)
        return weight.double().masked_scatter(mask, values)

    return disturb
