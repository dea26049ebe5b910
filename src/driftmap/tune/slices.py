"""How do experts and routers leave a model, and how do they come back bit for bit?

They are kept under the names of the model's files. Values go out as bytes and come back
into the same memory, so that leaves and hooks on it stay valid.
"""

from collections.abc import Mapping, Sequence
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from driftmap.core.errors import ModelError
from driftmap.core.places import ExpertPlace
from driftmap.families.expert_names import hub_pieces, hub_router_names, hub_views
from driftmap.families.expert_spec import ExpertBank
from driftmap.results.expert_tuning import KeptSlice, KeptTensor, ModelSlices
from driftmap.tune.masters import KeptMasters

_TYPES: Mapping[torch.dtype, str] = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.bfloat16: "BF16",
    torch.float16: "F16",
}
_NUMBERS: Mapping[str, torch.dtype] = {name: dtype for dtype, name in _TYPES.items()}


def take_experts(
    model: nn.Module, banks: Sequence[ExpertBank], experts: Sequence[ExpertPlace]
) -> tuple[KeptSlice, ...]:
    """Copy experts out of a model.

    Args:
        model: Without adapters.
        banks: All its banks.
        experts: Which; those of one bank come together.

    Raises:
        FamilyError: The model's files do not keep experts apart.
    """
    return tuple(
        KeptSlice(
            path=expert.path,
            layer=expert.layer,
            expert=expert.expert,
            tensors={name: _kept(view) for name, view in views.items()},
        )
        for expert, views in _views(model, banks, experts).items()
    )


def take_routers(
    model: nn.Module, banks: Sequence[ExpertBank]
) -> tuple[KeptSlice, ...]:
    """Copy what alignment may move of every bank's router out of a model."""
    return tuple(
        KeptSlice(
            path=bank.router.path,
            layer=bank.place.layer,
            expert=None,
            tensors={name: _kept(p) for name, p in _of_router(model, bank).items()},
        )
        for bank in banks
    )


def put_slices(
    model: nn.Module, banks: Sequence[ExpertBank], slices: ModelSlices
) -> None:
    """Write experts and routers into a model, in place.

    Raises:
        ModelError: The model lacks one, or has it in another shape or number type;
            nothing is written then.
    """
    experts = [
        ExpertPlace(path=one.path, layer=one.layer, expert=one.expert)
        for one in slices.slices
        if one.expert is not None
    ]
    there = {place.key: views for place, views in _views(model, banks, experts).items()}
    there |= {bank.router.path: _of_router(model, bank) for bank in banks}
    work = []
    for one in slices.slices:
        views = there.get(one.key, {})
        for name, kept in one.tensors.items():
            work.append((_fitting(one, name, kept, views), kept))
    with torch.no_grad():
        for view, kept in work:
            view.copy_(_tensor(kept))


def kept_masters(masters: KeptMasters) -> dict[str, KeptTensor]:
    """What a round's masters are as bytes, by name."""
    return {name: _kept(master) for name, master in masters.items()}


def masters_of(kept: Mapping[str, KeptTensor]) -> KeptMasters:
    """The masters again, on the host."""
    return {name: _tensor(one) for name, one in kept.items()}


def _views(
    model: nn.Module, banks: Sequence[ExpertBank], experts: Sequence[ExpertPlace]
) -> dict[ExpertPlace, Mapping[str, Tensor]]:
    """Views of experts under the names of files; none of those that are not there."""
    found: dict[ExpertPlace, Mapping[str, Tensor]] = {}
    for bank in banks:
        there = set(bank.experts)
        own = [expert for expert in experts if expert in there]
        if own:
            pieces = hub_pieces(model, bank)
            for expert in own:
                found[expert] = hub_views(model, bank, pieces, expert.expert)
    return found


def _of_router(model: nn.Module, bank: ExpertBank) -> dict[str, Tensor]:
    names = hub_router_names(model, bank.router)
    return {there: model.get_parameter(name).detach() for name, there in names.items()}


def _fitting(
    one: KeptSlice, name: str, kept: KeptTensor, views: Mapping[str, Tensor]
) -> Tensor:
    if name not in views:
        raise ModelError(
            f"{one.key}: the model has no {name}; were the slices kept from another "
            "model?"
        )
    view = views[name]
    found = _TYPES.get(view.dtype, str(view.dtype)), tuple(view.shape)
    if found != (kept.dtype, kept.shape):
        raise ModelError(
            f"{name}: the model has it as {found[0]} {list(found[1])} and the slices "
            f"as {kept.dtype} {list(kept.shape)}; load the model with the --dtype that "
            "they were made with"
        )
    return view


def _kept(view: Tensor) -> KeptTensor:
    flat = view.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
    return KeptTensor(
        dtype=_TYPES[view.dtype], shape=tuple(view.shape), values=flat.numpy().copy()
    )


def _tensor(kept: KeptTensor) -> Tensor:
    values = torch.from_numpy(np.array(kept.values))
    return cast(Tensor, values.view(_NUMBERS[kept.dtype])).reshape(kept.shape)
