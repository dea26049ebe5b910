"""How is a model watched without leaving a trace on it?

Every function is a context manager that restores the model exactly, also after
an error.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

OutputHook = Callable[[int, Tensor, Tensor], Tensor | None]
"""Takes the number of a watched module, its inputs and its output; returns the output
that the model goes on with, or None to leave it alone."""

InputHook = Callable[[int, Tensor], Tensor]
"""Takes the number of a watched module and its inputs; returns those that it gets."""


@contextmanager
def frozen(model: nn.Module) -> Iterator[None]:
    """Let no parameter require a gradient for as long as the block runs."""
    flags = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    try:
        for parameter, _ in flags:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter, flag in flags:
            parameter.requires_grad_(flag)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Run every module in eval mode for as long as the block runs."""
    modes = [(module, module.training) for module in model.modules()]
    try:
        model.eval()
        yield
    finally:
        for module, mode in modes:
            module.training = mode


@contextmanager
def watching(modules: Sequence[nn.Module], hook: OutputHook) -> Iterator[None]:
    """Call `hook` after every execution of every module."""
    handles = []
    try:
        for index, module in enumerate(modules):
            watch = partial(_watch, hook, index)
            handles.append(module.register_forward_hook(watch, with_kwargs=True))
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def entering(modules: Mapping[int, nn.Module], hook: InputHook) -> Iterator[None]:
    """Call `hook` before every execution of every module, by the module's number."""
    handles = []
    try:
        for index, module in modules.items():
            enter = partial(_enter, hook, index)
            handles.append(module.register_forward_pre_hook(enter, with_kwargs=True))
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def running_instead(
    module: nn.Module, forward: Callable[..., object]
) -> Iterator[None]:
    """Have a module run another function for as long as the block runs."""
    kept = vars(module).get("forward")
    vars(module)["forward"] = forward
    try:
        yield
    finally:
        if kept is None:
            vars(module).pop("forward", None)
        else:
            vars(module)["forward"] = kept


@contextmanager
def leaf_input(block: nn.Module) -> Iterator[None]:
    """Cut the graph below `block`: gradients flow down to its input, no further."""
    handle = block.register_forward_pre_hook(_cut, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def one_attention_kernel(model: nn.Module) -> Iterator[None]:
    """Compute attention of a float32 model alike with and without padding.

    The fast kernels round differently once a mask is given: on a trained model
    scores then differ by up to 2.7e-6 of a matrix's largest value with padding,
    and by 4e-7 with the plain kernel. Narrower models have larger errors of
    their own and keep their kernels.
    """
    wide = all(p.dtype in (torch.float32, torch.float64) for p in model.parameters())
    with sdpa_kernel(SDPBackend.MATH) if wide else nullcontext():
        yield


def _watch(
    hook: OutputHook,
    index: int,
    module: nn.Module,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    output: object,
) -> Tensor | None:
    inputs = args[0] if args else next(iter(kwargs.values()))
    assert isinstance(output, Tensor), type(module)
    return hook(index, inputs, output)


def _enter(
    hook: InputHook,
    index: int,
    module: nn.Module,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if args:
        return (hook(index, args[0]), *args[1:]), kwargs
    name = next(iter(kwargs))
    return args, {**kwargs, name: hook(index, kwargs[name])}


def _cut(
    block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if args:
        return (_leaf(args[0]), *args[1:]), kwargs
    return args, {**kwargs, "hidden_states": _leaf(kwargs["hidden_states"])}


def _leaf(hidden_state: Tensor) -> Tensor:
    return hidden_state.detach().requires_grad_(True)
