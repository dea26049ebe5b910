"""Which numbers are one expert's, as the model itself holds them?

Everything here is a view: it shares storage with the model, so that writing into it
changes the model, and nothing else of the bank.
"""

from collections.abc import Mapping
from typing import cast

from jaxtyping import Float
from torch import Tensor, nn

from driftmap.families.expert_spec import ExpertBank, ExpertTensor
from driftmap.families.modules import base_model, base_module, join


def bank_module(model: nn.Module, bank: ExpertBank) -> nn.Module:
    """The bank itself, below any adapter wrapper."""
    return base_module(base_model(model).get_submodule(bank.place.path))


def bank_parameter(
    model: nn.Module, bank: ExpertBank, tensor: ExpertTensor, expert: int = 0
) -> nn.Parameter:
    """The parameter that an expert's slice is of.

    Args:
        model: With or without adapters.
        bank: From `find_experts`.
        tensor: One of its tensors.
        expert: Which expert; matters where each has a parameter of its own.
    """
    name = tensor.name
    if tensor.layout == "listed":
        name = join(bank.members[expert], name)
    return bank_module(model, bank).get_parameter(name)


def stored_views(
    model: nn.Module, bank: ExpertBank, expert: int
) -> Mapping[str, Tensor]:
    """An expert's slice of every stored tensor, as the model stores it.

    Args:
        model: With or without adapters.
        bank: From `find_experts`.
        expert: Number of the expert in its bank.

    Returns:
        By the tensor's name in the bank; without gradient, contiguous, on the model's
        device.
    """
    return {
        tensor.name: slice_of(
            bank_parameter(model, bank, tensor, expert).detach(), bank, tensor, expert
        )
        for tensor in bank.tensors
    }


def slice_of(
    whole: Tensor, bank: ExpertBank, tensor: ExpertTensor, expert: int
) -> Tensor:
    """An expert's part of anything of a stored tensor's shape, its gradient say.

    Args:
        whole: Of the shape of `bank_parameter`.
        bank: Which bank.
        tensor: One of its tensors.
        expert: Number of the expert in its bank.

    Returns:
        A view, as it is stored.
    """
    if tensor.layout == "listed":
        return whole
    if tensor.layout == "fused":
        return whole[expert]
    rows = len(whole) // bank.place.num_experts
    return whole[expert * rows : (expert + 1) * rows]


def expert_views(
    model: nn.Module, bank: ExpertBank, expert: int
) -> Mapping[str, Float[Tensor, "..."]]:
    """An expert's matrices `[out in]` and biases `[out]`, part by part.

    Args:
        model: With or without adapters.
        bank: From `find_experts`.
        expert: Number of the expert in its bank.

    Returns:
        By part (`gate`, `up`, `down`), a bias as `gate_bias`; views without gradient.
    """
    return {
        name: view
        for tensor, stored in zip(
            bank.tensors, stored_views(model, bank, expert).values(), strict=True
        )
        for name, view in part_views(tensor, stored).items()
    }


def part_views(
    tensor: ExpertTensor, stored: Float[Tensor, "..."]
) -> Mapping[str, Float[Tensor, "..."]]:
    """Take one expert's slice apart.

    Args:
        tensor: Which stored tensor it is of.
        stored: The slice, as it is stored.

    Returns:
        By part, as `expert_views`.

    >>> import torch
    >>> fused = ExpertTensor(
    ...     name="gate_up_proj", parts=("gate", "up"), num_rows=4, num_columns=1,
    ...     interleaved=True,
    ... )
    >>> part_views(fused, torch.arange(4.0)[:, None])["up"].flatten().tolist()
    [1.0, 3.0]
    """
    canonical = stored.T if tensor.transposed else stored
    suffix = "_bias" if tensor.bias else ""
    views = {}
    for number, part in enumerate(tensor.parts):
        if tensor.interleaved:
            rows = slice(number, None, len(tensor.parts))
        else:
            size = tensor.rows_per_part
            rows = slice(number * size, (number + 1) * size)
        views[f"{part}{suffix}"] = canonical[rows]
    return cast(Mapping[str, Tensor], views)
