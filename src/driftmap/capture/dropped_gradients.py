"""How does a gradient pass by what one block adds to the residual stream?

Direct and indirect effects of a state may cancel in a gradient. Without what a block
adds, one backward pass for each block, they cannot all do (GradDrop of AtP*, Kramar et
al. 2024, arXiv:2403.00745). Outputs stay as they are.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from driftmap.capture.patching.states import states_of, with_states


class Dropped:
    """Which block is passed by in the backward pass that comes next, if any."""

    layer: int | None = None


@contextmanager
def dropping(blocks: Sequence[nn.Module], dropped: Dropped) -> Iterator[None]:
    """Let gradients go past a block for as long as the block of code runs.

    Args:
        blocks: In the order of the model.
        dropped: Says which, and may change between backward passes of one run.
    """

    def leave(
        layer: int,
        _block: nn.Module,
        args: tuple[Any, ...],
        named: Mapping[str, Any],
        output: object,
    ) -> object:
        entered = args[0] if args else named["hidden_states"]
        states = _Residual.apply(entered, states_of(output), layer, dropped)
        return with_states(output, states)

    with ExitStack() as hooks:
        for layer, block in enumerate(blocks):
            hook = partial(leave, layer)
            handle = block.register_forward_hook(hook, with_kwargs=True)
            hooks.callback(handle.remove)
        yield


class _Residual(torch.autograd.Function):
    """A block's output; the gradient goes past the block where that is dropped."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401 (has no public type)
        entered: Tensor,
        left: Tensor,
        layer: int,
        dropped: Dropped,
    ) -> Tensor:
        ctx.layer, ctx.dropped = layer, dropped
        return left.view_as(left)

    @staticmethod
    def backward(
        ctx: Any,  # noqa: ANN401
        *gradients: Tensor,
    ) -> tuple[Tensor | None, Tensor | None, None, None]:
        if ctx.dropped.layer == ctx.layer:
            return gradients[0], None, None, None
        return None, gradients[0], None, None
