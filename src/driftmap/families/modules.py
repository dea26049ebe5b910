"""Which modules does a model own, once adapters that wrap them are looked through?

PEFT replaces a module by a wrapper that holds it. Paths stay those of the base
model, so the tree is walked down to a wrapper and never into it.
"""

from collections.abc import Iterator
from typing import cast

from torch import nn

_INNER_NAMES = ("base_layer", "original_module")


def base_model(model: nn.Module) -> nn.Module:
    """The model below a `PeftModel`, or the model itself."""
    get_base = getattr(model, "get_base_model", None)
    return cast(nn.Module, get_base()) if callable(get_base) else model


def base_module(module: nn.Module) -> nn.Module:
    """The module below any adapter wrapper, or the module itself.

    >>> map_ = nn.Linear(2, 3)
    >>> base_module(map_) is map_
    True
    """
    for name in _INNER_NAMES:
        inner = getattr(module, name, None)
        if isinstance(inner, nn.Module):
            return base_module(inner)
    return module


def own_modules(module: nn.Module, path: str = "") -> Iterator[tuple[str, nn.Module]]:
    """Walk a tree of modules from the top; a shared module appears at each place.

    Args:
        module: Where to start.
        path: Its path, put before every path that follows.

    Yields:
        Path and module; a wrapped module is its wrapper, whose inside is left out.

    >>> [path for path, _ in own_modules(nn.Sequential(nn.Linear(1, 1)))]
    ['', '0']
    """
    yield path, module
    if base_module(module) is not module:
        return
    for name, child in module._modules.items():  # named_children skips repeats
        if child is not None:
            yield from own_modules(child, join(path, name))


def join(*names: str) -> str:
    """Dotted path of names, empty ones left out.

    >>> join("", "layers", "0")
    'layers.0'
    """
    return ".".join(name for name in names if name)


def is_linear_map(module: nn.Module) -> bool:
    """Whether the module, or the one it wraps, multiplies by one stored matrix."""
    module = base_module(module)
    return isinstance(module, nn.Linear) or is_transposed(module)


def is_transposed(module: nn.Module) -> bool:
    """Whether the matrix is stored `[in out]`, as in `transformers`' `Conv1D`."""
    return type(base_module(module)).__name__ == "Conv1D"


def map_shape(module: nn.Module) -> tuple[int, int]:
    """Output and input units of a linear map, whatever form its matrix is kept in.

    >>> map_shape(nn.Linear(2, 3))
    (3, 2)
    """
    module = base_module(module)
    if isinstance(module, nn.Linear):
        return module.out_features, module.in_features
    num_inputs, num_outputs = cast(nn.Linear, module).weight.shape
    return num_outputs, num_inputs
