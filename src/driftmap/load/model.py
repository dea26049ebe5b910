"""How does a name become a model that is ready to be measured, and known exactly?"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import cast, get_args

import torch
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from driftmap.core.errors import ModelError
from driftmap.core.progress import say
from driftmap.core.shortage import is_shortage
from driftmap.families.discover import find_layout
from driftmap.families.spec import ModelLayout
from driftmap.load.adapter_config import read_adapter_config
from driftmap.load.attach import attach_adapter
from driftmap.load.checkpoint import (
    check_model_folder,
    check_tokenizer_files,
    find_folder,
)
from driftmap.load.device import find_device
from driftmap.load.fits import no_room, require_fit
from driftmap.load.identity import config_sha256, weights_sha256
from driftmap.load.quiet import no_bars
from driftmap.load.source import Dtype, ModelSource
from driftmap.results.provenance import ModelIdentity

# What decides, beside its tensors, what an adapter adds.
_ARITHMETIC = (
    "peft_type", "r", "lora_alpha", "rank_pattern", "alpha_pattern", "use_rslora",
    "use_dora", "fan_in_fan_out", "init_lora_weights",
)  # fmt: skip
_DOES_NOT_FIT = "it does not fit into memory"
_CONTEXT = ("max_position_embeddings", "n_positions", "seq_length", "max_seq_len")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LoadedModel:
    """A model in eval mode, no parameter of which wants a gradient.

    Args:
        model: The model, wrapped by PEFT where there is an adapter.
        tokenizer: The base model's.
        layout: Where its matrices are.
        identity: Which weights they are.
    """

    model: nn.Module
    tokenizer: PreTrainedTokenizerBase
    layout: ModelLayout
    identity: ModelIdentity

    @property
    def context_length(self) -> int | None:
        """Most tokens that the model reads at once; None where it states no limit."""
        return context_length(self.model)

    @property
    def device(self) -> torch.device:
        """Where token ids go in."""
        return next(self.model.parameters()).device


def load_model(source: ModelSource) -> LoadedModel:
    """Load a model and tokenizer, with an adapter on top if there is one.

    Args:
        source: Which model, in which number type, where.

    Returns:
        The model in eval mode, its layout and its identity.

    Raises:
        ModelError: A file is missing, broken, unsafe or of another model; the hub or
            the device is out of reach; a weight is NaN or infinite.
        FamilyError: The layout of the model is unknown.
    """
    dtype, device = _dtype(source.dtype), _device(source)
    folder = find_folder(source.model, with_code=source.trust_remote_code)
    check_model_folder(folder)
    check_tokenizer_files(folder)
    tokenizer = _load_tokenizer(folder, source)
    require_fit(folder, source, device)
    base = _load_base(folder, dtype, source)
    layout = find_layout(base)
    base_sha256 = weights_sha256(folder)
    parts: list[object] = [base_sha256, config_sha256(folder)]
    model: nn.Module = base
    if source.adapter is not None:
        adapter = find_folder(source.adapter)
        model = attach_adapter(
            base, adapter, base_name=source.model, base_sha256=base_sha256
        )
        parts += _parts_of(adapter)
    _place(model, device, source)
    model.eval().requires_grad_(False)
    _must_be_finite(model, source)
    _say_uncovered(layout, source)
    return LoadedModel(
        model=model,
        tokenizer=tokenizer,
        layout=layout,
        identity=ModelIdentity(
            source=_title(source),
            sha256=_joint_sha256(parts),
            base_sha256=base_sha256,
            family=layout.family,
            dtype=source.dtype,
            device=source.device_map or str(device),
            num_weights=sum(site.num_weights for site in layout.sites),
        ),
    )


def context_length(model: nn.Module) -> int | None:
    """Most tokens that a model reads at once; None where it states no limit."""
    config = getattr(model, "config", None)
    if config is not None and hasattr(config, "get_text_config"):
        config = config.get_text_config(decoder=True)
    lengths = (getattr(config, name, None) for name in _CONTEXT)
    return next((length for length in lengths if isinstance(length, int)), None)


def _dtype(name: str) -> torch.dtype:
    if name not in get_args(Dtype):
        raise ModelError(
            f"number type {name!r} is unknown; known are {', '.join(get_args(Dtype))}"
        )
    return getattr(torch, name)


def _device(source: ModelSource) -> torch.device:
    if source.device_map is not None and source.device != "auto":
        raise ModelError(
            f"--device {source.device} and --device-map {source.device_map} both say "
            "where the model goes; give one of them"
        )
    return find_device(source.device)


def _load_tokenizer(folder: Path, source: ModelSource) -> PreTrainedTokenizerBase:
    try:
        return AutoTokenizer.from_pretrained(
            folder, trust_remote_code=source.trust_remote_code
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(
            f"{source.model}: its tokenizer cannot be read ({_first_line(error)}); "
            f"copy it from the model it was made from{_code_hint(error)}"
        ) from error


def _load_base(
    folder: Path, dtype: torch.dtype, source: ModelSource
) -> PreTrainedModel:
    try:
        with no_bars():
            loaded = AutoModelForCausalLM.from_pretrained(
                folder,
                dtype=dtype,
                device_map=source.device_map,
                trust_remote_code=source.trust_remote_code,
                use_safetensors=True,
                output_loading_info=True,
            )
    except (OSError, ValueError, KeyError, RuntimeError, MemoryError) as error:
        if is_shortage(error):
            raise no_room(source, _DOES_NOT_FIT) from error
        raise ModelError(
            f"{source.model}: it cannot be loaded as a causal language model "
            f"({_first_line(error)}); check its config.json{_code_hint(error)}"
        ) from error
    model, report = cast(tuple[PreTrainedModel, dict[str, set[str]]], loaded)
    missing = sorted(report["missing_keys"])
    if missing:
        raise ModelError(
            f"{source.model}: {len(missing)} weights are not in its files, such as "
            f"{missing[0]}, and would be random; copy or download the model again"
        )
    return model


def _place(model: nn.Module, device: torch.device, source: ModelSource) -> None:
    if source.device_map is not None:
        return
    try:
        model.to(device)
    except (RuntimeError, MemoryError) as error:
        if is_shortage(error):
            raise no_room(source, _DOES_NOT_FIT) from error
        raise


def _must_be_finite(model: nn.Module, source: ModelSource) -> None:
    for name, weight in model.named_parameters():
        if weight.is_meta or not weight.is_floating_point() or not weight.numel():
            continue
        # The extremes carry NaN along and need no second copy of the weight.
        low, high = torch.aminmax(weight)
        if not (low.isfinite() and high.isfinite()):
            raise ModelError(
                f"{_title(source)}: {name} holds NaN or infinity in {source.dtype}; "
                "load an earlier checkpoint, or --dtype float32 if it overflowed"
            )


def _say_uncovered(layout: ModelLayout, source: ModelSource) -> None:
    """Tell once what of the blocks is neither scored nor followed."""
    names = layout.uncovered
    if names:
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        say(
            f"{_title(source)}: {', '.join(names[:3])}{more} belong to no matrix that "
            "is known here, and are neither scored nor compared"
        )


def _parts_of(adapter: Path) -> list[object]:
    settings = read_adapter_config(adapter).settings
    arithmetic = {name: settings.get(name) for name in _ARITHMETIC}
    return [weights_sha256(adapter), arithmetic]


def _joint_sha256(parts: list[object]) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _title(source: ModelSource) -> str:
    return (
        source.model if source.adapter is None else f"{source.model} + {source.adapter}"
    )


def _code_hint(error: Exception) -> str:
    if "trust_remote_code" not in str(error):
        return ""
    return ", or use --trust-remote-code if you trust the code that comes with it"


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
