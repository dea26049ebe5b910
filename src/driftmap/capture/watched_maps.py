"""What enters a model's linear maps, whatever module multiplies by them?

Most maps are modules, whose calls are watched. A router multiplies by a parameter of
its own inside a larger function; while it runs, its call of `linear` is watched.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from driftmap.capture.hooks import OutputHook, running_instead, watching
from driftmap.families.modules import base_module


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class WatchedMap:
    """A linear map and who runs it.

    Args:
        module: The map itself, or the module that multiplies by its weight.
        weight: Which parameter that is, `[out in]`; None where the module is the map.
    """

    module: nn.Module
    weight: nn.Parameter | None = None


@contextmanager
def watching_maps(maps: Sequence[WatchedMap], hook: OutputHook) -> Iterator[None]:
    """Call `hook` after every use of every map, by the map's place in `maps`.

    Args:
        maps: What to watch.
        hook: Takes inputs and outputs; what it returns is what the model goes on with.
    """
    modules = {n: one.module for n, one in enumerate(maps) if one.weight is None}
    numbers = list(modules)

    def renumbered(index: int, inputs: Tensor, output: Tensor) -> Tensor | None:
        return hook(numbers[index], inputs, output)

    with ExitStack() as stack:
        stack.enter_context(watching(list(modules.values()), renumbered))
        for number, one in enumerate(maps):
            if one.weight is not None:
                inner = base_module(one.module)
                watch = partial(hook, number)
                forward = partial(_watched, inner.forward, one.weight, watch)
                stack.enter_context(running_instead(inner, forward))
        yield


_Seen = Callable[[Tensor, Tensor], Tensor | None]


def _watched(
    forward: Callable[..., object],
    weight: nn.Parameter,
    seen: _Seen,
    *args: object,
    **named: object,
) -> object:
    with _Products(weight, seen):
        return forward(*args, **named)


class _Products(TorchFunctionMode):
    """Sees every `linear` by one weight, or by that weight in a wider dtype."""

    def __init__(self, weight: nn.Parameter, seen: _Seen) -> None:
        super().__init__()
        self._known: list[Tensor] = [weight]
        self._seen = seen

    def __torch_function__(
        self,
        func: Callable[..., object],
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> object:
        named = dict(kwargs or {})
        output = func(*args, **named)
        if func is functional.linear:
            weight = args[1] if len(args) > 1 else named["weight"]
            if self._is_known(weight):
                inputs = args[0] if args else named["input"]
                other = self._seen(inputs, cast(Tensor, output))
                return output if other is None else other
        elif func in _CASTS and self._is_known(args[0]) and args[0] is not output:
            self._known.append(cast(Tensor, output))
        return output

    def _is_known(self, tensor: object) -> bool:
        return any(tensor is known for known in self._known)


_CASTS = (Tensor.type, Tensor.to, Tensor.float, Tensor.double)
