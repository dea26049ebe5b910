"""Which module decides which experts of a bank see a token?

The library itself says whose outputs are router logits (`_can_record_outputs`); the
module of that kind nearest to the bank is its router. Where nothing is said, it is a
module called gate or router with one row of weights per expert.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import cast

from torch import nn

from driftmap.families.expert_spec import Router
from driftmap.families.modules import base_module, join, own_modules

_NAMES = ("gate", "router", "gating")
_COUNTS = (
    "top_k",
    "num_experts_per_tok",
    "top_k_experts",
    "moe_top_k",
    "moe_topk",
    "topk",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RouterClass:
    """A class of modules whose output the library records as router logits."""

    name: str
    output: int


def router_classes(model: nn.Module) -> tuple[RouterClass, ...]:
    """What the library says of routers, anywhere in a model.

    >>> router_classes(nn.Linear(1, 1))
    ()
    """
    found: dict[str, RouterClass] = {}
    for module in model.modules():
        recorded = getattr(module, "_can_record_outputs", None)
        if isinstance(recorded, Mapping):
            entries = cast(Mapping[str, object], recorded).get("router_logits", ())
            for entry in entries if isinstance(entries, list) else (entries,):
                kind = getattr(entry, "target_class", entry)
                if isinstance(kind, type):
                    output = int(getattr(entry, "index", 0))
                    found[kind.__name__] = RouterClass(
                        name=kind.__name__, output=output
                    )
    return tuple(found.values())


def find_router(
    model: nn.Module, bank: str, num_experts: int, classes: Iterable[RouterClass]
) -> Router | None:
    """The router of a bank: in the module that holds it, else in the one above.

    Args:
        model: The base model.
        bank: Path of the bank.
        num_experts: Experts in it (count).
        classes: What the library says of routers.

    Returns:
        None where there is none, as beside experts that see every token.
    """
    outputs = {one.name: one.output for one in classes}
    holder = bank.rpartition(".")[0]
    for around in (holder, holder.rpartition(".")[0]):
        if not around or around.rpartition(".")[2] in ("layers", "blocks", "h"):
            break
        near = list(_near(model, around, bank))
        marked = [(p, m) for p, m in near if type(base_module(m)).__name__ in outputs]
        named = [(p, m) for p, m in near if p.rpartition(".")[2] in _NAMES]
        for path, module in (*marked, *named):
            output = outputs.get(type(base_module(module)).__name__, 0)
            router = _router(model, path, module, num_experts, output)
            if router is not None:
                return router
    return None


def num_chosen(model: nn.Module, bank: str, router: Router) -> int | None:
    """Experts per token, as the router or what is around it says; else None."""
    for module in _around(model, bank, router.path):
        count = _number(module, _COUNTS)
        if count is not None:
            return count
    return None


def _around(model: nn.Module, bank: str, router: str) -> Iterator[object]:
    """Who may know how a router chooses, the nearest first."""
    holder = bank.rpartition(".")[0]
    modules = [
        base_module(model.get_submodule(path)) for path in (router, bank, holder)
    ]
    yield from modules
    for module in (*modules, model):
        yield getattr(module, "config", None)


def _number(of: object, names: Iterable[str]) -> int | None:
    for name in names:
        count = getattr(of, name, None)
        if isinstance(count, int) and not isinstance(count, bool):
            return count
    return None


def _near(model: nn.Module, around: str, bank: str) -> Iterator[tuple[str, nn.Module]]:
    """Modules below one, without the bank's."""
    for path, module in own_modules(model.get_submodule(around), around):
        inside_bank = path == bank or path.startswith(f"{bank}.")
        if path != around and not inside_bank:
            yield path, module


def _router(
    model: nn.Module, path: str, module: nn.Module, num_experts: int, output: int
) -> Router | None:
    inner = base_module(module)
    matrices = [
        (join(path, name), parameter)
        for name, parameter in inner.named_parameters()
        if parameter.ndim == 2 and len(parameter) >= num_experts
    ]
    exact = [one for one in matrices if len(one[1]) == num_experts]
    if not (exact or matrices):
        return None
    weight, parameter = (exact or matrices)[-1]
    bias = f"{weight.removesuffix('weight')}bias"
    names = {join(path, name) for name, _ in inner.named_parameters()}
    num_rows = len(parameter)
    num_groups = _number(inner, ("num_group", "n_group")) or 1
    return Router(
        path=path,
        weight=weight,
        parameters=(weight, bias) if bias in names else (weight,),
        selection_bias=_selection_bias(
            model, path, inner, (num_rows, num_experts), bias
        ),
        expert_scale=_expert_scale(path, inner, num_rows),
        logits_output=output,
        num_rows=num_rows,
        num_groups=num_groups,
        num_kept_groups=_number(inner, ("topk_group",)) or num_groups,
    )


def _selection_bias(
    model: nn.Module,
    path: str,
    router: nn.Module,
    sizes: tuple[int, int],
    own_bias: str,
) -> str | None:
    """A bias with one number per expert, other than that of the logits."""
    holder = path.rpartition(".")[0]
    above = model.get_submodule(holder)
    places = [(join(path, name), tensor) for name, tensor in _tensors(router, True)]
    places += [(join(holder, name), tensor) for name, tensor in _tensors(above, False)]
    for name, size in places:
        if "bias" in name.rpartition(".")[2] and size in sizes and name != own_bias:
            return name
    return None


def _expert_scale(path: str, router: nn.Module, num_rows: int) -> str | None:
    for name, size in _tensors(router, True):
        if "scale" in name.rpartition(".")[2] and size == num_rows > 1:
            return join(path, name)
    return None


def _tensors(module: nn.Module, recurse: bool) -> Iterator[tuple[str, int]]:
    for name, tensor in module.named_parameters(recurse=recurse):
        yield name, tensor.numel()
    for name, tensor in module.named_buffers(recurse=recurse):
        yield name, tensor.numel()
