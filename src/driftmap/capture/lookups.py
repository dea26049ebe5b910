"""Which rows of a table does a model look up, and what gradient comes back to them?

The look-up itself is watched, inside the table's module: positions may be shifted
before it, and rows scaled after it. What it gives is where the graph begins.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from driftmap.capture.hooks import running_instead

LookedUp = Callable[[int, Tensor, int | None, Tensor], Tensor]
"""Takes the number of a table, the rows it looked up, the one that gets no gradient
and what they hold; returns what the model goes on with."""


@contextmanager
def watching_lookups(tables: Sequence[nn.Module], hook: LookedUp) -> Iterator[None]:
    """Call `hook` after every look-up in one of the tables."""
    with ExitStack() as stack:
        for index, table in enumerate(tables):
            watched = partial(_forward, table.forward, partial(hook, index), table)
            stack.enter_context(running_instead(table, watched))
        yield


def leaf(values: Tensor) -> Tensor:
    """Where the graph begins: nothing below it is asked for a gradient."""
    return values.detach().requires_grad_(True)


def _forward(
    forward: Callable[..., object],
    hook: Callable[[Tensor, int | None, Tensor], Tensor],
    table: nn.Module,
    *args: object,
    **kwargs: object,
) -> object:
    with _Watch(table, hook):
        return forward(*args, **kwargs)


class _Watch(TorchFunctionMode):
    def __init__(
        self, table: nn.Module, hook: Callable[[Tensor, int | None, Tensor], Tensor]
    ) -> None:
        super().__init__()
        self._weight = table._parameters["weight"]
        self._hook = hook

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        kwargs = kwargs or {}
        output = func(*args, **kwargs)
        if func is functional.embedding and args[1] is self._weight:
            return self._hook(args[0], kwargs.get("padding_idx"), output)
        return output
