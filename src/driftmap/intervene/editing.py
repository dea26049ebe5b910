"""How are entries of matrices replaced for a while and put back bit by bit?

On an adapted model it is the effective weight W + dW that is edited. Where a matrix
is edited, its adapter is taken into the weight and switched off meanwhile, since
`(W + d) - d` is not W: what is set to zero is then exactly zero. The sum is rounded
once to the model's number type, as merging would.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Protocol, TypeAlias, cast, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from driftmap.core.errors import MeasureError, ModelError
from driftmap.core.places import Site, canonical_order
from driftmap.families.discover import find_layout
from driftmap.families.matrices import (
    effective_weight,
    set_site_weight,
    site_module,
    site_weight,
)
from driftmap.families.modules import base_module
from driftmap.intervene.regions import Region, Regions

Edit: TypeAlias = Callable[[Site, Tensor], Tensor]
"""Takes a site and its weight `[row column]`, gives new values of the same shape; only
those of the region are used. The weight itself must stay as it is."""


@runtime_checkable
class _Switched(Protocol):
    """What PEFT's wrapper of a linear map offers."""

    _disable_adapters: bool
    active_adapters: list[str]
    lora_B: Mapping[str, nn.Linear]  # noqa: N815


@contextmanager
def edited(model: nn.Module, regions: Regions, edit: Edit) -> Iterator[None]:
    """Replace entries for as long as the block runs; also an error puts them back.

    Args:
        model: With or without PEFT adapters.
        regions: What is replaced, by matrix.
        edit: Gives the new values.

    Raises:
        FamilyError: A site is not of this model.
        ModelError: A weight is quantised or not in memory, or its adapter cannot be
            taken into it.
        MeasureError: A new value is not finite, or a region is outside its matrix.
    """
    ordered = sorted(regions, key=canonical_order)
    with ExitStack() as undo:
        undo.enter_context(adapters_taken_in(model, ordered))
        for site in ordered:
            undo.enter_context(_written(model, site, regions[site], edit))
        yield


@contextmanager
def adapters_taken_in(model: nn.Module, sites: Sequence[Site]) -> Iterator[None]:
    """Have adapters in the weights themselves for as long as the block runs.

    Args:
        model: With or without PEFT adapters.
        sites: Matrices whose adapters are taken in.

    Raises:
        ModelError: An adapter cannot be taken in.
    """
    with ExitStack() as undo:
        for path in dict.fromkeys(site.path for site in _adapted(model, sites)):
            undo.enter_context(_adapter_taken_in(model, path))
        yield


def change_norms(model: nn.Module, regions: Regions, edit: Edit) -> dict[Site, float]:
    """Frobenius norm of what an edit would change, by matrix; nothing is changed.

    Args:
        model: With or without PEFT adapters.
        regions: What would be replaced.
        edit: Gives the new values.
    """
    norms: dict[Site, float] = {}
    for site in sorted(regions, key=canonical_order):
        weight = current_weight(model, site)
        mask = regions[site].mask(site, weight.device)
        change = edit(site, weight).double()[mask] - weight.double()[mask]
        norms[site] = float(change.norm())
    return norms


def of_equal_norm(edit: Edit, regions: Regions, norms: Mapping[Site, float]) -> Edit:
    """Stretch what an edit changes to given Frobenius norms, matrix by matrix.

    Args:
        edit: The edit; where it changes nothing, nothing is stretched.
        regions: Where it is used.
        norms: From `change_norms` of the edit to compare with.
    """

    def stretched(site: Site, weight: Tensor) -> Tensor:
        mask = regions[site].mask(site, weight.device)
        before = weight.double()
        change = (edit(site, weight).double() - before).masked_fill(~mask, 0)
        own = float(change.norm())
        return before + change * (norms[site] / own) if own else before

    return stretched


def current_weight(model: nn.Module, site: Site) -> Float[Tensor, "row column"]:
    """What the forward pass multiplies by: W + dW where an adapter is at work."""
    if _is_adapted(model, site):
        return effective_weight(model, site)
    return site_weight(model, site)


def _is_adapted(model: nn.Module, site: Site) -> bool:
    module = site_module(model, site)
    if base_module(module) is module:
        return False
    return not getattr(module, "disable_adapters", False)


def _adapted(model: nn.Module, sites: Sequence[Site]) -> list[Site]:
    return [site for site in sites if _is_adapted(model, site)]


@contextmanager
def _adapter_taken_in(model: nn.Module, path: str) -> Iterator[None]:
    """Add dW to a module's whole weight, and switch its adapters off."""
    sites = [site for site in find_layout(model).sites if site.path == path]
    module = cast(_Switched, site_module(model, sites[0]))
    _refuse_bias(module, path)
    before = {site: site_weight(model, site).clone() for site in sites}
    whole = {site: effective_weight(model, site) for site in sites}
    try:
        module._disable_adapters = True
        for site, weight in whole.items():
            set_site_weight(model, site, weight.to(before[site].dtype))
        yield
    finally:
        module._disable_adapters = False
        for site, weight in before.items():
            set_site_weight(model, site, weight)


def _refuse_bias(module: _Switched, path: str) -> None:
    for name in module.active_adapters:
        if name in module.lora_B and module.lora_B[name].bias is not None:
            raise ModelError(
                f"{path}: adapter {name} has a bias of its own, which would be lost "
                "with it; merge the adapter and load the merged model"
            )


@contextmanager
def _written(
    model: nn.Module, site: Site, region: Region, edit: Edit
) -> Iterator[None]:
    """Replace entries of one matrix; only they are kept to be put back."""
    weight = site_weight(model, site)
    mask = region.mask(site, weight.device)
    values = edit(site, weight).to(weight.dtype)
    if not bool(torch.isfinite(values[mask]).all()):
        raise MeasureError(
            f"{site.key}: a new value is not finite in {weight.dtype}; change less, "
            "or load the model in float32"
        )
    kept = weight[mask]
    try:
        set_site_weight(model, site, torch.where(mask, values, weight))
        del weight, mask, values
        yield
    finally:
        weight = site_weight(model, site)
        mask = region.mask(site, weight.device)
        set_site_weight(model, site, weight.masked_scatter(mask, kept))
