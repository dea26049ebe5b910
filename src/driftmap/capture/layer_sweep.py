"""How are gradients shown layer by layer, so that only one layer's need be kept?

Forward once over all samples, keeping what enters every layer; then the head, then
from the top layer down: run the layer again, send the stored gradient back through it,
show its tensors for all queries and then for all originals. This costs a second forward
pass, and what the taker holds shrinks from all tensors to those of one layer.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from driftmap.capture.cleaning import require_finite
from driftmap.capture.gradient_taps import GradientTaps
from driftmap.capture.gradients import losses_at, say_others, show_others
from driftmap.capture.hidden_store import HiddenShape, HiddenStore, hidden_store
from driftmap.capture.hooks import frozen, one_attention_kernel
from driftmap.capture.labelled import labelled_tokens, model_head
from driftmap.capture.layer_blocks import Blocks
from driftmap.capture.layer_parts import ENTRY, ModelParts, model_parts
from driftmap.capture.layer_probe import probe_batch, require_like_whole
from driftmap.capture.lookups import leaf
from driftmap.capture.losses import require_counted
from driftmap.capture.stream import require_no_dropout
from driftmap.core.errors import MeasureError
from driftmap.core.progress import Silence, listening, progress
from driftmap.families.tensors import TensorRule
from driftmap.signals.batch import Batch
from driftmap.signals.gradients import TakeGradients, TensorSignal

Side = Literal["query", "original"]


@runtime_checkable
class TakesLayers(Protocol):
    """What is shown some tensors at a time."""

    def take(self, signal: TensorSignal, side: Side) -> None:
        """Take a signal; of each tensor all queries come first, then all originals."""
        ...

    def close(self) -> None:
        """Let go of the queries: no more originals come for the tensors shown last."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepSettings:
    """How much a sweep may hold.

    Args:
        memory_bytes: Memory for hidden states, in bytes; half of what is free by
            default.
        folder: Where hidden states lie that do not fit (path).
        query_batches: Query batches that are shown before the originals (count); all
            of them by default. With fewer, a layer's originals come several times.
    """

    memory_bytes: int | None = None
    folder: Path | None = None
    query_batches: int | None = None


def sweep_layers(
    model: nn.Module,
    rules: Sequence[TensorRule],
    queries: Sequence[Batch],
    originals: Sequence[Batch],
    taker: TakesLayers,
    settings: SweepSettings | None = None,
) -> None:
    """Show gradients of queries and originals, from the head down, layer by layer.

    Signals are those of `show_gradients`. Parameters of kind `other` come last.

    Args:
        model: A causal language model without dropout; left as it was found.
        rules: What to show (`find_tensors`).
        queries: Samples that are shown first.
        originals: Samples that are shown against them.
        taker: Takes the signals.
        settings: What may be held.

    Raises:
        MeasureError: As for `show_gradients`; or the model's layers cannot be taken
            one by one; or hidden states do not fit.
    """
    if not (rules and queries and originals):
        raise MeasureError("there is nothing to do: give tensors and two sets")
    require_no_dropout(model)
    require_counted([*queries, *originals])
    heard = [rule for rule in rules if rule.kind != "other"]
    others = [rule for rule in rules if rule.kind == "other"]
    settings = settings or SweepSettings()
    with frozen(model), one_attention_kernel(model):
        if heard:
            parts = _tried(model, heard, queries[0])
            sets = _Sets(queries=tuple(queries), originals=tuple(originals))
            _Sweep(model, parts, sets, taker, settings).run()
        if others:
            say_others(rules, others)
            _show_others(model, others, queries, originals, taker)


def require_layers(model: nn.Module, rules: Sequence[TensorRule], batch: Batch) -> None:
    """Refuse a model whose layers cannot be taken one by one.

    Args:
        model: A causal language model without dropout; left as it was found.
        rules: What will be shown.
        batch: Samples whose first tokens it is tried on.

    Raises:
        MeasureError: They cannot, and why.
    """
    heard = [rule for rule in rules if rule.kind != "other"]
    with frozen(model), one_attention_kernel(model):
        if heard:
            _tried(model, heard, batch)


def sweep_bytes(
    model: nn.Module, rules: Sequence[TensorRule], batches: Sequence[Batch]
) -> int:
    """Room that a sweep takes for hidden states, in bytes.

    Args:
        model: The model.
        rules: What it will show.
        batches: All samples of both sets.
    """
    blocks = Blocks(model, model_head(model))
    heard = [rule for rule in rules if rule.kind != "other"]
    parts = model_parts(model, heard, blocks, probe_batch(batches[0]))
    return _num_levels(blocks, parts) * _shape(parts, batches).num_bytes


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Sets:
    queries: tuple[Batch, ...]
    originals: tuple[Batch, ...]

    @property
    def every(self) -> tuple[Batch, ...]:
        return (*self.queries, *self.originals)


class _Sweep:
    """One sweep. Level `part` of the store is what enters a part."""

    def __init__(
        self,
        model: nn.Module,
        parts: ModelParts,
        sets: _Sets,
        taker: TakesLayers,
        settings: SweepSettings,
    ) -> None:
        self._model = model
        self._parts = parts
        self._sets = sets
        self._taker = taker
        self._settings = settings
        self._head = model_head(model)
        self._blocks = Blocks(model, self._head)
        self._side: Side = "query"

    def run(self) -> None:
        lowest = min(self._parts.rules)
        rounds = self._blocks.number + 1 - lowest
        shape = _shape(self._parts, self._sets.every)
        with (
            hidden_store(
                shape,
                _num_levels(self._blocks, self._parts),
                folder=self._settings.folder,
                memory_bytes=self._settings.memory_bytes,
            ) as store,
            self._blocks.patched(),
            progress("layers", rounds + 1) as bar,
        ):
            self._keep_all(store)
            bar.advance()
            for part in range(self._blocks.number, lowest - 1, -1):
                self._show(part, store)
                bar.advance()

    def _keep_all(self, store: HiddenStore) -> None:
        for number in range(len(self._sets.every)):
            with torch.no_grad():
                keep = partial(self._keep, store, number)
                self._blocks.whole(self._sets.every[number], keep)

    def _keep(
        self, store: HiddenStore, number: int, level: int, hidden: Tensor
    ) -> None:
        if level >= min(self._parts.rules):
            batch = self._sets.every[number]
            store.put(level, number, self._required(level, hidden, batch))

    def _required(self, level: int, hidden: Tensor, batch: Batch) -> Tensor:
        """Refuse hidden states that are not one row per sample and token, or broken."""
        path = (*self._blocks.paths, "the last block's output")[level]
        if hidden.shape != (*batch.real.shape, self._parts.width):
            raise MeasureError(
                f"{path}: its input has shape {tuple(hidden.shape)}, which is not "
                f"sample x token x {self._parts.width}; take layers in one pass"
            )
        padding = ~batch.real[..., None].to(hidden.device)
        require_finite(hidden.masked_fill(padding, 0), batch.sample_ids, path, "input")
        return hidden

    def _show(self, part: int, store: HiddenStore) -> None:
        """Show a part's tensors, and leave the gradient at what enters it."""
        rules = self._parts.rules.get(part, ())
        taps = GradientTaps(self._model, rules, self._take, head=self._head)
        num_queries = len(self._sets.queries)
        every = range(num_queries)
        originals = range(num_queries, len(self._sets.every))
        size = self._settings.query_batches if rules else None
        tiles = list(_tiles(every, size or num_queries))
        with torch.enable_grad(), taps.attached():
            for tile in tiles:
                self._side = "query"
                for number in tile:
                    self._show_batch(part, taps, store, number, True)
                self._side = "original"
                for number in originals:
                    self._show_batch(part, taps, store, number, tile is tiles[-1])
                if rules:
                    self._taker.close()
        if part < self._blocks.number:
            store.drop(self._gradient_level(part + 1))

    def _show_batch(
        self, part: int, taps: GradientTaps, store: HiddenStore, number: int, last: bool
    ) -> None:
        batch = self._sets.every[number]
        device = batch.token_ids.device
        taps.begin(batch, labelled_tokens(batch).used)
        if part == ENTRY:
            entered = taps.counting(partial(self._blocks.before, batch))
            if self._parts.late:
                start = leaf(store.get(self._blocks.number, number, device))
                taps.counting(partial(self._losses, batch, start)).sum().backward()
            entered.backward(store.get(0, number, entered.device))
            taps.finish()
            return
        start = leaf(store.get(part, number, device))
        if part == self._blocks.number:
            taps.counting(partial(self._losses, batch, start)).sum().backward()
        else:
            left = taps.counting(partial(self._blocks.alone, part, batch, start))
            above = self._gradient_level(part + 1)
            left.backward(store.get(above, number, left.device))
        taps.finish()
        if start.grad is None:
            raise MeasureError(
                f"{self._blocks.paths[part]}: no gradient came back through this "
                "layer; take layers in one pass"
            )
        if last and part > min(self._parts.rules):
            store.put(self._gradient_level(part), number, start.grad)

    def _gradient_level(self, part: int) -> int:
        """Where the gradient at what enters a part is kept.

        That is in place of what entered it, but at the top where that is read again.
        """
        again = part == self._blocks.number and bool(self._parts.late)
        return part + again

    def _losses(self, batch: Batch, hidden: Tensor) -> Tensor:
        labelled = labelled_tokens(batch)
        run = partial(losses_at, self._model, self._head, labelled, batch)
        losses = self._blocks.after(hidden, run)
        require_finite(losses, batch.sample_ids, "the logits", "loss")
        return losses

    def _take(self, signal: TensorSignal) -> None:
        self._taker.take(signal, self._side)


def _tried(model: nn.Module, rules: Sequence[TensorRule], batch: Batch) -> ModelParts:
    probe = probe_batch(batch)
    parts = model_parts(model, rules, Blocks(model, model_head(model)), probe)
    with listening(Silence()):
        alone = partial(_sweep_alone, model, parts, probe)
        require_like_whole(model, rules, probe, alone)
    return parts


class _Alone:
    """Hands on what queries show, and nothing of originals."""

    def __init__(self, take: TakeGradients) -> None:
        self._take = take

    def take(self, signal: TensorSignal, side: Side) -> None:
        if side == "query":
            self._take(signal)

    def close(self) -> None:
        """Nothing is held."""


def _sweep_alone(
    model: nn.Module, parts: ModelParts, batch: Batch, take: TakeGradients
) -> None:
    sets = _Sets(queries=(batch,), originals=())
    _Sweep(model, parts, sets, _Alone(take), SweepSettings()).run()


def _show_others(
    model: nn.Module,
    rules: Sequence[TensorRule],
    queries: Sequence[Batch],
    originals: Sequence[Batch],
    taker: TakesLayers,
) -> None:
    head = model_head(model)
    sides: tuple[tuple[Side, Sequence[Batch]], ...] = (
        ("query", queries),
        ("original", originals),
    )
    for side, batches in sides:
        for batch in batches:
            show_others(model, rules, head, batch, partial(taker.take, side=side))
    taker.close()


def _tiles(numbers: range, size: int) -> Iterator[range]:
    for start in range(0, len(numbers), size):
        yield numbers[start : start + size]


def _num_levels(blocks: Blocks, parts: ModelParts) -> int:
    return blocks.number + 1 + bool(parts.late)


def _shape(parts: ModelParts, batches: Sequence[Batch]) -> HiddenShape:
    sizes = tuple((len(batch.sample_ids), batch.real.shape[1]) for batch in batches)
    return HiddenShape(batches=sizes, width=parts.width, dtype=parts.dtype)
