"""What is a model made of, known from its configuration and the headers of its files?

No weight is read: the modules come from the model's own code on the meta device, where
tensors have shapes and no numbers, and what is stored from the files' headers.
"""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from driftmap.core.errors import ModelError
from driftmap.load.factors_alone import numbered
from driftmap.load.quiet import no_bars
from driftmap.load.tensor_files import stored_tensors
from driftmap.results.model_structure import (
    ModelOutline,
    ModuleLine,
    TreeSource,
    TypeCount,
)

Settings = Mapping[str, object]

_DTYPES = {"float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16"}
_UNTOLD = "?"


@dataclass(frozen=True, slots=True)
class Tensor:
    """Shape and number type of one tensor."""

    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Outlined:
    """A model without its numbers.

    Args:
        outline: What it is.
        modules: Every module by path, from the whole model (an empty path) down.
        tensors: Every stored tensor by the name that the model has for it.
        aliases: Names of tensors that are other tensors of the model under a second
            name, such as that of a tied head.
        settings: `config.json`, flat: `rope_scaling.factor`.
    """

    outline: ModelOutline
    modules: Mapping[str, ModuleLine]
    tensors: Mapping[str, Tensor]
    aliases: frozenset[str]
    settings: Settings


def outline_of(folder: Path, source: str) -> Outlined:
    """Read what a model is made of.

    Args:
        folder: Holds `config.json`; its weights may be missing.
        source: How the model was named.

    Returns:
        Its modules from its own code, or, where transformers has no code for it, from
        the names of its tensors.

    Raises:
        ModelError: There is no configuration, or it is broken; or a file of weights is.
    """
    settings = _settings(folder)
    stored = _stored(folder)
    model = _on_meta(folder)
    if model is None and not stored:
        raise ModelError(
            f"{source}: transformers has no code for its model type "
            f"({settings.get('model_type')!r}) and its weights are not here; download "
            "them, so that their names can be read"
        )
    modules = _modules(model) if model is not None else _from_names(stored)
    aliases = _aliases(model)
    tensors = _named(stored, model) or _promised(model, settings)
    return Outlined(
        outline=ModelOutline(
            source=source,
            model_type=str(settings.get("model_type") or ""),
            architecture=_architecture(model, settings),
            tree_from=_tree_from(model),
            num_parameters=modules[""].num_parameters,
            num_bytes=_num_bytes(folder) if stored else None,
            types=_types(stored.values()),
            tied=bool(aliases),
            quantisation=_quantisation(settings),
        ),
        modules=modules,
        tensors=tensors,
        aliases=aliases,
        settings=_flat(settings),
    )


def lines_of_names(
    shapes: Mapping[str, tuple[int, ...]],
) -> dict[str, ModuleLine]:
    """A tree of modules from the names of their tensors.

    Args:
        shapes: Of every tensor, by name.
    """
    sizes: dict[str, int] = {"": 0}
    own: dict[str, tuple[int, ...]] = {}
    for name in sorted(shapes, key=numbered):
        path, _, last = name.rpartition(".")
        size = math.prod(shapes[name])
        if last == "weight" or path not in own:
            own[path] = shapes[name]
        words = path.split(".") if path else []
        for depth in range(len(words) + 1):
            above = ".".join(words[:depth])
            sizes[above] = sizes.get(above, 0) + size
    return {
        path: ModuleLine(
            kind="", shape=own.get(path, ()), num_parameters=size, wrap=None
        )
        for path, size in sizes.items()
    }


def _settings(folder: Path) -> dict[str, object]:
    file = folder / "config.json"
    if not file.is_file():
        raise ModelError(
            f"{folder}: it is no model (config.json is missing); give the folder that "
            "`save_pretrained` wrote",
            topic="model-not-found",
        )
    try:
        return cast(dict[str, object], dict(json.loads(file.read_text("utf-8"))))
    except (ValueError, TypeError, RecursionError) as error:
        raise ModelError(
            f"{file}: it is no configuration; copy or download the model again"
        ) from error


def _stored(folder: Path) -> dict[str, Tensor]:
    if not (
        (folder / "model.safetensors").is_file()
        or (folder / "model.safetensors.index.json").is_file()
    ):
        return {}
    return {
        tensor.name: Tensor(tensor.shape, tensor.dtype)
        for tensor in stored_tensors(folder)
    }


def _num_bytes(folder: Path) -> int:
    return sum(tensor.num_bytes for tensor in stored_tensors(folder))


def _on_meta(folder: Path) -> PreTrainedModel | None:
    """The model without numbers; None where transformers has no code of its own."""
    try:
        config = AutoConfig.from_pretrained(folder)
        with torch.device("meta"), no_bars():
            return cast(PreTrainedModel, AutoModelForCausalLM.from_config(config))
    except (OSError, ValueError, KeyError, ImportError, AttributeError):
        return None


def _modules(model: nn.Module) -> dict[str, ModuleLine]:
    counted: set[int] = set()
    found: dict[str, ModuleLine] = {}
    for path, module in model.named_modules(remove_duplicate=False):
        unique = {id(p): p.numel() for p in module.parameters()}
        is_again = bool(unique) and path != "" and unique.keys() <= counted
        if not module._modules:
            counted |= unique.keys()
        found[path] = ModuleLine(
            kind=type(module).__name__,
            shape=_shape(module),
            num_parameters=0 if is_again else sum(unique.values()),
            wrap=None,
        )
    return found


def _shape(module: nn.Module) -> tuple[int, ...]:
    """Of a module's weight; without one, of the largest of its own parameters."""
    own = dict(module.named_parameters(recurse=False))
    if "weight" in own:
        return tuple(own["weight"].shape)
    largest = max(own.values(), key=lambda one: one.numel(), default=None)
    return () if largest is None else tuple(largest.shape)


def _from_names(stored: Mapping[str, Tensor]) -> dict[str, ModuleLine]:
    return lines_of_names({name: tensor.shape for name, tensor in stored.items()})


def _aliases(model: PreTrainedModel | None) -> frozenset[str]:
    return frozenset(getattr(model, "all_tied_weights_keys", None) or {})


def _named(
    stored: Mapping[str, Tensor], model: PreTrainedModel | None
) -> dict[str, Tensor]:
    """Stored tensors by the model's names: some files leave out a common prefix."""
    prefix = getattr(model, "base_model_prefix", "")
    known = set() if model is None else set(model.state_dict())
    return {
        f"{prefix}.{name}"
        if prefix and name not in known and f"{prefix}.{name}" in known
        else name: tensor
        for name, tensor in stored.items()
    }


def _promised(model: PreTrainedModel | None, settings: Settings) -> dict[str, Tensor]:
    """What files would hold that are not there."""
    assert model is not None, "refused above"
    dtype = settings.get("dtype") or settings.get("torch_dtype")
    aliases = _aliases(model)
    return {
        name: Tensor(tuple(parameter.shape), _DTYPES.get(str(dtype), _UNTOLD))
        for name, parameter in model.named_parameters()
        if name not in aliases
    }


def _architecture(model: nn.Module | None, settings: Settings) -> str:
    if model is not None:
        return type(model).__name__
    named = settings.get("architectures")
    return str(named[0]) if isinstance(named, list) and named else ""


def _tree_from(model: nn.Module | None) -> TreeSource:
    return "tensor names" if model is None else "configuration"


def _types(stored: Iterable[Tensor]) -> tuple[TypeCount, ...]:
    tensors, weights = dict[str, int](), dict[str, int]()
    for tensor in stored:
        tensors[tensor.dtype] = tensors.get(tensor.dtype, 0) + 1
        size = math.prod(tensor.shape)
        weights[tensor.dtype] = weights.get(tensor.dtype, 0) + size
    order = sorted(weights, key=lambda dtype: (-weights[dtype], dtype))
    return tuple(
        TypeCount(dtype=dtype, num_tensors=tensors[dtype], num_weights=weights[dtype])
        for dtype in order
    )


def _quantisation(settings: Settings) -> str:
    found = settings.get("quantization_config")
    if not isinstance(found, dict):
        return ""
    bits = "4-bit" if found.get("load_in_4bit") else ""
    bits = "8-bit" if found.get("load_in_8bit") else bits
    return f"{found.get('quant_method', 'unknown')} {bits}".strip()


def _flat(settings: Settings, above: str = "") -> dict[str, object]:
    flat: dict[str, object] = {}
    for name, value in settings.items():
        if isinstance(value, dict) and value:
            flat |= _flat(cast(dict[str, object], value), f"{above}{name}.")
        else:
            flat[f"{above}{name}"] = value
    return flat
