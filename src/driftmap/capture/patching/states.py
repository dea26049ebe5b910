"""What does a module give, and what does it give instead?

States come as `[row token width]` whatever form a module returns them in: alone, as
the first of several, or with rows and tokens in one axis.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from torch import Tensor, nn

from driftmap.core.errors import MeasureError

StateEdit = Callable[[int, Tensor], Tensor | None]
"""Takes the number of a module and its states; returns those that it gives instead,
or None to leave it alone."""


@contextmanager
def editing_states(
    modules: Sequence[nn.Module], num_tokens: int, edit: StateEdit
) -> Iterator[None]:
    """Call `edit` on the output of every module for as long as the block runs.

    Args:
        modules: Each is called at most once in a forward pass.
        num_tokens: Tokens of each row.
        edit: What is done.
    """
    handles = []
    try:
        for number, module in enumerate(modules):
            hook = partial(_hook, edit, number, num_tokens)
            handles.append(module.register_forward_hook(hook))
        yield
    finally:
        for handle in handles:
            handle.remove()


def states_of(output: object) -> Tensor:
    """Hidden states among what a module returned.

    Raises:
        MeasureError: They are not where they are looked for.
    """
    states = output[0] if isinstance(output, tuple) and output else output
    if not isinstance(states, Tensor):
        raise MeasureError(
            f"a block returned {type(output).__name__}, in which no hidden states are "
            "found; trace a model whose blocks return them first"
        )
    return states


def with_states(output: object, states: Tensor) -> object:
    """What a module returned, with other hidden states."""
    return (states, *output[1:]) if isinstance(output, tuple) else states


def _hook(
    edit: StateEdit,
    number: int,
    num_tokens: int,
    _module: nn.Module,
    _inputs: object,
    output: object,
) -> object:
    given = states_of(output)
    states = given.reshape(-1, num_tokens, given.shape[-1])
    edited = edit(number, states)
    if edited is None:
        return None
    return with_states(output, edited.reshape(given.shape))
