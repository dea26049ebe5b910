"""How is a model trained whose weights are spread over several processes (FSDP2)?

A copy of the model is trained: each process keeps a part of every weight, of its
gradient and of the optimiser's moments, and a block's weights are whole only while it
runs. The model itself stays in the machine's memory. At every checkpoint the first
process fetches what was trained into it, and looks at it as it would at a model that
was trained whole.
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import cast

import torch
from peft import PeftModel
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from transformers import PreTrainedModel

from driftmap.core.errors import UsageError
from driftmap.families.masked import MaskedLora
from driftmap.tune.freezing import Hold
from driftmap.tune.live import Live
from driftmap.tune.settings import TuningSettings


def require_shardable(settings: TuningSettings) -> None:
    """Refuse tuning whose weights cannot be spread.

    Raises:
        UsageError: The weights are in 4 bits.
    """
    if settings.is_four_bit:
        raise UsageError(
            "--tune qlora does not go with FSDP2, which cannot take 4-bit weights "
            "apart; leave --use_fsdp out, and every process keeps the whole model, or "
            "give --tune lora"
        )


@contextmanager
def on_host(model: PreTrainedModel) -> Iterator[None]:
    """Have a model in the machine's memory for as long as the block runs."""
    device = model.device
    model.to("cpu")  # pyright: ignore[reportArgumentType]
    try:
        yield
    finally:
        model.to(device)  # pyright: ignore[reportArgumentType]


def sharded(live: Live, device: torch.device) -> tuple[Live, Callable[[], None]]:
    """Copy a live model, and spread the copy over all processes.

    Args:
        live: On the CPU; every process has the same.
        device: Where this process trains.

    Returns:
        What is trained, and what fetches the trained weights into `live`; all
        processes must call it, and it changes `live` on the first one alone.
    """
    model = copy.deepcopy(live.model)
    mesh = init_device_mesh(device.type, (torch.distributed.get_world_size(),))
    for block in _blocks(model):
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)
    _move_entries(model, device)
    plain = [p for p in live.model.parameters() if p.requires_grad]
    spread = [p for p in model.parameters() if p.requires_grad]
    twins = {id(p): twin for p, twin in zip(plain, spread, strict=True)}
    holds = tuple(_hold_of_rank(hold, twins[id(hold.parameter)]) for hold in live.holds)

    def fetch() -> None:
        is_first = torch.distributed.get_rank() == 0
        for parameter, twin in zip(plain, spread, strict=True):
            found = whole(twin)
            if is_first:
                parameter.data.copy_(found)

    holds = cast(tuple[Hold, ...], holds)
    return replace(live, model=model, holds=holds, is_sharded=True), fetch


def whole(tensor: Tensor) -> Tensor:
    """A whole tensor from its parts; all processes must ask for it together."""
    return tensor.full_tensor().cpu() if isinstance(tensor, DTensor) else tensor


def placed(tensor: Tensor, like: Tensor) -> Tensor:
    """Spread a whole tensor, which every process has, as another one is spread."""
    if not isinstance(like, DTensor) or not tensor.dim():
        return tensor
    return distribute_tensor(
        tensor.to(like.device), like.device_mesh, like.placements, src_data_rank=None
    )


class Spread(nn.Module):
    """A spread model in the place where the trainer has a wrapped one."""

    def __init__(self, module: nn.Module) -> None:
        """Wrap a model that `sharded` made."""
        super().__init__()
        self.module = module

    def forward(self, *args: object, **kwargs: object) -> object:
        """Run the model."""
        return self.module(*args, **kwargs)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RankHold:
    """Entries of this process's part of a parameter, with the values they keep.

    Args:
        parameter: The spread parameter.
        index: Flat indices in this process's part.
        values: What is there.
    """

    parameter: DTensor
    index: Tensor
    values: Tensor

    def mask_gradient(self) -> None:
        """Take the entries out of the gradient."""
        gradient = self.parameter.grad
        if isinstance(gradient, DTensor):
            gradient.to_local().view(-1)[self.index] = 0

    def put_back(self) -> None:
        """Undo what the optimiser did to the entries."""
        with torch.no_grad():
            self.parameter.to_local().view(-1)[self.index] = self.values


def _hold_of_rank(hold: Hold, twin: Tensor) -> RankHold:
    assert isinstance(twin, DTensor)
    mask = torch.zeros(twin.numel(), dtype=torch.bool)
    mask[hold.index.cpu()] = True
    part = placed(mask.view(twin.shape), twin)
    assert isinstance(part, DTensor)
    index = part.to_local().reshape(-1).nonzero().reshape(-1)
    values = twin.to_local().detach().reshape(-1)[index].clone()
    return RankHold(parameter=twin, index=index, values=values)


def _blocks(model: PreTrainedModel | PeftModel) -> Sequence[nn.Module]:
    """The blocks of a model: what transformers never splits between devices."""
    base = model.get_base_model() if isinstance(model, PeftModel) else model
    names = set(getattr(base, "_no_split_modules", None) or ())
    return [m for m in base.modules() if type(m).__name__ in names]


def _move_entries(model: nn.Module, device: torch.device) -> None:
    """Frozen entries are no buffers, and do not move with their module."""
    for module in model.modules():
        variants = getattr(module, "lora_variant", {})
        for variant in variants.values():
            if isinstance(variant, MaskedLora):
                frozen = variant.frozen
                variant.frozen = replace(frozen, index=frozen.index.to(device))
