"""How do a model's blocks become 4-bit for a while, and which weights are they then?

QLoRA (Dettmers et al. 2023) tunes an adapter on weights that are rounded to the 16
levels of nf4, in blocks of 64 with scales that are rounded too. The rounded weights
are what the model computes with, so they are the start that drift is counted from.
"""

import importlib
import importlib.util
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol, cast, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from driftmap.core.errors import ModelError, UsageError
from driftmap.families.discover import find_layout
from driftmap.families.modules import base_model, base_module, is_transposed

BLOCK = 64
"""Consecutive weights of a row that share a scale."""

_LARGEST_ERROR = 0.2
"""Of the largest weight: half of the widest gap between levels is .152 of a block's
largest weight, and its scale is rounded too."""


class _FourBitWeight(Protocol):
    data: Tensor
    quant_state: object | None


class _FourBitMap(Protocol):
    weight: _FourBitWeight
    bias: nn.Parameter | None
    support_avx512bf16_for_cpu: bool


class _Functional(Protocol):
    dequantize_4bit: Callable[[Tensor, object], Tensor]


class _Modules(Protocol):
    Linear4bit: Callable[..., nn.Module]
    Params4bit: Callable[..., Tensor]


@runtime_checkable
class _Bitsandbytes(Protocol):
    """What is used of the package, which need not be installed."""

    functional: _Functional
    nn: _Modules


def require_bitsandbytes() -> None:
    """Refuse 4 bits where the package that knows them is missing.

    Raises:
        UsageError: It is not installed.
    """
    if importlib.util.find_spec("bitsandbytes") is None:
        raise UsageError(
            "--tune qlora needs bitsandbytes, which is not installed: "
            "`pip install 'driftmap[qlora]'`"
        )


@contextmanager
def four_bit(model: nn.Module) -> Iterator[None]:
    """Round the matrices of a model's blocks to nf4 for as long as the block runs.

    Embeddings, norms, biases and the head stay as they are. On a GPU the whole
    weights wait in the machine's memory meanwhile. Maps that are 4-bit already stay.

    Args:
        model: A causal language model in float32 or bfloat16; at the end it has its
            own modules again, with every bit of their weights.

    Raises:
        UsageError: bitsandbytes is not installed.
        ModelError: A matrix does not survive the rounding.
    """
    require_bitsandbytes()
    base = base_model(model)
    maps = [site for site in find_layout(model).sites if site.tensor is None]
    paths = dict.fromkeys(site.path for site in maps)
    whole: dict[str, nn.Module] = {}
    homes: dict[str, torch.device] = {}
    try:
        for path in paths:
            module = base.get_submodule(path)
            if not is_four_bit_map(module):
                rounded = _rounded(module, path)
                homes[path] = _weight(module).device
                whole[path] = module
                base.set_submodule(path, rounded)
                _move_weight(module, torch.device("cpu"))
        yield
    finally:
        for path, module in whole.items():
            base.set_submodule(path, nn.Identity())  # so that there is room
            _move_weight(module, homes[path])
            base.set_submodule(path, module)


def is_four_bit_map(module: nn.Module) -> bool:
    """Whether a map, or the one that its adapter wraps, keeps 4-bit weights."""
    return type(base_module(module)).__name__ == "Linear4bit"


def is_four_bit(model: nn.Module) -> bool:
    """Whether any map of a model keeps 4-bit weights."""
    return any(type(module).__name__ == "Params4bit" for module in model.parameters())


def four_bit_kind(model: nn.Module) -> str:
    """How a model's 4-bit weights are kept, such as `nf4`; empty where it has none."""
    kinds = {
        str(getattr(parameter, "quant_type", ""))
        for parameter in model.parameters()
        if type(parameter).__name__ == "Params4bit"
    }
    return " and ".join(sorted(kinds))


@contextmanager
def known_to_peft(model: nn.Module) -> Iterator[None]:
    """Tell PEFT that maps are 4-bit, while it looks for its wrappers.

    Not for longer: trl would turn the adapter of such a model to bfloat16.
    """
    base = base_model(model)
    if not is_four_bit(base) or getattr(base, "is_loaded_in_4bit", False):
        yield
        return
    vars(base)["is_loaded_in_4bit"] = True
    try:
        yield
    finally:
        del vars(base)["is_loaded_in_4bit"]


def rounded_weight(module: nn.Module, path: str) -> Float[Tensor, "row column"]:
    """What a 4-bit map computes with, `[out in]`, in the type it computes in.

    Args:
        module: A 4-bit map, with or without an adapter.
        path: Its path, for messages.

    Raises:
        ModelError: Its weights are laid out for one kind of processor.
    """
    weight = cast(_FourBitMap, base_module(module)).weight
    state = weight.quant_state
    if state is None or getattr(state, "packing_format_for_cpu", False):
        raise ModelError(
            f"{path}: its 4-bit weights are not yet, or no longer, in the order of the "
            "matrix; load the model in float32 or bfloat16"
        )
    return _bitsandbytes().functional.dequantize_4bit(weight.data, state)


def _bitsandbytes() -> _Bitsandbytes:
    # Here, since it takes seconds and few need it.
    return cast(_Bitsandbytes, importlib.import_module("bitsandbytes"))


def _rounded(module: nn.Module, path: str) -> nn.Module:
    weight = _weight(module).detach()
    matrix = (weight.T if is_transposed(module) else weight).contiguous()
    num_rows, num_columns = matrix.shape
    # Made empty: its own weight would be drawn at random, only to be replaced.
    made = _bitsandbytes().nn.Linear4bit(
        num_columns,
        num_rows,
        bias=False,
        compute_dtype=matrix.dtype,
        quant_type="nf4",
        device="meta",
    )
    made.weight = _bitsandbytes().nn.Params4bit(
        matrix.clone(), requires_grad=False, quant_type="nf4", blocksize=BLOCK
    )
    plain = cast(_FourBitMap, made)
    plain.bias = cast(nn.Linear, module).bias
    # Answers would otherwise be made in another order of sums than training, on the
    # processors that can, and change the weights' layout under the adapter.
    plain.support_avx512bf16_for_cpu = False
    made.to(weight.device).train(module.training)
    _require_faithful(matrix, rounded_weight(made, path), path)
    return made


def _require_faithful(whole: Tensor, rounded: Tensor, path: str) -> None:
    """Refuse what an unpacking in the wrong order leaves."""
    largest = whole.abs().max().item()
    error = (whole - rounded).abs().max().item()
    if error > _LARGEST_ERROR * largest:
        raise ModelError(
            f"{path}: bitsandbytes gives back other weights than it was given (off by "
            f"up to {error:.3g}, where the largest is {largest:.3g}); without a GPU it "
            f"does so where rows, of {whole.shape[1]} here, are no whole blocks of "
            f"{BLOCK}: use a GPU, or --tune lora"
        )


def _weight(module: nn.Module) -> Tensor:
    return cast(nn.Linear, module).weight


def _move_weight(module: nn.Module, device: torch.device) -> None:
    """The weight alone: the bias is in use."""
    weight = _weight(module)
    weight.data = weight.data.to(device)
