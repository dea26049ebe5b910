"""What does an adapter put where, known from its settings and its file's header?"""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from driftmap.core.errors import ModelError
from driftmap.load.adapter_config import AdapterConfig, read_adapter_config
from driftmap.load.adapters import PREFIX
from driftmap.load.factors_alone import numbered
from driftmap.load.folded_names import fold_names
from driftmap.load.masked_adapters import is_masked
from driftmap.load.tensor_files import StoredTensor, file_tensors, stored_tensors
from driftmap.results.freezing import FROZEN_PREFIX, MASKED_CONFIG, MASKED_WEIGHTS
from driftmap.results.model_structure import (
    AdapterOutline,
    NamedSetting,
    Wrap,
    WrapKind,
    WrappedModules,
)

_FACTOR = re.compile(
    r"(?P<path>.+?)(?:\.base_layer)*\."
    r"(?P<what>lora_[AB]|lora_embedding_[AB]|lora_magnitude_vector)"
    r"(?:\.(?P<last>weight|bias))?"
)
_TABLES = ("embed_tokens", "embed_in", "wte", "word_embeddings", "lm_head", "embed_out")
_SAID = {
    "r": "rank", "lora_alpha": "alpha", "lora_dropout": "dropout",
    "target_modules": "target modules", "modules_to_save": "saved modules",
    "use_rslora": "rank-scaled (rsLoRA)", "use_dora": "with lengths of rows (DoRA)",
    "fan_in_fan_out": "matrices stored [in out] (fan_in_fan_out)", "bias": "biases",
    "init_lora_weights": "start",
}  # fmt: skip
_UNSAID = {
    "auto_mapping", "base_model_name_or_path", "ensure_weight_tying", "inference_mode",
    "megatron_core", "peft_type", "peft_version", "qalora_group_size", "revision",
    "task_type",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OutlinedAdapter:
    """An adapter without its numbers.

    Args:
        outline: What it is.
        wraps: What it puts on each module, by the module's path in the base.
        shapes: Shape of what it adds there, `[out in]`, or of the stored tensor.
    """

    outline: AdapterOutline
    wraps: Mapping[str, Wrap]
    shapes: Mapping[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class _Wrapped:
    wrap: Wrap
    shape: tuple[int, ...]
    dtype: str


def outline_of_adapter(folder: Path, source: str) -> OutlinedAdapter:
    """Read what an adapter of any kind is made of.

    Args:
        folder: Holds its configuration and its file.
        source: How it was named.

    Raises:
        ModelError: The folder holds no adapter, or a broken one.
    """
    config, tensors = _config(folder), _tensors(folder)
    found: dict[str, _Wrapped] = {}
    for tensor in tensors:
        path, kind = _place(tensor.name.removeprefix(PREFIX), config)
        found[path] = _joined(found.get(path), _wrapped(config, path, kind, tensor))
    ordered = {path: found[path] for path in sorted(found, key=numbered)}
    return OutlinedAdapter(
        outline=AdapterOutline(
            source=source,
            peft_type=config.peft_type,
            base_name=config.base_name,
            settings=_settings(config, folder),
            wrapped=tuple(
                WrappedModules(
                    name=folded.name,
                    times=folded.times,
                    shape=folded.value.shape,
                    wrap=folded.value.wrap,
                    dtype=folded.value.dtype,
                )
                for folded in fold_names(ordered)
            ),
            num_trained=sum(one.wrap.num_trained for one in ordered.values()),
            num_bytes=sum(tensor.num_bytes for tensor in tensors),
        ),
        wraps={path: one.wrap for path, one in ordered.items()},
        shapes={path: one.shape for path, one in ordered.items()},
    )


def _config(folder: Path) -> AdapterConfig:
    if not is_masked(folder):
        return read_adapter_config(folder)
    file = folder / MASKED_CONFIG
    try:
        settings = cast(dict[str, object], dict(json.loads(file.read_text("utf-8"))))
        return AdapterConfig(
            folder=folder,
            base_name=str(settings.get("base_model_name_or_path") or ""),
            peft_type=str(settings["peft_type"]),
            settings=settings,
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(
            f"{folder}: its masked adapter is damaged; copy the folder again"
        ) from error


def _tensors(folder: Path) -> tuple[StoredTensor, ...]:
    if not is_masked(folder):
        return stored_tensors(folder)
    tensors = file_tensors(folder / MASKED_WEIGHTS)
    return tuple(one for one in tensors if not one.name.startswith(FROZEN_PREFIX))


def _place(name: str, config: AdapterConfig) -> tuple[str, WrapKind]:
    """Which module a stored tensor is for, and what it does there."""
    factor = _FACTOR.fullmatch(name)
    if factor is not None:
        if factor["what"].startswith("lora_embedding"):
            return factor["path"], "embedding"
        return factor["path"], "dora" if config.settings.get("use_dora") else "lora"
    path, _, last = name.rpartition(".")
    path = re.sub(r"\.(base_layer|token_adapter)(?=\.|$)", "", path)
    saved = cast(list[str] | None, config.settings.get("modules_to_save")) or []
    if any(f".{module}." in f".{path}." for module in saved):
        return path, "saved"
    if last == "bias":
        return path, "bias"
    if last == "weight" and path.rpartition(".")[2] in _TABLES:
        return path, "copied"
    return path, "tokens" if last == "trainable_tokens_delta" else "other"


def _wrapped(
    config: AdapterConfig, path: str, kind: WrapKind, tensor: StoredTensor
) -> _Wrapped:
    has_factors = kind in ("lora", "dora", "embedding")
    rank = config.rank(path) if has_factors else None
    return _Wrapped(
        wrap=Wrap(
            kind=kind,
            rank=rank,
            alpha=config.scale(path) * _divisor(config, rank) if rank else None,
            scale=config.scale(path) if has_factors else None,
            num_trained=0 if kind == "copied" else math.prod(tensor.shape),
        ),
        shape=_added_shape(tensor, kind),
        dtype=tensor.dtype,
    )


def _divisor(config: AdapterConfig, rank: int) -> float:
    return math.sqrt(rank) if config.settings.get("use_rslora") else float(rank)


def _added_shape(tensor: StoredTensor, kind: WrapKind) -> tuple[int, ...]:
    """What one stored tensor tells of the shape; 0 stands for what another tells."""
    if kind not in ("lora", "dora", "embedding") or len(tensor.shape) != 2:
        return () if kind in ("lora", "dora") else tensor.shape
    rows, columns = tensor.shape
    if "lora_embedding_A" in tensor.name:
        return columns, 0
    if "lora_embedding_B" in tensor.name:
        return 0, rows
    return (0, columns) if ".lora_A" in tensor.name else (rows, 0)


def _joined(first: _Wrapped | None, second: _Wrapped) -> _Wrapped:
    """Two tensors of one module, such as its two factors."""
    if first is None:
        return second
    main = max(first, second, key=lambda one: one.wrap.rank is not None)
    num = first.wrap.num_trained + second.wrap.num_trained
    shape = main.shape
    if first.wrap.rank is not None and second.wrap.rank is not None:
        shape = _merged(first.shape, second.shape)
    return _Wrapped(replace(main.wrap, num_trained=num), shape, main.dtype)


def _merged(left: tuple[int, ...], right: tuple[int, ...]) -> tuple[int, ...]:
    if not left or not right:
        return left or right
    return tuple(max(one, other) for one, other in zip(left, right, strict=True))


def _settings(config: AdapterConfig, folder: Path) -> tuple[NamedSetting, ...]:
    """What decides what is added: the usual first, then whatever else is set."""
    held = config.settings
    rest = sorted(
        name
        for name in held.keys() - _SAID.keys() - _UNSAID
        if held[name] not in (None, False, [], {}, "")
    )
    found = [
        NamedSetting(name=said, value=_said(name, held[name]))
        for name, said in _SAID.items()
        if name in held
    ]
    found += [NamedSetting(name=name, value=_written(held[name])) for name in rest]
    if is_masked(folder):
        found.append(NamedSetting(name="frozen entries", value="yes: they do not move"))
    return tuple(found)


def _said(name: str, value: object) -> str:
    if name == "init_lora_weights" and value is True:
        return "no change (B = 0)"
    return _written(value)


def _written(value: object) -> str:
    if value is None or value in ([], {}):
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        names = sorted((str(one) for one in value), key=numbered)
        return ", ".join(one.name for one in fold_names(dict.fromkeys(names, 0)))
    if isinstance(value, dict):
        return ", ".join(f"{name} {_written(one)}" for name, one in value.items())
    return str(value)
