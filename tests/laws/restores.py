"""Does whatever ran leave a model exactly as it found it?"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

_HOOKS = (
    "_forward_hooks",
    "_forward_pre_hooks",
    "_backward_hooks",
    "_backward_pre_hooks",
)


@contextmanager
def assert_restores_model(model: nn.Module) -> Iterator[None]:
    """Fail if the block leaves a trace in the model, also if it ends by an error.

    Held: every byte of the state dict, hooks of modules and parameters, the
    training mode of every module, which parameters are trainable, no new `.grad`.
    """
    before = _traces(model)
    try:
        yield
    finally:
        after = _traces(model)
        for kind, found in before.items():
            differing = {
                name
                for name in found.keys() | after[kind].keys()
                if not _same(found.get(name), after[kind].get(name))
            }
            assert not differing, f"{kind} changed at {sorted(differing)[:5]}"


def _traces(model: nn.Module) -> dict[str, dict[str, object]]:
    modules = dict(model.named_modules())
    parameters = dict(model.named_parameters())
    return {
        "modules": {name: id(module) for name, module in modules.items()},
        "parameters": {name: id(value) for name, value in parameters.items()},
        "bytes": {name: _copy(value) for name, value in model.state_dict().items()},
        "hooks": {name: _hooks(module) for name, module in modules.items()},
        "parameter hooks": {
            name: len(value._backward_hooks or ()) for name, value in parameters.items()
        },
        "training mode": {name: module.training for name, module in modules.items()},
        "requires_grad": {name: p.requires_grad for name, p in parameters.items()},
        "grad": {
            name: None if p.grad is None else _copy(p.grad)
            for name, p in parameters.items()
        },
    }


def _copy(value: object) -> object:
    return value.detach().clone() if isinstance(value, torch.Tensor) else value


def _hooks(module: nn.Module) -> list[int]:
    return [key for name in _HOOKS for key in getattr(module, name)]


def _same(left: object, right: object) -> bool:
    if isinstance(left, torch.Tensor) and isinstance(right, torch.Tensor):
        return left.dtype == right.dtype and torch.equal(_bytes(left), _bytes(right))
    return left == right


def _bytes(value: torch.Tensor) -> torch.Tensor:
    return value.contiguous().flatten().view(torch.uint8)
