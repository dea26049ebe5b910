"""Where does a mixture-of-experts model keep its experts, and what chooses them?

By structure: a bank is a module whose parameters share an axis of experts, or the
experts below each other in one matrix, or a list of equal modules called experts. Only
names and shapes are looked at, so a model on the meta device will do.
"""

import inspect
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from torch import nn

from driftmap.core.errors import FamilyError
from driftmap.core.places import BankPlace
from driftmap.families.expert_layouts import (
    fused_tensors,
    listed_tensors,
    packed_tensors,
)
from driftmap.families.expert_refusals import no_banks, refuse_bank, refuse_model_type
from driftmap.families.expert_spec import ExpertBank, ExpertTensor, Layout, Router
from driftmap.families.modules import base_model, base_module, own_modules
from driftmap.families.routers import (
    RouterClass,
    find_router,
    num_chosen,
    router_classes,
)

_COUNTS = ("num_routed_experts", "num_experts", "moe_num_experts", "num_local_experts")
_LAYER = re.compile(r"(?:^|\.)(?:layers|blocks|h)\.(\d+)(?:\.|$)")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    path: str
    module: nn.Module
    layout: Layout
    num_experts: int


def find_experts(model: nn.Module) -> tuple[ExpertBank, ...]:
    """Find every bank of routed experts of a language model, in model order.

    Args:
        model: With or without adapters, on any device, the meta device too.

    Raises:
        FamilyError: The model has no experts, or a bank of it cannot be read.
    """
    base = base_model(model)
    refuse_model_type(base)
    classes = router_classes(base)
    banks = [_bank(base, found, classes) for found in _banks(base)]
    routed = tuple(bank for bank in banks if bank is not None)
    if not routed:
        raise no_banks(base)
    return routed


def _banks(base: nn.Module) -> Iterator[_Found]:
    inside: list[str] = []
    for path, module in own_modules(base):
        if any(path.startswith(f"{bank}.") for bank in inside):
            continue
        inner = base_module(module)
        found = _as_bank(path, inner)
        if found is not None or _is_called_experts(path, inner):
            refuse_bank(path, module)
        if found is not None:
            inside.append(path)
            yield found


def _is_called_experts(path: str, module: nn.Module) -> bool:
    named = path.rpartition(".")[2] == "experts"
    return named or type(module).__name__.endswith("Experts")


def _as_bank(path: str, module: nn.Module) -> _Found | None:
    kind = type(module).__name__
    own = [parameter for _, parameter in module.named_parameters(recurse=False)]
    cubes = [parameter for parameter in own if parameter.ndim == 3]
    layout: Literal["fused", "packed", "listed"]
    if len(cubes) > 1:
        layout, number = "fused", min(len(parameter) for parameter in cubes)
    elif kind.endswith("Experts") and (count := _count(module)) is not None:
        layout, number = "packed", count
    elif path.rpartition(".")[2] == "experts" and _are_alike(module):
        layout, number = "listed", len(module._modules)
    else:
        return None
    return _Found(path=path, module=module, layout=layout, num_experts=number)


def _are_alike(module: nn.Module) -> bool:
    members = list(module.children())
    return len(members) > 1 and len({type(member) for member in members}) == 1


def _count(module: nn.Module) -> int | None:
    for name in _COUNTS:
        count = getattr(module, name, None)
        if isinstance(count, int):
            return count
    return None


def _bank(
    base: nn.Module, found: _Found, classes: Iterable[RouterClass]
) -> ExpertBank | None:
    if "shared" in found.path.rpartition(".")[2]:
        return None
    router = find_router(base, found.path, found.num_experts, classes)
    if router is None:
        return None
    return ExpertBank(
        place=_place(base, found, router),
        tensors=_tensors(found),
        router=router,
        members=tuple(found.module._modules) if found.layout == "listed" else (),
        switchable=hasattr(found.module, "_is_expert_parallel"),
        told_choice=_is_told(found),
        shared=tuple(_shared(base, found.path)),
    )


def _place(base: nn.Module, found: _Found, router: Router) -> BankPlace:
    layer = _LAYER.search(found.path)
    if layer is None:
        raise FamilyError(f"{found.path}: its path does not tell which layer it is of")
    chosen = num_chosen(base, found.path, router)
    if chosen is None:
        raise FamilyError(
            f"{found.path}: nothing around it says how many experts a token gets"
        )
    return BankPlace(
        path=found.path,
        layer=int(layer[1]),
        num_experts=found.num_experts,
        num_chosen=chosen,
    )


def _tensors(found: _Found) -> tuple[ExpertTensor, ...]:
    if found.layout == "fused":
        return fused_tensors(found.module, found.path, found.num_experts)
    if found.layout == "packed":
        return packed_tensors(found.module, found.path, found.num_experts)
    first = next(iter(found.module._modules.values()))
    assert first is not None
    return listed_tensors(first, found.path)


def _is_told(found: _Found) -> bool:
    """Whether its forward takes states, choice and weights, and nothing else."""
    if found.layout == "listed" and type(found.module).forward is nn.Module.forward:
        return False
    return len(inspect.signature(found.module.forward).parameters) == 3


def _shared(base: nn.Module, bank: str) -> Iterator[str]:
    holder = bank.rpartition(".")[0]
    for name, module in base.get_submodule(holder).named_children():
        is_gate = name.endswith("gate")
        if "shared" in name and not is_gate and any(True for _ in module.parameters()):
            yield f"{holder}.{name}"
