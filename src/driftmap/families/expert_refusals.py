"""Which banks of experts cannot be handled, and why?"""

from collections.abc import Mapping
from typing import cast

import torch
from torch import nn

from driftmap.core.errors import FamilyError
from driftmap.families.modules import base_module

REFUSED: Mapping[str, str] = {
    "doge": "its experts are single rows of two embeddings, found by product keys",
    "jetmoe": (
        "its attention has experts too, and both halves of a block are called with "
        "tokens that are already sorted by expert"
    ),
    "nllb-moe": "it is an encoder-decoder that drops tokens when an expert is full",
    "switch_transformers": (
        "it is an encoder-decoder that drops tokens when an expert is full"
    ),
}
"""Model types that have experts of another kind, and what is different."""

_FLOATS = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
_COUNTS = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")


def refuse_model_type(model: nn.Module) -> None:
    """Refuse model types whose experts are known to be of another kind.

    Args:
        model: The base model.

    Raises:
        FamilyError: It is one of them.
    """
    model_type = _model_type(model)
    if model_type in REFUSED:
        raise FamilyError(
            f"model type {model_type!r}: {REFUSED[model_type]}, so that its experts "
            "cannot be told apart, scored and tuned here; use another "
            "mixture-of-experts model"
        )


def refuse_bank(path: str, module: nn.Module) -> None:
    """Refuse a bank that is quantised, spread over processes or under an adapter.

    Args:
        path: Its path.
        module: What stands there, an adapter's wrapper unopened.

    Raises:
        FamilyError: Names the bank, what is wrong with it and what to do.
    """
    inner = base_module(module)
    if inner is not module:
        raise FamilyError(
            f"{path}: an adapter ({type(module).__name__}) changes its experts, so "
            "that the numbers kept are not those that run; merge it and load the "
            "merged model"
        )
    for name, parameter in inner.named_parameters():
        if parameter.dtype not in _FLOATS:
            raise FamilyError(
                f"{path}: its experts are quantised ({name} is kept as "
                f"{parameter.dtype}), so that they have no gradients; load the model "
                "in float32 or bfloat16"
            )
    spread = any(hasattr(one, "device_mesh") for one in inner.parameters())
    if spread or getattr(inner, "_is_expert_parallel", False):
        raise FamilyError(
            f"{path}: its experts are spread over processes (expert parallel), so that "
            "none of them sees all tokens; load the model in one process"
        )


def no_banks(model: nn.Module) -> FamilyError:
    """What is said of a model in which no bank was found.

    Args:
        model: The base model.
    """
    config = getattr(model, "config", None)
    for name in _COUNTS:
        count = getattr(config, name, None)
        if isinstance(count, int) and count > 0:
            return FamilyError(
                f"model type {_model_type(model)!r}: its config says {name} {count}, "
                "but no module of it holds experts in a way that is known; see "
                "docs/how-to/add-a-model-family.md"
            )
    return FamilyError(
        f"{type(model).__name__} has no experts; use a mixture-of-experts model, or "
        "a command for dense ones"
    )


def _model_type(model: nn.Module) -> str:
    config = getattr(model, "config", None)
    return cast(str, getattr(config, "model_type", ""))
