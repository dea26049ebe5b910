"""Where are the states that a causal trace puts back?

The output of a block, of its attention and of its MLP. The last two are modules right
below the block; where such a module adds the residual itself, or a block has its maps
without one around them, it is the map whose output the block adds.
"""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import nn

from driftmap.core.errors import FamilyError
from driftmap.core.places import Part
from driftmap.families.discover import find_layout
from driftmap.families.modules import base_model, base_module, is_linear_map, join
from driftmap.families.spec import ModelLayout

_ATTENTION: tuple[Part, ...] = ("q", "k", "v", "o")


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceSites:
    """Modules whose outputs a trace reads and puts back; paths of the base model.

    Args:
        embedding: The token embedding.
        blocks: The decoder blocks, first to last.
        attention: Of each block, what gives the attention's output; None in a block
            without attention (or another mixer of tokens).
        mlp: Of each block, what gives the output of the MLP or of the experts; None
            where no single module gives it.
        final_norm: The norm after the last block; None in a model without one.
        head: The map to the logits.
    """

    embedding: str
    blocks: tuple[str, ...]
    attention: tuple[str | None, ...]
    mlp: tuple[str | None, ...]
    final_norm: str | None
    head: str


def find_trace_sites(model: nn.Module) -> TraceSites:
    """Find what a causal trace watches.

    Args:
        model: A decoder-only language model, with or without adapters.

    Raises:
        FamilyError: The model's layout is not known, or it has no head.
    """
    layout = find_layout(model)
    if layout.head is None:
        raise FamilyError(
            f"model type {layout.family!r} has no map to the logits, so there is no "
            "answer to trace; load it with `AutoModelForCausalLM.from_pretrained`"
        )
    base = base_model(model)
    pairs = [
        _block_sites(base.get_submodule(path), path, layout, layer)
        for layer, path in enumerate(layout.blocks)
    ]
    norms = [
        path
        for path in layout.norms
        if not any(_is_below(path, block) for block in layout.blocks)
    ]
    norms.sort(key=lambda path: -path.count("."))
    return TraceSites(
        embedding=layout.embedding,
        blocks=layout.blocks,
        attention=tuple(attention for attention, _ in pairs),
        mlp=tuple(mlp for _, mlp in pairs),
        final_norm=norms[-1] if norms else None,
        head=layout.head,
    )


def _block_sites(
    block: nn.Module, path: str, layout: ModelLayout, layer: int
) -> tuple[str | None, str | None]:
    """Paths of a block's attention and MLP."""
    attention: dict[str, Part] = {}
    mlp: dict[str, Part] = {}
    for site in layout.sites:
        if site.layer == layer and site.expert is None and _is_below(site.path, path):
            half = attention if site.part in _ATTENTION else mlp
            half[site.path.removeprefix(f"{path}.")] = site.part
    banks = [
        bank.place.path.removeprefix(f"{path}.")
        for bank in layout.banks
        if _is_below(bank.place.path, path)
    ]
    feed = _around(block, [*mlp, *banks])
    if feed is None and not banks:
        feed = _only(mlp, "down")
    mixer = _around(block, list(attention)) or _only(attention, "o")
    if not attention:
        mixer = _other_mixer(block, {_top(name) for name in (*mlp, *banks)})
    return _below(path, mixer), _below(path, feed)


def _below(path: str, name: str | None) -> str | None:
    return None if name is None else join(path, name)


def _around(block: nn.Module, names: Sequence[str]) -> str | None:
    """The module that holds all of these and nothing of the residual stream."""
    if not names:
        return None
    parts = [name.split(".")[:-1] for name in names]
    holder = ".".join(parts[0][: _agreement(parts)])
    if not holder:
        return None
    module = base_module(block.get_submodule(holder))
    if isinstance(module, nn.ModuleList) or _adds_residual(module):
        return None
    return holder


def _agreement(parts: Sequence[Sequence[str]]) -> int:
    """At how many levels, from the first, paths agree."""
    levels = [len(set(level)) == 1 for level in zip(*parts, strict=False)]
    return levels.index(False) if False in levels else len(levels)


def _only(maps: Mapping[str, Part], part: Part) -> str | None:
    found = [name for name, of in maps.items() if of == part]
    return found[0] if len(found) == 1 else None


def _other_mixer(block: nn.Module, taken: set[str]) -> str | None:
    """A recurrent layer, or another one in which no map has a known name."""
    found = [
        name
        for name, child in block.named_children()
        if name not in taken
        and not isinstance(child, nn.ModuleList)
        and any(map(is_linear_map, child.modules()))
        and not any(_is_experts(one) for one in child.modules())
    ]
    return found[0] if len(found) == 1 else None


def _is_experts(module: nn.Module) -> bool:
    return type(base_module(module)).__name__.endswith("Experts")


def _adds_residual(module: nn.Module) -> bool:
    return "residual" in inspect.signature(module.forward).parameters


def _top(name: str) -> str:
    return name.partition(".")[0]


def _is_below(path: str, holder: str) -> bool:
    return path.startswith(f"{holder}.")
