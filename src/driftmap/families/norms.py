"""What does a norm multiply its weight with, whatever norm it is?

A norm gives `(w - w0) * xhat(x) + b`, where w0 is 0, or -1 in Gemma. A norm is known
when running it shows that it does. Its xhat is then what a copy of it gives with
w = w0 + 1 and b = 0, so that no formula is written down a second time.
"""

import copy
from collections.abc import Callable
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from driftmap.families.modules import base_module

XHat = Callable[[Float[Tensor, "*row weight"]], Float[Tensor, "*row weight"]]
"""Takes what entered a norm to what its weight is multiplied with."""

_NEUTRAL = (0.0, -1.0)
_NUM_ROWS = 3


def is_norm(module: nn.Module) -> bool:
    """Whether a module is one that has nothing but a norm's weight, by its name.

    >>> is_norm(nn.LayerNorm(4)), is_norm(nn.Linear(4, 4))
    (True, False)
    """
    base = base_module(module)
    named = "norm" in type(base).__name__.lower()
    return named and not base._modules and "weight" in base._parameters


def neutral_weight(norm: nn.Module) -> float | None:
    """Find w0, the weight with which a norm gives its bias and nothing else.

    Args:
        norm: Any module with a `weight` and perhaps a `bias`; not changed.

    Returns:
        0 or -1; None where the module is no `(w - w0) * xhat(x) + b`.

    >>> neutral_weight(nn.LayerNorm(4))
    0.0
    """
    draw = torch.Generator().manual_seed(0)
    shape = _weight(norm).shape
    weight, bias = (
        torch.randn(shape, generator=draw, dtype=torch.float64) for _ in range(2)
    )
    rows = torch.randn(_NUM_ROWS, 2, *shape, generator=draw, dtype=torch.float64)
    for neutral in _NEUTRAL:
        silent = _answer(norm, torch.full_like(weight, neutral), bias * 0, rows)
        if silent is None or bool(silent.any()):
            continue
        xhat = _answer(norm, torch.full_like(weight, neutral + 1), bias * 0, rows)
        given = _answer(norm, weight, bias, rows)
        alone = _answer(norm, weight, bias, rows[:1])
        if xhat is None or given is None or alone is None:
            continue
        offset = bias if norm._parameters.get("bias") is not None else 0.0
        if _close(given, (weight - neutral) * xhat + offset) and _close(
            alone, given[:1]
        ):
            return neutral
    return None


def normalizer(norm: nn.Module, neutral: float) -> XHat:
    """Make the function that gives a norm's xhat, in float32 or wider.

    Args:
        norm: The norm; not changed, and not watched by what watches it.
        neutral: Its w0.
    """
    weight = _weight(norm)
    dtype = torch.promote_types(weight.dtype, torch.float32)
    bare = _bare(norm, torch.full_like(weight, neutral + 1, dtype=dtype))

    def xhat(inputs: Tensor) -> Tensor:
        with torch.no_grad():
            return cast(Tensor, bare(inputs.to(dtype)))

    return xhat


def _answer(
    norm: nn.Module, weight: Tensor, bias: Tensor, rows: Tensor
) -> Tensor | None:
    bare = _bare(norm, weight)
    if norm._parameters.get("bias") is not None:
        bare._parameters["bias"] = nn.Parameter(bias, requires_grad=False)
    try:
        with torch.no_grad():
            given = bare(rows)
    except (AttributeError, RuntimeError, TypeError, ValueError):
        return None  # it takes other inputs, or more of them
    return given if isinstance(given, Tensor) and given.shape == rows.shape else None


def _bare(norm: nn.Module, weight: Tensor) -> nn.Module:
    """A copy with another weight, no bias, and no hooks."""
    bare = copy.copy(norm)
    bare._parameters = dict.fromkeys(norm._parameters)
    bare._parameters["weight"] = nn.Parameter(weight.detach(), requires_grad=False)
    if norm._parameters.get("bias") is not None:
        zeros = torch.zeros_like(weight)
        bare._parameters["bias"] = nn.Parameter(zeros, requires_grad=False)
    bare._buffers = {
        name: None if buffer is None else buffer.to(weight.device)
        for name, buffer in norm._buffers.items()
    }
    for name in vars(nn.Module()):
        if name.endswith("_hooks"):
            vars(bare)[name] = type(vars(bare)[name])()
    return bare


def _weight(norm: nn.Module) -> Tensor:
    return cast(Tensor, norm._parameters["weight"])


def _close(one: Tensor, other: Tensor) -> bool:
    return bool(torch.allclose(one, other, rtol=1e-5, atol=1e-5))
