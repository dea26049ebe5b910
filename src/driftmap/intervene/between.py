"""What stands between a module of one model and the same module of another?

Either the tuned model's own module, wrapper and all; or its LoRA wrapper with another
scale; or the base's module with parameters that lie between.
"""

import copy
from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from driftmap.core.errors import ModelError
from driftmap.core.places import TensorPlace
from driftmap.families.modules import base_module, join
from driftmap.intervene.spots import (
    Lora,
    Rows,
    Spot,
    is_plain_lora,
    merged,
    own_parameters,
)


def mixed_module(spot: Spot, shares: Mapping[TensorPlace, float]) -> nn.Module | None:
    """The module that stands there instead of the base's.

    Args:
        spot: The module in both models.
        shares: Of its places that differ.

    Returns:
        None where the base's module stays and its parameters alone are others.
    """
    is_whole = all(share == 1 for share in shares.values())
    if is_whole and (spot.is_wrapped or not list(spot.tuned.children())):
        return spot.tuned
    if spot.is_wrapped and is_plain_lora(spot.tuned):
        return _scaled(spot, shares)
    return None


def mixed_parameters(
    spot: Spot, module: nn.Module, shares: Mapping[TensorPlace, float]
) -> dict[str, nn.Parameter]:
    """Parameters between those of the two, by what the module calls them.

    Args:
        spot: The module in both models.
        module: The base's, whose other parameters stay.
        shares: Of its places that differ.

    Raises:
        ModelError: They are quantised.
    """
    theirs = own_parameters(merged(spot.tuned) if spot.is_wrapped else spot.tuned)
    found: dict[str, nn.Parameter] = {}
    for name in dict.fromkeys(rows.name for rows in spot.changed):
        ours, tuned = module._parameters[name], theirs[name]
        assert ours is not None, name
        share = _share_of(spot, name, ours, shares)
        if isinstance(share, float) and share in (0.0, 1.0):
            found[name] = tuned if share else ours
            continue
        if not (ours.is_floating_point() and tuned.is_floating_point()):
            raise ModelError(
                f"{join(spot.path, name)}: it is kept as {ours.dtype}, and nothing is "
                "known to lie between two such weights; load both models in float32 "
                "or bfloat16"
            )
        found[name] = nn.Parameter(_between(ours, tuned, share), requires_grad=False)
    return found


def _scaled(spot: Spot, shares: Mapping[TensorPlace, float]) -> nn.Module:
    """The wrapper with another scale, or another one for each of its rows."""
    wrapper = copy.copy(spot.tuned)
    wrapper.__dict__["_modules"] = dict(spot.tuned._modules)
    layer = cast(Lora, wrapper)
    share = _one_share(spot, "weight", shares)
    if share is not None:
        layer.scaling = {name: one * share for name, one in layer.scaling.items()}
    else:
        weight = [rows for rows in spot.changed if rows.name == "weight"]
        wrapper._modules["lora_B"] = _rows_scaled(spot.tuned, weight, shares)
    wrapper._modules["base_layer"] = _inner(spot, shares)
    return wrapper


def _rows_scaled(
    wrapper: nn.Module, weight: Sequence[Rows], shares: Mapping[TensorPlace, float]
) -> nn.ModuleDict:
    found: dict[str, nn.Module] = {}
    for name, up in cast(Lora, wrapper).lora_B.items():
        scale = torch.zeros(up.weight.shape[0], dtype=up.weight.dtype)
        for rows in weight:
            scale[slice(None) if rows.rows is None else rows.rows.rows()] = shares[
                rows.place
            ]
        scaled = copy.copy(up)
        scaled.__dict__["_parameters"] = {
            key: None
            if value is None
            else nn.Parameter(
                value * scale.to(value.device).view(-1, *[1] * (value.ndim - 1)),
                requires_grad=False,
            )
            for key, value in up._parameters.items()
        }
        found[name] = scaled
    return nn.ModuleDict(found)


def _inner(spot: Spot, shares: Mapping[TensorPlace, float]) -> nn.Module:
    """What a wrapper wraps, with biases and the like that lie between."""
    inner = base_module(spot.tuned)
    ours, theirs = own_parameters(spot.base), own_parameters(inner)
    names = [name for name in ours if ours[name].data_ptr() != theirs[name].data_ptr()]
    made = copy.copy(inner)
    made.__dict__["_parameters"] = dict(inner._parameters)
    for name in names:
        share = _share_of(spot, name, ours[name], shares)
        mixed = _between(ours[name], theirs[name], share)
        made._parameters[name] = nn.Parameter(mixed, requires_grad=False)
    return made


def _share_of(
    spot: Spot,
    name: str,
    parameter: Tensor,
    shares: Mapping[TensorPlace, float],
) -> float | Tensor:
    """One share where all rows have the same; else one for every entry."""
    share = _one_share(spot, name, shares)
    if share is not None:
        return share
    entries = torch.zeros(parameter.shape, dtype=torch.float64, device=parameter.device)
    for rows in spot.changed:
        if rows.name == name:
            rows.fill(entries, shares[rows.place])
    return entries


def _one_share(
    spot: Spot, name: str, shares: Mapping[TensorPlace, float]
) -> float | None:
    """The share of all rows of a parameter that differ; None where they are several."""
    each = {float(shares[r.place]) for r in spot.changed if r.name == name}
    return each.pop() if len(each) == 1 else 0.0 if not each else None


def _between(base: Tensor, tuned: Tensor, share: float | Tensor) -> Tensor:
    """`base + share (tuned - base)`, rounded once; 0 and 1 give the two themselves."""
    tuned = tuned.to(base.device)
    wide = base.double()
    mixed = (wide + share * (tuned.double() - wide)).to(base.dtype)
    at = torch.as_tensor(share, device=base.device)
    return torch.where(at == 0, base, torch.where(at == 1, tuned.to(base.dtype), mixed))
