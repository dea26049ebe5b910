"""Which part of a decoder is a parameter, as far as its name alone tells?

For results made elsewhere, where there is no model to look at: names are those of
Hugging Face models, with or without adapter wrappers.
"""

import re
from collections.abc import Mapping, Sequence

from driftmap.core.errors import DataError
from driftmap.core.places import PARTS, Half, Part, TensorPlace
from driftmap.families.dense import FAMILIES, MIXTURES, PLAIN
from driftmap.families.spec import Fused

_WRAPPERS = {"base_layer", "modules_to_save", "default", "original_module"}
_ADAPTERS = re.compile(r"lora_.*")
_NORM = re.compile(r".*norm.*|ln_\w+|ln\d?")
_EMBED = re.compile(r".*embed(?!_out).*|wte|wpe")
_HEAD = re.compile(r"lm_head|embed_out|head|output")
_ATTENTION = re.compile(r".*att.*")
_MLP = re.compile(r".*mlp.*|.*ffn.*|.*feed_forward.*|.*moe.*|.*expert.*")
_ROUTERS = ("mlp.gate", "moe.gate", "router", "shared_expert_gate", "gate.wg")

_ENDS: Mapping[str, Part | None] = {
    "self_attn.out_proj": "o",
    "attn.out_proj": "o",
    "attn.c_proj": "o",
    "attention.dense": "o",
    "self_attention.dense": "o",
    "self_attn.dense": "o",
    "mlp.c_proj": "down",
    "ffn.up_proj": "up",
    "ffn.down_proj": "down",
}
"""Ends of paths that structure tells where there is a model."""


def place_of_name(name: str) -> TensorPlace:
    """Say where a parameter stands in its model; its size is not known.

    A fused matrix that is not cut, and a tensor of a block that no known name fits,
    are of part `block`.

    Args:
        name: The parameter's name; a slice adds its part (`c_attn.weight#q`).

    Raises:
        DataError: It is in no block, and is no embedding, head or norm either.

    >>> place_of_name("model.layers.3.mlp.up_proj.weight").part
    'up'
    >>> place_of_name("transformer.h.0.attn.c_attn.weight#k")
    ... # doctest: +NORMALIZE_WHITESPACE
    TensorPlace(name='transformer.h.0.attn.c_attn.weight#k', part='k', layer=0,
                half='attention', num_weights=None, expert=None)
    >>> place_of_name("model.layers.0.mlp.experts.down_proj#expert.17.down").expert
    17
    """
    parameter, _, cut = name.partition("#")
    words = [word for word in parameter.split(".") if word not in _WRAPPERS]
    adapter = [n for n, word in enumerate(words) if _ADAPTERS.fullmatch(word)]
    if adapter:
        words = [*words[: adapter[0]], words[-1]]
    number = next((n for n, word in enumerate(words) if word.isdecimal()), None)
    if number is None:
        return TensorPlace(name=name, part=_outside(name, words))
    inside = words[number + 1 :]
    part = _cut_part(name, cut) or _inside(inside)
    return TensorPlace(
        name=name,
        part=part,
        layer=int(words[number]),
        half=_half(inside),
        expert=_expert(cut),
    )


def _expert(cut: str) -> int | None:
    """Number of the expert in `expert.17.up`."""
    number = cut.removeprefix("expert.").partition(".")[0]
    return int(number) if cut.startswith("expert.") and number.isdecimal() else None


def _cut_part(name: str, cut: str) -> Part | None:
    if not cut:
        return None
    if _expert(cut) is not None:
        cut = cut.rpartition(".")[2]
    for part in PARTS:
        if cut == part:
            return part
    raise DataError(f"{name}: {cut!r} is no part; parts are {', '.join(PARTS)}")


def _outside(name: str, words: Sequence[str]) -> Part:
    """Part of a tensor that is in no block."""
    module = words[-2] if len(words) > 1 else ""
    if words[-1] == "bias":
        return "bias"
    if _NORM.fullmatch(module):
        return "norm"
    if _HEAD.fullmatch(module):
        return "head"
    if _EMBED.fullmatch(module):
        return "embed"
    raise DataError(
        f"{name}: is no name of a decoder's parameter; names are like "
        "'model.layers.0.self_attn.q_proj.weight' or 'lm_head.weight'"
    )


def _inside(words: Sequence[str]) -> Part:
    """Part of a tensor by the words after the block's number."""
    if words[-1].endswith("bias"):
        return "bias"
    path = words[:-1]
    if path and _NORM.fullmatch(path[-1]):
        return "norm"
    if "experts" in words:
        return "expert"
    if any(_ends(".".join(path), router) for router in _ROUTERS):
        return "router"
    return _map_part(".".join(path)) or "block"


def _map_part(path: str) -> Part | None:
    found = [end for end in _NAMES if _ends(path, end)]
    return _NAMES[max(found, key=len)] if found else None


def _half(words: Sequence[str]) -> Half | None:
    """Half of the block, by the path or else by what the map is for."""
    path = words[:-1]
    # A norm of the block may be called after what it stands beside.
    around = path[:-1] if path and _NORM.fullmatch(path[-1]) else path
    if any(_ATTENTION.fullmatch(word) for word in around):
        return "attention"
    if any(_MLP.fullmatch(word) for word in around):
        return "mlp"
    part = _map_part(".".join(path))
    if part in ("q", "k", "v", "o"):
        return "attention"
    return "mlp" if part in ("gate", "up", "down") else None


def _ends(path: str, end: str) -> bool:
    return path == end or path.endswith((f".{end}", f"_{end}"))


def _names() -> dict[str, Part | None]:
    """Ends of paths and the part they hold; None where it is several."""
    names: dict[str, Part | None] = {}
    for family in (PLAIN, *FAMILIES, *MIXTURES):
        for end, content in family.maps.items():
            names[end] = None if isinstance(content, Fused) else content
    return names | dict(_ENDS)


_NAMES = _names()
