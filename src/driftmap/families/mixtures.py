"""Which matrices do the banks of experts and the routers of a mixture hold?"""

from collections.abc import Iterator, Sequence

from torch import nn

from driftmap.core.places import RowBlocks, Site
from driftmap.families.expert_spec import ExpertBank, ExpertTensor
from driftmap.families.experts import find_experts
from driftmap.families.modules import base_model, base_module


def open_banks(model: nn.Module) -> tuple[ExpertBank, ...]:
    """Banks whose experts can be watched one by one, in model order.

    Args:
        model: A mixture of experts, with or without adapters.

    Raises:
        FamilyError: The model has no experts, or a bank of it cannot be read.
    """
    return tuple(bank for bank in find_experts(model) if is_open(bank))


def is_open(bank: ExpertBank) -> bool:
    """Whether others can run a bank, so that each expert's tokens are known."""
    fused = all(tensor.layout == "fused" for tensor in bank.tensors)
    return fused and bank.switchable and bank.told_choice


def mixture_sites(model: nn.Module, banks: Sequence[ExpertBank]) -> Iterator[Site]:
    """Give every bank's router, once, and every expert's matrices.

    Args:
        model: The model that the banks were found in.
        banks: Of `open_banks`.
    """
    seen: set[str] = set()
    for bank in banks:
        if bank.router.weight not in seen:
            seen.add(bank.router.weight)
            yield _router_site(model, bank)
        for expert in range(bank.place.num_experts):
            for tensor in bank.tensors:
                if not tensor.bias:
                    yield from _expert_sites(bank, tensor, expert)


def expert_rows(tensor: ExpertTensor, number: int) -> RowBlocks | None:
    """Rows of one part among all rows of an expert's `[out in]`; None for all.

    Args:
        tensor: A bank's tensor.
        number: Number of the part among the tensor's own.

    >>> both = ExpertTensor(
    ...     name="gate_up_proj", parts=("gate", "up"), num_rows=6, num_columns=2
    ... )
    >>> expert_rows(both, 1).rows()
    [3, 4, 5]
    """
    if len(tensor.parts) == 1:
        return None
    size, count = tensor.rows_per_part, len(tensor.parts)
    if tensor.interleaved:
        return RowBlocks(start=number, length=1, stride=count, count=size)
    return RowBlocks(start=number * size, length=size, stride=tensor.num_rows, count=1)


def _expert_sites(
    bank: ExpertBank, tensor: ExpertTensor, expert: int
) -> Iterator[Site]:
    for number, part in enumerate(tensor.parts):
        yield Site(
            path=bank.place.path,
            layer=bank.place.layer,
            part=part,
            num_rows=tensor.rows_per_part,
            num_columns=tensor.num_columns,
            split=expert_rows(tensor, number),
            transposed=tensor.transposed,
            expert=expert,
            tensor=tensor.name,
        )


def _router_site(model: nn.Module, bank: ExpertBank) -> Site:
    router = bank.router
    name = router.weight.removeprefix(f"{router.path}.")
    holder = base_module(base_model(model).get_submodule(router.path))
    num_rows, num_columns = holder.get_parameter(name).shape
    return Site(
        path=router.path,
        layer=bank.place.layer,
        part="router",
        num_rows=num_rows,
        num_columns=num_columns,
        tensor=name,
    )
