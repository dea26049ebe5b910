"""What does each cell say, if only what it can reach is run?

A state put back at token t of layer l changes nothing before t, and nothing in the
layers up to l. So all cells of one token walk through the model's own blocks as one
batch: before each block those whose state was put back right below it join. The keys
and values of the tokens before t are those of the corrupted rows.

The model itself is called, with a cache that holds these: it makes masks and positions
for what follows them as in any other pass, and its own end makes the logits. Only its
blocks are stood in for.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property, partial

import torch
from jaxtyping import Float
from torch import Tensor

from driftmap.capture.hooks import running_instead
from driftmap.capture.patching.base_pass import BasePass
from driftmap.capture.patching.outcomes import ReadAnswer
from driftmap.capture.patching.prefix import Keys, Prefix
from driftmap.capture.patching.putting import Changes, Put, restored_kind
from driftmap.capture.patching.states import editing_states, states_of
from driftmap.capture.patching.traced import answer_logits
from driftmap.signals.traces import Restoring

_ROWS_BY_HEAD = ("alibi",)
"""Arguments of blocks that hold rows and heads in one axis, row after row."""


def reached_cells(
    base: BasePass,
    restoring: Restoring,
    token: int,
    columns: Sequence[range],
    read: ReadAnswer,
    changes: Changes,
) -> Float[Tensor, "column draw *_"]:
    """Run all cells of one token; see `naive_cells` for what is given.

    With keys and values in the base pass, from that token on; without, from the first
    token of the prompt.
    """
    stretch = _Stretch(base=base, restoring=restoring, token=token)
    seeds = _seeds(stretch, columns, changes)
    walk = _Walk(stretch, columns, seeds, changes)
    with _standing_in(base, walk.block), _holding(stretch, walk.held):
        logits = stretch.run(base.num_tokens, base.num_answers)
    if walk.keys is not None:
        logits = _ended(stretch, walk)
    answers = read(logits)
    rows = answers.reshape(-1, base.num_draws, *answers.shape[1:])
    place = {column: at for at, of in enumerate(walk.groups) for column in of}
    return rows[[place[column] for column in range(len(columns))]]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Stretch:
    """The tokens that are run for the cells of one of them."""

    base: BasePass
    restoring: Restoring
    token: int

    @property
    def first(self) -> int:
        """The first token that is run."""
        return 0 if self.base.recorder is None else self.token

    @property
    def at(self) -> int:
        """Place of the cells' token among those that are run."""
        return self.token - self.first

    @property
    def held(self) -> Mapping[int, str]:
        """Modules below the blocks whose outputs are put back or held, by layer."""
        kind = self.restoring.kind
        return {} if kind == "hidden" else self.base.traced.places(kind)

    @cached_property
    def prefix(self) -> Prefix | None:
        """Keys and values of the tokens before."""
        recorder = self.base.recorder
        return None if recorder is None else recorder.before(self.first)

    @property
    def ends_apart(self) -> bool:
        """The last block is run at the places of the answer alone.

        Not where hooks that move weights wait for the end of a block.
        """
        answers = self.base.num_prompt - 1
        last = self.base.traced.blocks[-1].modules()
        moved = any(hasattr(module, "_hf_hook") for module in last)
        return self.prefix is not None and self.token < answers and not moved

    def run(self, end: int, num_answers: int) -> Tensor:
        """Call the model on the tokens up to `end`, one row."""
        token_ids = self.base.token_ids[:, self.first : end]
        model = self.base.traced.model
        return answer_logits(model, token_ids, num_answers, self.prefix)


def _ended(stretch: _Stretch, walk: "_Walk") -> Tensor:
    """Run the last block and the model's end at the places of the answer alone."""
    base = stretch.base
    assert base.recorder is not None
    assert walk.keys is not None
    assert walk.rows is not None
    rows = walk.rows[:, -base.num_answers :]

    def block(layer: int, call: "_Call") -> object:
        is_last = layer == base.num_layers - 1
        states = states_of(call.run(rows)) if is_last else call.hidden
        return call.returned(base.forms[layer], states)

    first = base.num_prompt - 1
    prefix = base.recorder.before(first).with_keys(walk.keys)
    with _standing_in(base, block):
        return answer_logits(
            base.traced.model, base.token_ids[:, first:], base.num_answers, prefix
        )


def _seeds(
    stretch: _Stretch, columns: Sequence[range], changes: Changes
) -> Mapping[int, Float[Tensor, "draw width"]]:
    """What stands at the token after the first layer of each column, by layer."""
    base, token, restoring = stretch.base, stretch.token, stretch.restoring
    starts = {layers.start for layers in columns}
    if restored_kind(restoring.kind) != "hidden":
        return _computed_seeds(stretch, starts, changes)
    seeds = {}
    for layer in starts:
        path = base.traced.sites.blocks[layer]
        put = Put(path=path, values=base.clean(path, token), dims=restoring.dims)
        states = base.corrupted(path, token)[:, None]
        seeds[layer] = changes.put(states, 0, put)[:, 0]
    return seeds


def _computed_seeds(
    stretch: _Stretch, starts: set[int], changes: Changes
) -> Mapping[int, Float[Tensor, "draw width"]]:
    """Run every such block once with its own module's clean output put back.

    In that block nothing but the token itself changes, so with keys and values the
    token alone is run.
    """
    base, token = stretch.base, stretch.token
    end = token + 1
    seeds: dict[int, Tensor] = {}

    def block(layer: int, call: "_Call") -> object:
        if layer not in starts:
            return call.returned(base.forms[layer], call.hidden)
        states = base.block_input(layer)[:, stretch.first : end]
        seeds[layer] = states_of(call.run(states))[:, stretch.at]
        return call.returned(base.forms[layer], call.hidden)

    def held(layer: int, path: str, states: Tensor) -> Tensor:
        put = Put(path=path, values=base.clean(path, token))
        return changes.put(states, stretch.at, put)

    with _standing_in(base, block), _holding(stretch, held, end):
        stretch.run(end, 1)
    return seeds


class _Walk:
    """All cells of one token on their way through the blocks.

    Cells that are the same up to a block are one group of rows, a row per draw, which
    parts where some of them no longer have their module put back.
    """

    def __init__(
        self,
        stretch: _Stretch,
        columns: Sequence[range],
        seeds: Mapping[int, Tensor],
        changes: Changes,
    ) -> None:
        self.groups: list[tuple[int, ...]] = []
        self._stretch = stretch
        self._columns = columns
        self._seeds = seeds
        self._changes = changes
        self.rows: Tensor | None = None
        self.keys: Keys | None = None
        """Of the last block, where it is run apart."""

    def block(self, layer: int, call: "_Call") -> object:
        """Run the rows through one block of the model."""
        base = self._stretch.base
        is_last = layer == base.num_layers - 1
        self._join(layer)
        if is_last and self._stretch.ends_apart and not self._starting(layer):
            return self._begin_last(call)
        if self.rows is not None:
            self.rows = states_of(call.run(self.rows))
        if is_last:
            self._join(base.num_layers)
        rows = call.hidden if self.rows is None else self.rows
        return call.returned(base.forms[layer], rows)

    def _begin_last(self, call: "_Call") -> object:
        """Make the last block's keys and values, or run it where it makes none."""
        base, rows, prefix = self._stretch.base, self.rows, self._stretch.prefix
        assert rows is not None
        assert prefix is not None
        given: list[object] = []
        self.keys = prefix.made_by(lambda: given.append(call.run(rows)))
        states = call.hidden if self.keys is not None else states_of(given[0])
        return call.returned(base.forms[-1], states)

    def held(self, layer: int, path: str, states: Tensor) -> Tensor | None:
        """Put back or hold what a module gives at the token."""
        stretch = self._stretch
        base, token = stretch.base, stretch.token
        if stretch.restoring.kind.startswith("severed"):
            put = Put(path=path, values=base.corrupted(path, token))
            return self._changes.put(states, stretch.at, put)
        put = Put(path=path, values=base.clean(path, token))
        draws = base.num_draws
        patched = [at for at, of in enumerate(self.groups) if self._end(of) > layer]
        if not patched:
            return None
        rows = torch.cat([torch.arange(draws) + at * draws for at in patched])
        return self._changes.put(states, stretch.at, put, rows.to(states.device))

    def _join(self, layer: int) -> None:
        """Before a block: part what ends here, and take in what begins below it."""
        parts: list[Tensor] = []
        groups: list[tuple[int, ...]] = []
        for at, group in enumerate(self.groups):
            over = tuple(c for c in group if self._columns[c].stop <= layer)
            on = tuple(c for c in group if self._columns[c].stop > layer)
            for of in (over, on):
                if of:
                    groups.append(of)
                    parts.append(self._of(at))
        new = self._starting(layer - 1)
        for of in new:
            groups.append(of)
            parts.append(self._planted(layer - 1))
        if len(groups) != len(self.groups):
            device = parts[0].device
            self.rows = torch.cat([part.to(device) for part in parts])
        self.groups = groups

    def _starting(self, layer: int) -> list[tuple[int, ...]]:
        """Groups of columns whose first layer is this one: those over, those not."""
        starting = [c for c, of in enumerate(self._columns) if of.start == layer]
        over = tuple(c for c in starting if self._columns[c].stop <= layer + 1)
        on = tuple(c for c in starting if self._columns[c].stop > layer + 1)
        return [of for of in (over, on) if of]

    def _planted(self, layer: int) -> Tensor:
        stretch = self._stretch
        path = stretch.base.traced.sites.blocks[layer]
        states = stretch.base.outputs[path][1:, stretch.first :].clone()
        states[:, stretch.at] = self._seeds[layer].to(states)
        return states

    def _of(self, at: int) -> Tensor:
        assert self.rows is not None
        draws = self._stretch.base.num_draws
        return self.rows[at * draws : (at + 1) * draws]

    def _end(self, group: tuple[int, ...]) -> int:
        """One past the last layer in which a group has its module put back."""
        return self._columns[group[0]].stop if len(group) == 1 else self._stop(group)

    def _stop(self, group: tuple[int, ...]) -> int:
        return min(self._columns[column].stop for column in group)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Call:
    """A call of a block that the model makes for one row, not made yet."""

    forward: Callable[..., object]
    args: tuple[object, ...]
    named: Mapping[str, object]

    @property
    def hidden(self) -> Tensor:
        """What the model hands to the block."""
        hidden = self.args[0] if self.args else self.named["hidden_states"]
        assert isinstance(hidden, Tensor)
        return hidden

    def run(self, rows: Tensor) -> object:
        """Run the block on rows, with all else that it was given."""
        named = {
            name: value.repeat(len(rows), *[1] * (value.ndim - 1))
            if name in _ROWS_BY_HEAD and isinstance(value, Tensor)
            else value
            for name, value in self.named.items()
        }
        if self.args:
            return self.forward(rows, *self.args[1:], **named)
        return self.forward(**{**named, "hidden_states": rows})

    @staticmethod
    def returned(form: int | None, rows: Tensor) -> object:
        """Rows as the block would return them."""
        return rows if form is None else (rows, *[None] * (form - 1))


@contextmanager
def _standing_in(
    base: BasePass, step: Callable[[int, _Call], object]
) -> Iterator[None]:
    """Have `step` called instead of every block for as long as the block runs."""
    with ExitStack() as stack:
        for layer, block in enumerate(base.traced.blocks):
            forward = partial(_stand_in, step, layer, block.forward)
            stack.enter_context(running_instead(block, forward))
        yield


def _stand_in(
    step: Callable[[int, _Call], object],
    layer: int,
    forward: Callable[..., object],
    *args: object,
    **named: object,
) -> object:
    return step(layer, _Call(forward=forward, args=args, named=named))


@contextmanager
def _holding(
    stretch: _Stretch,
    held: Callable[[int, str, Tensor], Tensor | None],
    end: int | None = None,
) -> Iterator[None]:
    """Have `held` say what the modules below the blocks give."""
    base = stretch.base
    layers, paths = list(stretch.held), list(stretch.held.values())

    def edit(number: int, states: Tensor) -> Tensor | None:
        return held(layers[number], paths[number], states)

    modules = [base.traced.module(path) for path in paths]
    num_tokens = (end or base.num_tokens) - stretch.first
    with editing_states(modules, num_tokens, edit):
        yield
