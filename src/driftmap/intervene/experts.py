"""What does a model do without some experts, or with other values in them?

To ablate an expert is to count its answers nothing: the weight of its slots becomes 0
and no other slot gains. Where a family does not say which tokens an expert gets, its
last map gives zeros meanwhile, which comes to the same.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from driftmap.core.errors import MeasureError
from driftmap.core.places import ExpertPlace
from driftmap.families.bank_calls import TellOtherwise, Told, telling
from driftmap.families.expert_spec import ExpertBank
from driftmap.families.expert_tensors import stored_views
from driftmap.families.modules import base_model


@contextmanager
def ablated_experts(
    model: nn.Module, banks: Sequence[ExpertBank], experts: Iterable[ExpertPlace]
) -> Iterator[None]:
    """Take experts away for as long as the block runs; also an error puts them back.

    Args:
        model: With or without PEFT adapters.
        banks: Its banks, from `find_experts`.
        experts: Which experts; none at all leaves every bit as it is.

    Raises:
        MeasureError: The model has no such expert.
    """
    with ExitStack() as undo:
        for bank, numbers in by_bank(banks, experts):
            if bank.told_choice:
                undo.enter_context(telling(model, [bank], _without(numbers)))
            else:
                undo.enter_context(_silent(model, bank, numbers))
        yield


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ModelParts:
    """Values of some experts and routers.

    Args:
        experts: By expert, its slice of each stored tensor of its bank.
        parameters: Whole parameters by name, such as routers'.
    """

    experts: Mapping[ExpertPlace, Mapping[str, Tensor]] = field(default_factory=dict)
    parameters: Mapping[str, Tensor] = field(default_factory=dict)


def copied_parts(
    model: nn.Module,
    banks: Sequence[ExpertBank],
    experts: Iterable[ExpertPlace] = (),
    parameters: Iterable[str] = (),
) -> ModelParts:
    """Copy what a model now holds in some of its parts.

    Args:
        model: With or without PEFT adapters.
        banks: Its banks.
        experts: Which experts.
        parameters: Names of whole parameters, such as `Router.parameters`.

    Raises:
        MeasureError: The model has no such expert.
    """
    base = base_model(model)
    return ModelParts(
        experts={
            place: {name: view.clone() for name, view in views.items()}
            for place, views in _views(model, banks, experts)
        },
        parameters={n: base.get_parameter(n).detach().clone() for n in parameters},
    )


@contextmanager
def exchanged_parts(
    model: nn.Module, banks: Sequence[ExpertBank], parts: ModelParts
) -> Iterator[None]:
    """Put other values in experts and routers for as long as the block runs.

    Args:
        model: With or without PEFT adapters.
        banks: Its banks.
        parts: What is put in, from `copied_parts` of this or a like model.

    Raises:
        MeasureError: The model has no such expert, or a tensor of another shape.
    """
    base = base_model(model)
    pairs: list[tuple[str, Tensor, Tensor]] = [
        (f"{place.key} {name}", view, parts.experts[place][name])
        for place, views in _views(model, banks, parts.experts)
        for name, view in views.items()
    ]
    pairs += [
        (n, base.get_parameter(n).detach(), v) for n, v in parts.parameters.items()
    ]
    for name, own, other in pairs:
        if own.shape != other.shape:
            raise MeasureError(
                f"{name}: its shape is {tuple(own.shape)} here and "
                f"{tuple(other.shape)} where the values come from; were they made on "
                "another model?"
            )
    with _overwritten([(own, other) for _, own, other in pairs]):
        yield


def by_bank(
    banks: Sequence[ExpertBank], experts: Iterable[ExpertPlace]
) -> list[tuple[ExpertBank, list[int]]]:
    """Numbers of the experts of each bank that has any of them, in model order.

    Raises:
        MeasureError: The model has no such expert.
    """
    numbers: dict[str, list[int]] = {}
    own = {bank.place.path: bank for bank in banks}
    for expert in dict.fromkeys(experts):
        bank = own.get(expert.path)
        if bank is None or not 0 <= expert.expert < bank.place.num_experts:
            raise MeasureError(
                f"{expert.key}: the model has no such expert; was the group chosen on "
                "another model?"
            )
        numbers.setdefault(expert.path, []).append(expert.expert)
    return [(own[path], numbers[path]) for path in own if path in numbers]


def _without(numbers: list[int]) -> TellOtherwise:
    def tell(_bank: ExpertBank, told: Told) -> Told:
        gone = torch.isin(told.chosen, torch.tensor(numbers, device=told.chosen.device))
        return Told(chosen=told.chosen, weights=told.weights.masked_fill(gone, 0))

    return tell


@contextmanager
def _silent(model: nn.Module, bank: ExpertBank, numbers: list[int]) -> Iterator[None]:
    """Have the last map of experts give zeros."""
    last = [tensor.name for tensor in bank.tensors if "down" in tensor.parts]
    views = [
        stored_views(model, bank, number)[name] for number in numbers for name in last
    ]
    with _overwritten([(view, torch.zeros_like(view)) for view in views]):
        yield


@contextmanager
def _overwritten(pairs: list[tuple[Tensor, Tensor]]) -> Iterator[None]:
    kept = [(own, own.clone()) for own, _ in pairs]
    try:
        for own, other in pairs:
            own.copy_(other)
        yield
    finally:
        for own, before in kept:
            own.copy_(before)


def _views(
    model: nn.Module, banks: Sequence[ExpertBank], experts: Iterable[ExpertPlace]
) -> Iterator[tuple[ExpertPlace, Mapping[str, Tensor]]]:
    for bank, numbers in by_bank(banks, experts):
        for number in numbers:
            yield bank.experts[number], stored_views(model, bank, number)
