"""How is the matrix of a site read, with or without its adapters, and written?

Every matrix comes as `[row column]` = `[out in]`: turned where the model stores the
transpose, cut where it shares a module with other parts or with other experts.
"""

from collections.abc import Iterator
from typing import Protocol, cast

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64
from torch import Tensor, nn

from driftmap.core.errors import FamilyError, ModelError
from driftmap.core.places import Site
from driftmap.families.masked import MaskedLora
from driftmap.families.modules import (
    base_model,
    base_module,
    is_linear_map,
    is_transposed,
    map_shape,
)
from driftmap.families.quantised import is_four_bit_map, rounded_weight


class _LoraLayer(Protocol):
    """What PEFT's LoRA wrapper of a linear map offers."""

    base_layer: nn.Module
    lora_A: dict[str, nn.Linear]  # noqa: N815
    lora_B: dict[str, nn.Linear]  # noqa: N815
    lora_variant: dict[str, object]
    scaling: dict[str, float]
    active_adapters: list[str]
    merged_adapters: list[str]
    disable_adapters: bool


def site_module(model: nn.Module, site: Site) -> nn.Module:
    """The module to tap for a site: the adapter's wrapper where there is one.

    Raises:
        FamilyError: The model has no such module, or one of another shape.
    """
    try:
        module = base_model(model).get_submodule(site.path)
    except AttributeError:
        raise FamilyError(
            f"{site.key}: the model has no module {site.path}; "
            "was the site found in another model?"
        ) from None
    if site.tensor is not None:
        _require_tensor(module, site)
        return module
    if not is_linear_map(module):
        raise FamilyError(
            f"{site.key}: {site.path} is a {type(module).__name__}, no linear map; "
            "was the site found in another model?"
        )
    num_rows, num_columns = map_shape(module)
    rows = range(num_rows) if site.split is None else site.split.rows()
    fits = len(rows) == site.num_rows and rows[-1] < num_rows
    if not fits or num_columns != site.num_columns:
        raise FamilyError(
            f"{site.key}: the model's module is {[num_rows, num_columns]} [out in], "
            f"the site asks for {list(site.shape)}; was it found in another model?"
        )
    return module


def site_weight(model: nn.Module, site: Site) -> Float[Tensor, "row column"]:
    """The base weight of a site in the model's own dtype; often a view of it.

    Of a 4-bit map it is what the map computes with: the rounded weight.

    Args:
        model: With or without PEFT adapters, which are looked through.
        site: One of the model's sites.

    Returns:
        The matrix without gradient, on the model's device. Clone it to keep it.

    Raises:
        FamilyError: The site is not of this model.
        ModelError: The weight is in 8 bits, not in memory, or has an adapter merged
            into it.
    """
    module = site_module(model, site)
    _refuse_merged(module, site)
    return _cut(_stored(module, site), site)


def set_site_weight(
    model: nn.Module, site: Site, values: Float[Tensor, "row column"]
) -> None:
    """Overwrite the base weight of a site in place, and nothing beside it.

    Args:
        model: With or without PEFT adapters, which stay as they are.
        site: One of the model's sites.
        values: New entries in the model's own dtype; any device.

    Raises:
        FamilyError: The site is not of this model.
        ModelError: As for `site_weight`, the map is 4-bit, or `values` has another
            shape or dtype.
    """
    module = site_module(model, site)
    _refuse_merged(module, site)
    if is_four_bit_map(module):
        raise ModelError(
            f"{site.key}: the weight is kept in 4 bits, which hold no other values; "
            "load the model in float32 or bfloat16"
        )
    stored = _stored(module, site)
    if values.shape != site.shape or values.dtype != stored.dtype:
        raise ModelError(
            f"{site.key}: got {values.dtype} values of shape {list(values.shape)}, "
            f"needs {stored.dtype} and {list(site.shape)}"
        )
    with torch.no_grad():
        if site.split is None:
            stored.copy_(values)
        else:
            rows = torch.tensor(site.split.rows(), device=stored.device)
            stored[rows] = values.to(stored.device)


def effective_weight(model: nn.Module, site: Site) -> Float32[Tensor, "row column"]:
    """The weight that the forward pass uses: W + dW of the active LoRA adapters.

    Args:
        model: With or without PEFT adapters; merged ones are in W already.
        site: One of the model's sites.

    Returns:
        A copy in float32, in which the sum is taken too.

    Raises:
        FamilyError: The site is not of this model.
        ModelError: The weight cannot be read, or the adapter is not plain LoRA.
    """
    module = site_module(model, site)
    if getattr(module, "disable_adapters", False):
        _refuse_merged(module, site)
    weight = _cut(_stored(module, site), site).to(torch.float32, copy=True)
    for delta in _deltas(module, site):
        weight += delta.to(weight.device)
    return weight


def site_parameter(module: nn.Module, site: Site) -> nn.Parameter:
    """The whole parameter that holds a router's or an expert's matrix.

    Args:
        module: That of the site.
        site: A site that names its tensor.
    """
    assert site.tensor is not None
    return base_module(_holder(module, site)).get_parameter(
        site.tensor.rpartition(".")[2]
    )


def parameter_entries(
    site: Site, index: Int64[np.ndarray, " _"]
) -> Int64[np.ndarray, " _"]:
    """Places of a router's or an expert's weights in the parameter that holds them.

    Args:
        site: A site that names its tensor.
        index: Flat indices in the site's own matrix.

    Returns:
        Flat indices in the parameter as it is stored.

    >>> site = Site(path="b.0.experts", layer=0, part="down", num_rows=2,
    ...             num_columns=3, transposed=True, expert=1, tensor="down_proj")
    >>> parameter_entries(site, np.array([0, 1])).tolist()
    [6, 8]
    """
    blocks = site.split
    num_rows = site.num_rows if blocks is None else blocks.stride * blocks.count
    rows, columns = np.divmod(index, site.num_columns)
    if blocks is not None:
        rows = np.asarray(blocks.rows(), dtype=np.int64)[rows]
    if site.transposed:
        flat = columns * num_rows + rows
    else:
        flat = rows * site.num_columns + columns
    return flat + (site.expert or 0) * num_rows * site.num_columns


def _holder(module: nn.Module, site: Site) -> nn.Module:
    """The module whose own parameter it is, or the adapter around it."""
    path = (site.tensor or "").rpartition(".")[0]
    return base_module(module).get_submodule(path) if path else module


def _require_tensor(module: nn.Module, site: Site) -> None:
    try:
        shape = tuple(site_parameter(module, site).shape)
    except AttributeError:
        raise FamilyError(
            f"{site.key}: {site.path} has no tensor {site.tensor}; "
            "was the site found in another model?"
        ) from None
    blocks = site.split
    num_rows = site.num_rows if blocks is None else blocks.stride * blocks.count
    wanted = (num_rows, site.num_columns)
    wanted = wanted[::-1] if site.transposed else wanted
    experts = shape[:-2]
    known = not experts if site.expert is None else (site.expert,) < experts
    if shape[-2:] != wanted or not known or len(experts) > 1:
        raise FamilyError(
            f"{site.key}: the model's {site.tensor} is {list(shape)}, the site asks "
            f"for {list(wanted)}; was it found in another model?"
        )


def _stored(module: nn.Module, site: Site) -> Tensor:
    """The whole stored matrix as an `[out in]` view; a copy where it is 4-bit."""
    if is_four_bit_map(module):
        return rounded_weight(module, site.key)
    if site.tensor is None:
        weight = cast(Tensor, base_module(module).weight).detach()
    else:
        weight = site_parameter(module, site).detach()
    if weight.is_meta:
        raise ModelError(
            f"{site.key}: the weight is not in memory (offloaded, or on the meta "
            "device); load the model onto its device first"
        )
    if not weight.is_floating_point():
        raise ModelError(
            f"{site.key}: the weight is kept as {weight.dtype}; quantised weights "
            "have no coordinates, so load the model in float32, bfloat16 or float16"
        )
    if site.tensor is None:
        return weight.T if is_transposed(module) else weight
    if site.expert is not None:
        weight = weight[site.expert]
    return weight.T if site.transposed else weight


def _cut(matrix: Tensor, site: Site) -> Tensor:
    if site.split is None:
        return matrix
    if site.split.count == 1:
        return matrix.narrow(0, site.split.start, site.split.length)
    return matrix[torch.tensor(site.split.rows(), device=matrix.device)]


def _refuse_merged(module: nn.Module, site: Site) -> None:
    if merged := getattr(module, "merged_adapters", None):
        raise ModelError(
            f"{site.key}: adapter {', '.join(merged)} is merged into the weight; "
            "call `unmerge_adapter()` on the model first"
        )


def _deltas(module: nn.Module, site: Site) -> Iterator[Tensor]:
    if site.tensor is not None:
        _refuse_adapted(module, site)
        return
    if base_module(module) is module:
        return
    layer = cast(_LoraLayer, module)
    _check_plain_lora(module, site)
    if layer.disable_adapters or layer.merged_adapters:
        return
    for name in layer.active_adapters:
        if name in layer.lora_A:
            up = layer.lora_B[name].weight.detach().float()
            down = layer.lora_A[name].weight.detach().float()
            masked = layer.lora_variant.get(name)
            if isinstance(masked, MaskedLora):
                yield _cut(masked.change(down, up, layer.scaling[name]), site)
            else:
                yield (_cut(up, site) @ down) * layer.scaling[name]


def _refuse_adapted(module: nn.Module, site: Site) -> None:
    for holder in (module, _holder(module, site)):
        if base_module(holder) is not holder:
            raise ModelError(
                f"{site.key}: it is not known what an adapter adds to a router or a "
                "bank of experts; merge it and load the merged model"
            )


def _check_plain_lora(module: nn.Module, site: Site) -> None:
    layer = cast(_LoraLayer, module)
    nested = getattr(module, "base_layer", None) is not base_module(module)
    variants = getattr(layer, "lora_variant", {}).values()
    odd = any(not isinstance(variant, MaskedLora) for variant in variants)
    if nested or not hasattr(module, "lora_A") or odd:
        kind = type(module)
        raise ModelError(
            f"{site.key}: its adapter ({kind.__module__}.{kind.__name__}) is not "
            "plain LoRA, so what it adds to the weight is not known; merge it and "
            "load the merged model"
        )
