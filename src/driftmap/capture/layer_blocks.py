"""How does a model run one of its blocks alone, with all that the block is given?

The whole model is called, and every other block hands on what it gets. So masks,
positions and whatever else a block takes are made as in any pass, and none is kept.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial

from torch import Tensor, nn

from driftmap.capture.hooks import running_instead
from driftmap.capture.losses import all_logits
from driftmap.core.errors import MeasureError
from driftmap.families.discover import find_layout
from driftmap.families.modules import base_model
from driftmap.signals.batch import Batch

Seen = Callable[[int, Tensor], None]
"""Takes the number of a block and the hidden states that enter it; the number of
blocks, and those that leave the last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Call:
    """A call of a block, not made yet."""

    forward: Callable[..., object]
    args: Sequence[object]
    named: Mapping[str, object]

    @property
    def hidden(self) -> Tensor:
        hidden = self.args[0] if self.args else self.named["hidden_states"]
        assert isinstance(hidden, Tensor)
        return hidden

    def run(self, hidden: Tensor) -> object:
        if self.args:
            return self.forward(hidden, *self.args[1:], **self.named)
        return self.forward(**{**self.named, "hidden_states": hidden})


_Step = Callable[[int, _Call], object]


class Blocks:
    """Runs the parts of a model: what is before its blocks, one of them, what follows.

    `whole` comes first, and learns what blocks give beside hidden states.

    Args:
        model: The model; every run is inside `patched`.
        head: Its map to the logits.
    """

    def __init__(self, model: nn.Module, head: nn.Module) -> None:
        base = base_model(model)
        self.paths = find_layout(model).blocks
        self._model = model
        self._head = head
        self._blocks = [base.get_submodule(path) for path in self.paths]
        self._step: _Step | None = None
        self._lengths: list[int | None] = [None] * len(self._blocks)

    @property
    def number(self) -> int:
        """How many blocks there are."""
        return len(self._blocks)

    @contextmanager
    def patched(self) -> Iterator[None]:
        """Stand in for every block for as long as the block of code runs."""
        with ExitStack() as stack:
            for number, block in enumerate(self._blocks):
                forward = partial(self._forward, number, block.forward)
                stack.enter_context(running_instead(block, forward))
            yield

    def whole(self, batch: Batch, see: Seen) -> None:
        """Run all blocks, and show what enters each and what leaves the last."""
        self._run(batch, partial(self._run_and_show, see))

    def before(self, batch: Batch) -> Tensor:
        """Run what is before the blocks; gives what enters the first."""
        entered: list[Tensor] = []
        self._run(batch, partial(self._pass_by, entered))
        return entered[0]

    def alone(self, chosen: int, batch: Batch, hidden: Tensor) -> Tensor:
        """Run one block on hidden states; gives what leaves it."""
        left: list[Tensor] = []
        self._run(batch, partial(self._run_one, chosen, hidden, left))
        return left[0]

    def after(self, hidden: Tensor, run: Callable[[], Tensor]) -> Tensor:
        """Run what follows the blocks on hidden states.

        Args:
            hidden: What leaves the last block.
            run: Calls the model.
        """
        self._step = partial(self._end_with, hidden)
        return run()

    def _run_and_show(self, see: Seen, number: int, call: _Call) -> object:
        see(number, call.hidden)
        given = call.run(call.hidden)
        left = self._learn(number, given)
        if number == self.number - 1:
            see(self.number, left)
        return given

    def _pass_by(self, entered: list[Tensor], number: int, call: _Call) -> object:
        entered.append(call.hidden)
        return self._formed(number, call.hidden.detach())

    def _run_one(
        self, chosen: int, hidden: Tensor, left: list[Tensor], number: int, call: _Call
    ) -> object:
        if number != chosen:
            return self._formed(number, call.hidden.detach())
        left.append(self._learn(number, call.run(hidden)))
        return self._formed(number, left[0].detach())

    def _end_with(self, hidden: Tensor, number: int, call: _Call) -> object:
        last = number == self.number - 1
        return self._formed(number, hidden if last else call.hidden.detach())

    def _run(self, batch: Batch, step: _Step) -> None:
        """Without the head: its logits would be read by no one."""
        self._step = step
        with running_instead(self._head, _unchanged):
            all_logits(self._model, batch)

    def _forward(
        self,
        number: int,
        forward: Callable[..., object],
        *args: object,
        **named: object,
    ) -> object:
        assert self._step is not None
        return self._step(number, _Call(forward=forward, args=args, named=named))

    def _learn(self, number: int, given: object) -> Tensor:
        """Take the hidden states out of what a block gave."""
        hidden = given
        if isinstance(given, tuple) and given:
            self._lengths[number] = len(given)
            hidden = given[0]
        if not isinstance(hidden, Tensor):
            raise MeasureError(
                f"{self.paths[number]}: it gives {type(given).__name__} and no hidden "
                "states, so layers cannot be taken one by one; take them in one pass"
            )
        return hidden

    def _formed(self, number: int, hidden: Tensor) -> object:
        length = self._lengths[number]
        return hidden if length is None else (hidden, *[None] * (length - 1))


def _unchanged(hidden: Tensor, *_: object, **__: object) -> Tensor:
    return hidden
