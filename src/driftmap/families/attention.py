"""Where does a model attend, and how is each look it takes seen or changed?

Modules of transformers look their attention up by name. For as long as someone watches,
what stands under the model's present name is wrapped: the model's settings, its masks
and whatever it decides by that name stay as they are, so its numbers do, bit for bit.
Query and key arrive after rotation and norms, so nothing of a family need be known.
Modules that attend by code of their own are watched at torch's function, or by the map
that they return.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from transformers import AttentionInterface
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from driftmap.core.errors import FamilyError
from driftmap.families.modules import base_model, own_modules
from driftmap.results.attention import AttentionPlace
from driftmap.signals.attention import AttentionCall

ChangeMask = Callable[[AttentionCall], object]
"""Takes a call and returns the mask to attend under; None where it has none."""

SeeCall = Callable[[AttentionCall], None]
"""Takes a call as it is about to be made, or a map as it was returned."""

Attend = Callable[..., tuple[Tensor, Tensor | None]]

_REGISTRY = "ALL_ATTENTION_FUNCTIONS"
_EAGER = "eager_attention_forward"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Watched:
    """Who changes and who sees the calls of one module."""

    change: list[tuple[int, ChangeMask]] = field(default_factory=list)
    see: list[tuple[int, SeeCall]] = field(default_factory=list)


_watched: dict[nn.Module, _Watched] = {}


def find_attention(model: nn.Module) -> tuple[AttentionPlace, ...]:
    """Find every module that attends by softmax, by running the model on one token.

    Args:
        model: A causal language model, with or without adapters.

    Returns:
        In the order of layers. Layers that mix tokens by other means have none.

    Raises:
        FamilyError: None is known, or one neither looks its attention up nor shows it.
    """
    base = base_model(model)
    found = {path: module for path, module in own_modules(base) if _attends(module)}
    if not found:
        raise FamilyError(
            f"{type(base).__name__}: no module was found that attends by softmax "
            "through transformers or returns its map; attention of this family cannot "
            "be read"
        )
    heads: dict[int, int] = {}

    def count(call: AttentionCall) -> None:
        heads[call.place] = call.num_heads

    ordered = sorted(found, key=_layer_of)
    with seeing(model, ordered, count), _still(base):
        token = torch.zeros((1, 1), dtype=torch.long, device=_device(base))
        base(token, use_cache=False)
    silent = [path for n, path in enumerate(ordered) if n not in heads]
    if silent:
        raise FamilyError(
            f"{silent[0]}: {type(found[silent[0]]).__name__} attends without showing "
            "how; load the model with attn_implementation='sdpa' or 'eager'"
        )
    return tuple(
        AttentionPlace(path=path, layer=_layer_of(path), num_heads=heads[number])
        for number, path in enumerate(ordered)
    )


@contextmanager
def seeing(model: nn.Module, paths: Sequence[str], see: SeeCall) -> Iterator[None]:
    """Show every call of some modules, as it is made, for as long as the block runs.

    Args:
        model: The model, with or without adapters.
        paths: Modules that attend; calls are numbered by their place in this list.
        see: Takes each call.
    """
    with _watching(model, paths) as watched:
        own = [(one.see, (number, see)) for number, one in enumerate(watched)]
        yield from _listed(own)


@contextmanager
def changing_masks(
    model: nn.Module, paths: Sequence[str], change: ChangeMask
) -> Iterator[None]:
    """Attend under other masks for as long as the block runs.

    Args:
        model: The model, with or without adapters.
        paths: Modules that attend; calls are numbered by their place in this list.
        change: Says under which.
    """
    with _watching(model, paths) as watched:
        own = [(one.change, (number, change)) for number, one in enumerate(watched)]
        yield from _listed(own)


def _listed(own: Sequence[tuple[list[Any], tuple[int, Any]]]) -> Iterator[None]:
    try:
        for listed, entry in own:
            listed.append(entry)
        yield
    finally:
        for listed, entry in own:
            listed.remove(entry)


@contextmanager
def _watching(model: nn.Module, paths: Sequence[str]) -> Iterator[list[_Watched]]:
    """Have the calls of some modules come by here."""
    base = base_model(model)
    modules = [base.get_submodule(path) for path in paths]
    with ExitStack() as stack:
        for module in modules:
            if module not in _watched:
                _watched[module] = _Watched()
                stack.callback(_watched.pop, module)
                if not _looks_up(module):
                    stack.enter_context(_own_code(module))
        for module in modules:
            if _looks_up(module):
                registry, name = _registry(module), _name(module)
                stack.enter_context(_wrapped(registry, name))
        yield [_watched[module] for module in modules]


@contextmanager
def _wrapped(registry: AttentionInterface, name: str) -> Iterator[None]:
    """Stand in for what a registry has under a name; other modules go on to it."""
    kept = cast(dict[str, Attend], registry._local_mapping)
    had = kept.get(name)
    if isinstance(had, _ByWatched):
        yield
        return
    kept[name] = _ByWatched(had or cast(Attend | None, registry.get(name)))
    try:
        yield
    finally:
        kept.pop(name)
        if had is not None:
            kept[name] = had


class _ByWatched:
    """An attention function that shows calls of watched modules, and makes all."""

    def __init__(self, former: Attend | None) -> None:
        self._former = former

    def __call__(
        self,
        module: nn.Module,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: object = None,
        **kwargs: Any,  # noqa: ANN401
    ) -> tuple[Tensor, Tensor | None]:
        attend = self._former or _own_globals(module)[_EAGER]
        watched = _watched.get(module)
        if watched is not None:
            call = AttentionCall(
                place=-1,
                query=query,
                key=key,
                value=value,
                mask=attention_mask,
                scaling=kwargs.get("scaling"),
                softcap=kwargs.get("softcap"),
                sinks=kwargs.get("s_aux"),
                bias=kwargs.get("position_bias"),
                window=kwargs.get("sliding_window"),
            )
            attention_mask = _shown(watched, call).mask
        return attend(module, query, key, value, attention_mask, **kwargs)


def _shown(watched: _Watched, call: AttentionCall) -> AttentionCall:
    """Change a call's mask, then show it."""
    for place, change in watched.change:
        call = replace(call, mask=change(replace(call, place=place)))
    for place, see in watched.see:
        see(replace(call, place=place))
    return call


@contextmanager
def _own_code(module: nn.Module) -> Iterator[None]:
    """Show what a module does that attends by code of its own."""
    kept = vars(module).get("forward")
    forward = module.forward

    def run(  # noqa: ANN202
        *args: Any,  # noqa: ANN401
        **kwargs: Any,  # noqa: ANN401
    ):
        watched = _watched[module]
        kwargs = _with_changed_mask(watched, kwargs)
        with _AtTorch(watched):
            output = forward(*args, **kwargs)
        if isinstance(output[1], Tensor):
            for place, see in watched.see:
                see(AttentionCall(place=place, map=output[1]))
        return output

    vars(module)["forward"] = run
    try:
        yield
    finally:
        if kept is None:
            vars(module).pop("forward")
        else:
            vars(module)["forward"] = kept


def _with_changed_mask(watched: _Watched, kwargs: dict[str, Any]) -> dict[str, Any]:
    """Change the mask that a module of its own code is given, where it is given one.

    Where it then calls torch's attention, the mask is changed once more; a change of a
    changed mask changes nothing.
    """
    mask = kwargs.get("attention_mask")
    if not watched.change or not isinstance(mask, Tensor):
        return kwargs
    # A first query never sees the last key: where that is True, True hides.
    is_hiding = mask.dtype == torch.bool and bool(mask[0, 0, 0, -1])
    call = AttentionCall(place=-1, mask=~mask if is_hiding else mask)
    for place, change in watched.change:
        call = replace(call, mask=change(replace(call, place=place)))
    assert isinstance(call.mask, Tensor)
    return {**kwargs, "attention_mask": ~call.mask if is_hiding else call.mask}


class _AtTorch(TorchFunctionMode):
    """Sees torch's own attention where a module calls it itself."""

    def __init__(self, watched: _Watched) -> None:
        super().__init__()
        self._watched = watched

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        kwargs = dict(kwargs or {})
        if func is nn.functional.scaled_dot_product_attention:
            query, key, value = args
            call = AttentionCall(
                place=-1,
                query=query,
                key=key,
                value=value,
                mask=kwargs.get("attn_mask"),
                scaling=kwargs.get("scale"),
            )
            kwargs["attn_mask"] = _shown(self._watched, call).mask
            kwargs["is_causal"] = kwargs["is_causal"] and kwargs["attn_mask"] is None
        return func(*args, **kwargs)


def _attends(module: nn.Module) -> bool:
    """Whether a module looks attention up, or attends and returns its map."""
    return _looks_up(module) or _shows_map(module)


def _looks_up(module: nn.Module) -> bool:
    forward = inspect.unwrap(type(module).forward)
    code = getattr(forward, "__code__", None)
    return code is not None and _REGISTRY in code.co_names


def _shows_map(module: nn.Module) -> bool:
    """Whether it is attention of transformers' older manner, which returns its map."""
    kind = type(module)
    return kind.__name__.endswith("Attention") and _REGISTRY not in _own_globals(module)


def _own_globals(module: nn.Module) -> dict[str, Any]:
    forward = inspect.unwrap(type(module).forward)
    return getattr(forward, "__globals__", {})


def _registry(module: nn.Module) -> AttentionInterface:
    return _own_globals(module).get(_REGISTRY, ALL_ATTENTION_FUNCTIONS)


def _name(module: nn.Module) -> str:
    """Under which name a module looks its attention up at present."""
    return str(cast(Any, module).config._attn_implementation)


def _layer_of(path: str) -> int:
    return next((int(name) for name in path.split(".") if name.isdigit()), 0)


def _device(model: nn.Module) -> torch.device:
    return next(model.parameters()).device


@contextmanager
def _still(model: nn.Module) -> Iterator[None]:
    """Without gradients and dropout."""
    modes = [(module, module.training) for module in model.modules()]
    try:
        model.eval()
        with torch.no_grad():
            yield
    finally:
        for module, mode in modes:
            module.training = mode
