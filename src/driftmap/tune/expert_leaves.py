"""Which numbers of a model may move, and how does the optimizer own those alone?

Every expert's slice of a stored tensor becomes a leaf that shares the tensor's memory.
What the optimizer does not own it cannot move: neither weight decay nor momentum from
an earlier round reaches an expert that is not chosen.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from driftmap.core.errors import ModelError, UsageError
from driftmap.core.places import ExpertPlace
from driftmap.families.expert_spec import ExpertBank, ExpertTensor
from driftmap.families.expert_tensors import bank_parameter, slice_of
from driftmap.families.modules import join


class Slot(NamedTuple):
    """Where a leaf belongs: bank, the bank's name of the tensor, expert."""

    path: str
    tensor: str
    expert: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Leaf:
    """A part of one parameter that is trained as if it were a parameter.

    Args:
        name: The parameter's own name in the model; an expert's part of a shared one
            adds its number in brackets.
        stored: The model's parameter.
        part_of: The part of anything that is laid out like the parameter, as a view.
        values: The part of the parameter itself; its memory is the parameter's.
    """

    name: str
    stored: nn.Parameter
    part_of: Callable[[Tensor], Tensor]
    values: Tensor

    @property
    def is_shared(self) -> bool:
        """Whether the leaf is still a part of the parameter's memory."""
        now = self.part_of(self.stored.detach())
        return now.data_ptr() == self.values.data_ptr() and now.shape == (
            self.values.shape
        )


def expert_leaves(
    model: nn.Module, banks: Sequence[ExpertBank], experts: Sequence[ExpertPlace]
) -> dict[Slot, Leaf]:
    """Make leaves of all tensors of some experts.

    Args:
        model: The model that the banks are of, without adapters.
        banks: Its banks.
        experts: Which experts, each once, in any order.

    Returns:
        Leaves in the model's order: bank by bank, tensor by tensor, expert by expert.

    Raises:
        UsageError: There is no expert, one is named twice, or the model lacks one.
    """
    _require_experts(banks, experts)
    chosen = set(experts)
    return {
        Slot(bank.place.path, tensor.name, place.expert): _leaf(
            model, bank, tensor, place.expert
        )
        for bank in banks
        for tensor in bank.tensors
        for place in bank.experts
        if place in chosen
    }


def whole_leaves(model: nn.Module, names: Iterable[str]) -> tuple[Leaf, ...]:
    """Make leaves of whole parameters, such as a router's."""
    return tuple(_whole(name, model.get_parameter(name)) for name in names)


def require_trainable(leaves: Sequence[Leaf]) -> None:
    """Refuse leaves that no longer are the model's memory, or cannot learn.

    Raises:
        ModelError: A leaf's memory is not the model's any more, or its type is too
            narrow for training.
    """
    for leaf in leaves:
        if not leaf.is_shared:
            raise ModelError(
                f"{leaf.name}: the model's weights were moved or replaced after the "
                "leaves were made (by `.to()` or by loading others into it); choose "
                "the experts again on the model as it is now"
            )
        if leaf.values.dtype not in (torch.float32, torch.bfloat16, torch.float64):
            raise ModelError(
                f"{leaf.name} is kept as {leaf.values.dtype}, in which small steps are "
                "lost; load the model with --dtype float32 or --dtype bfloat16"
            )


def _require_experts(
    banks: Sequence[ExpertBank], experts: Sequence[ExpertPlace]
) -> None:
    if not experts:
        raise UsageError("no expert is chosen; name at least one to tune")
    if len(set(experts)) < len(experts):
        twice = next(e for e in experts if experts.count(e) > 1)
        raise UsageError(f"{twice.key} is chosen twice; name each expert once")
    there = {expert for bank in banks for expert in bank.experts}
    for expert in experts:
        if expert not in there:
            raise UsageError(
                f"{expert.key}: the model has no such expert; were the experts chosen "
                "on another model?"
            )


def _leaf(
    model: nn.Module, bank: ExpertBank, tensor: ExpertTensor, expert: int
) -> Leaf:
    stored = bank_parameter(model, bank, tensor, expert)
    if tensor.layout == "listed":
        return _whole(join(bank.place.path, bank.members[expert], tensor.name), stored)
    part_of = partial(_slice, bank=bank, tensor=tensor, expert=expert)
    return Leaf(
        name=f"{join(bank.place.path, tensor.name)}[{expert}]",
        stored=stored,
        part_of=part_of,
        values=part_of(stored.detach()),
    )


def _whole(name: str, stored: nn.Parameter) -> Leaf:
    return Leaf(name=name, stored=stored, part_of=_itself, values=stored.detach())


def _itself(tensor: Tensor) -> Tensor:
    return tensor


def _slice(
    whole: Tensor, *, bank: ExpertBank, tensor: ExpertTensor, expert: int
) -> Tensor:
    return slice_of(whole, bank, tensor, expert)
