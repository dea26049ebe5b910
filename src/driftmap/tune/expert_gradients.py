"""How do gradients of chosen experts come to their leaves, and of no other expert?

Where the library lets others run a bank, its rows come sorted by expert and only the
chosen experts' gradients are ever made. Elsewhere a bank's whole gradient is made, its
chosen slices are kept, and the rest goes before the next bank's turn. Either way the
backward pass ends at the lowest bank with a chosen expert.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from driftmap.families.expert_forward import BankCall
from driftmap.families.expert_spec import ExpertBank
from driftmap.families.expert_switch import CallOf, running_experts, runs_on_rows
from driftmap.families.grouped_maps import ExpertRows
from driftmap.signals.batch import Batch
from driftmap.tune.expert_leaves import Leaf, Slot

TakeGradient = Callable[[Leaf, Tensor], None]
"""Takes a leaf and what is to be added to its gradient."""

SeeBatch = Callable[[Batch], None]
"""Is told of every batch before it goes through the model."""


@contextmanager
def gradients_of_experts(
    model: nn.Module,
    banks: Sequence[ExpertBank],
    leaves: Mapping[Slot, Leaf],
    take: TakeGradient,
) -> Iterator[SeeBatch]:
    """Have every backward pass inside the block hand out gradients of leaves.

    Args:
        model: In eval mode, with no parameter that needs a gradient.
        banks: Those with a chosen expert.
        leaves: Chosen experts' parts of their tensors.
        take: Takes the gradients, several times a pass where samples come in batches.

    Yields:
        What must be told of each batch.
    """
    if all(runs_on_rows(model, bank) for bank in banks):
        given = _from_rows(model, banks, leaves, take)
    else:
        given = gradients_of_parameters(tuple(leaves.values()), take)
    with given as see:
        yield see


@contextmanager
def gradients_of_parameters(
    leaves: Sequence[Leaf], take: TakeGradient
) -> Iterator[SeeBatch]:
    """Take the leaves' parts of their parameters' gradients; let the rest go at once.

    Args:
        leaves: Parts of parameters; these need a gradient inside the block.
        take: Takes the gradients.

    Yields:
        What may be told of each batch, and does nothing.
    """
    parts: dict[int, list[Leaf]] = {}
    for leaf in leaves:
        parts.setdefault(id(leaf.stored), []).append(leaf)
    stored = {id(leaf.stored): leaf.stored for leaf in leaves}

    def keep(parameter: Tensor) -> None:
        assert parameter.grad is not None, "the hook runs after the gradient is there"
        for leaf in parts[id(parameter)]:
            take(leaf, leaf.part_of(parameter.grad))
        parameter.grad = None

    handles = []
    try:
        for parameter in stored.values():
            parameter.requires_grad_(True)
            handles.append(parameter.register_post_accumulate_grad_hook(keep))
        yield _ignore
    finally:
        for handle in handles:
            handle.remove()
        for parameter in stored.values():
            parameter.requires_grad_(False)


@contextmanager
def _from_rows(
    model: nn.Module,
    banks: Sequence[ExpertBank],
    leaves: Mapping[Slot, Leaf],
    take: TakeGradient,
) -> Iterator[SeeBatch]:
    real: list[Tensor] = []

    def see(batch: Batch) -> None:
        real[:] = [batch.real.flatten()]

    def call_of(bank: ExpertBank) -> CallOf:
        receive = _Maker(bank=bank, leaves=_of_bank(bank, leaves), take=take).receive
        return lambda: BankCall(
            receive=receive,
            anchor=torch.zeros((), requires_grad=True),
            kept=real[0],
        )

    with running_experts(model, {bank.place.path: call_of(bank) for bank in banks}):
        yield see


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Maker:
    """Makes gradients of one bank: D^T X of a weight, D's column sums of a bias.

    Args:
        bank: Which bank.
        leaves: Chosen experts' leaves, by the bank's name of the tensor.
        take: Takes the gradients.
    """

    bank: ExpertBank
    leaves: Mapping[str, Mapping[int, Leaf]]
    take: TakeGradient

    def receive(
        self, name: str, inputs: Tensor, outer: Tensor, rows: ExpertRows
    ) -> None:
        """Take what entered a map and the gradient at its outputs."""
        weight = self.bank.tensor(name)
        for tensor in self.bank.tensors:
            if tensor.parts != weight.parts:
                continue
            for expert, leaf in self.leaves[tensor.name].items():
                own = rows.of(expert)
                if own.start == own.stop:
                    continue
                if tensor.bias:
                    gradient = outer[own].sum(dim=0)
                elif tensor.transposed:
                    gradient = inputs[own].T @ outer[own]
                else:
                    gradient = outer[own].T @ inputs[own]
                self.take(leaf, gradient)


def _of_bank(
    bank: ExpertBank, leaves: Mapping[Slot, Leaf]
) -> dict[str, dict[int, Leaf]]:
    return {
        tensor.name: {
            slot.expert: leaf
            for slot, leaf in leaves.items()
            if slot.path == bank.place.path and slot.tensor == tensor.name
        }
        for tensor in bank.tensors
    }


def _ignore(batch: Batch) -> None:
    """A parameter's gradient is the same whatever the batch was."""
