"""Which module decides which experts of a bank see a token?

The library itself says whose outputs are router logits (`_can_record_outputs`); the
module of that kind nearest to the bank is its router. Where nothing is said, it is a
module called gate or router with one row of weights per expert.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import cast

from torch import Tensor, nn

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
        marked = [one for one in near if _kind(one[1]) in outputs]
        named = [one for one in near if one[0].rpartition(".")[2] in _NAMES]
        for path, module in (*marked, *named):
            output = outputs.get(_kind(module))
            router = _router(model, path, module, num_experts, output)
            if router is not None:
                return router
    return None


def _kind(module: nn.Module) -> str:
    return type(base_module(module)).__name__


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
    model: nn.Module,
    path: str,
    module: nn.Module,
    num_experts: int,
    output: int | None,
) -> Router | None:
    """Read a module as a router; `output` is None where only its name says so."""
    inner = base_module(module)
    tensors = dict(_tensors(module, path))
    rows = {
        name: len(tensor)
        for name, tensor in tensors.items()
        if tensor.ndim == 2 and isinstance(tensor, nn.Parameter)
    }
    exact = [name for name, count in rows.items() if count == num_experts]
    # Further rows are choices that do nothing: only a router is known to have them.
    more = [name for name, count in rows.items() if count > num_experts]
    candidates = exact or (more if output is not None else [])
    if not candidates:
        return None
    weight = candidates[-1]
    num_rows = rows[weight]
    bias = f"{weight.removesuffix('weight')}bias"
    num_groups = _number(inner, ("num_group", "n_group")) or 1
    return Router(
        path=path,
        weight=weight,
        parameters=(weight, bias) if bias in tensors else (weight,),
        selection_bias=_selection_bias(
            {**tensors, **_beside(model, path)}, (num_rows, num_experts), bias
        ),
        expert_scale=_expert_scale(tensors, num_rows),
        logits_output=output or 0,
        num_rows=num_rows,
        num_groups=num_groups,
        num_kept_groups=_number(inner, ("topk_group",)) or num_groups,
    )


def _selection_bias(
    tensors: Mapping[str, Tensor], sizes: tuple[int, int], own_bias: str
) -> str | None:
    """A bias with one number per expert, other than that of the logits."""
    for name, tensor in tensors.items():
        is_bias = "bias" in name.rpartition(".")[2]
        if is_bias and tensor.numel() in sizes and name != own_bias:
            return name
    return None


def _expert_scale(tensors: Mapping[str, Tensor], num_rows: int) -> str | None:
    for name, tensor in tensors.items():
        is_scale = "scale" in name.rpartition(".")[2]
        if is_scale and tensor.numel() == num_rows > 1:
            return name
    return None


def _tensors(module: nn.Module, path: str) -> Iterator[tuple[str, Tensor]]:
    """Parameters and buffers below a module, without those of adapters."""
    for own_path, own in own_modules(module, path):
        yield from _own_tensors(base_module(own), own_path)


def _beside(model: nn.Module, path: str) -> Mapping[str, Tensor]:
    """Parameters and buffers of the module that holds a router."""
    holder = path.rpartition(".")[0]
    return dict(_own_tensors(model.get_submodule(holder), holder))


def _own_tensors(module: nn.Module, path: str) -> Iterator[tuple[str, Tensor]]:
    for name, tensor in module.named_parameters(recurse=False):
        yield join(path, name), tensor
    for name, tensor in module.named_buffers(recurse=False):
        yield join(path, name), tensor
