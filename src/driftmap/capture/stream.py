"""How do measures see all samples with one forward and backward per batch?

Any number of folds share a pass. Nothing that no fold asks for is computed: no
parameter gets a gradient, no logit is made where no loss term is read, and
nothing runs backward below the lowest site.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from driftmap.capture.expert_taps import ExpertTaps
from driftmap.capture.hooks import (
    frozen,
    leaf_input,
    one_attention_kernel,
)
from driftmap.capture.losses import (
    logits_at,
    require_counted,
    require_observed,
    sample_losses,
)
from driftmap.capture.memory import default_budget, plan_passes
from driftmap.capture.taps import Emit, Taps, Wanted
from driftmap.capture.watched_maps import watching_maps
from driftmap.core.errors import MeasureError
from driftmap.core.places import Site, canonical_order
from driftmap.core.progress import Progress, progress, say
from driftmap.families.discover import find_layout
from driftmap.families.modules import base_model
from driftmap.signals.batch import Batch
from driftmap.signals.fold import Fold, SiteSignal

States = list[dict[Site, Any]]


def run_folds(
    model: nn.Module,
    sites: Sequence[Site],
    batches: Sequence[Batch],
    folds: Sequence[Fold[Any, Any]],
    *,
    memory_bytes: int | None = None,
) -> tuple[Any, ...]:
    """Feed what every batch shows at every site to every fold.

    The loss is the sum over samples of each sample's mean cross-entropy, so no
    gradient depends on which samples share a batch.

    Args:
        model: A causal language model without dropout; left as it was found.
        sites: The matrices to watch.
        batches: All samples; read once per pass.
        folds: The measures.
        memory_bytes: Memory for the states of all folds, in bytes; 60 % of what
            is free by default. States that need more are made in several
            passes, each over some of the sites.

    Returns:
        The result of each fold, in order. After several passes results, which
        must be mappings by site, are joined: where even they do not fit, call
        this function part by part (`plan_passes`) and keep what you select.

    Raises:
        MeasureError: Dropout is on, a sample has no loss, a number is not
            finite, or the states of one site alone do not fit.
    """
    if not (sites and batches and folds):
        raise MeasureError("there is nothing to do: give sites, batches and folds")
    require_no_dropout(model)
    if Wanted.by(folds).backward:
        require_counted(batches)
    if any(fold.needs_observed for fold in folds):
        require_observed(batches)
    ordered = sorted(sites, key=canonical_order)
    budget = default_budget(model) if memory_bytes is None else memory_bytes
    parts = plan_passes(ordered, folds, budget)
    if len(parts) > 1:
        say(f"the scores do not fit into memory at once: {len(parts)} passes")
    results: list[list[Any]] = [[] for _ in folds]
    with frozen(model), progress("batches", len(parts) * len(batches)) as bar:
        for part in parts:
            states = _one_pass(model, part, batches, folds, bar)
            for kept, fold, state in zip(results, folds, states, strict=True):
                kept.append(fold.result(state))
    return tuple(kept[0] if len(kept) == 1 else _joined(kept) for kept in results)


def _one_pass(
    model: nn.Module,
    sites: Sequence[Site],
    batches: Sequence[Batch],
    folds: Sequence[Fold[Any, Any]],
    bar: Progress,
) -> States:
    states: States = [{site: fold.start(site) for site in sites} for fold in folds]

    def feed(signal: SiteSignal) -> None:
        for fold, state in zip(folds, states, strict=True):
            state[signal.site] = fold.update(state[signal.site], signal)

    wanted = Wanted.by(folds)
    taps = _Heard(model, sites, feed, wanted)
    with ExitStack() as stack:
        stack.enter_context(one_attention_kernel(model))
        if wanted.backward:
            stack.enter_context(leaf_input(_lowest_block(model, sites)))
        else:
            count = partial(_forward_only, model, _first_sample(batches[0]))
            taps.maps.learn_counts(count)
        stack.enter_context(taps.attached())
        show = _show_with_backward if wanted.backward else _show_forward
        for batch in batches:
            show(model, taps, batch)
            bar.advance()
    return states


class _Heard:
    """Maps that are heard one by one, and banks that show what their experts saw."""

    def __init__(
        self, model: nn.Module, sites: Sequence[Site], emit: Emit, wanted: Wanted
    ) -> None:
        outside = [site for site in sites if site.expert is None]
        experts = [site for site in sites if site.expert is not None]
        self.maps = Taps(model, outside, emit, wanted=wanted)
        self._banks = (
            ExpertTaps(model, experts, emit, wanted=wanted) if experts else None
        )

    @contextmanager
    def attached(self) -> Iterator[None]:
        with self.maps.attached():
            if self._banks is None:
                yield
                return
            with self._banks.attached():
                yield

    def forward(self, batch: Batch, run: Callable[[], Tensor]) -> Tensor:
        if self._banks is None:
            return self.maps.forward(batch, run)
        return self._banks.forward(batch, partial(self.maps.forward, batch, run))

    def finish(self) -> None:
        self.maps.finish()
        if self._banks is not None:
            self._banks.finish()


def _show_with_backward(model: nn.Module, taps: _Heard, batch: Batch) -> None:
    with torch.enable_grad():
        losses = taps.forward(batch, partial(sample_losses, model, batch))
        finite = torch.isfinite(losses).tolist()
        if not all(finite):
            raise _broken(model, taps.maps, batch, finite.index(False))
        if losses.requires_grad:  # if not, `finish` says where the graph ends
            losses.sum().backward()
    taps.finish()


def _show_forward(model: nn.Module, taps: _Heard, batch: Batch) -> None:
    with torch.no_grad():
        taps.forward(batch, partial(_forward_only, model, batch))
    taps.finish()


def _forward_only(model: nn.Module, batch: Batch) -> Tensor:
    last = torch.tensor([batch.real.shape[1] - 1], device=batch.token_ids.device)
    return logits_at(model, batch, last)


def _first_sample(batch: Batch) -> Batch:
    return Batch(
        sample_ids=batch.sample_ids[:1],
        sample_index=batch.sample_index[:1],
        token_ids=batch.token_ids[:1],
        real=batch.real[:1],
        counted=batch.counted[:1],
        observed=batch.observed[:1],
    )


def _lowest_block(model: nn.Module, sites: Sequence[Site]) -> nn.Module:
    path = find_layout(model).blocks[min(site.layer for site in sites)]
    return base_model(model).get_submodule(path)


def _joined(results: Sequence[Mapping[Site, Any]]) -> dict[Site, Any]:
    joined = {site: value for part in results for site, value in part.items()}
    return {site: joined[site] for site in sorted(joined, key=canonical_order)}


def require_no_dropout(model: nn.Module) -> None:
    """Refuse a model whose answers would not repeat.

    Raises:
        MeasureError: Dropout is on.
    """
    for path, module in model.named_modules():
        for name, rate in _dropout_rates(module) if module.training else ():
            if rate > 0:
                raise MeasureError(
                    f"{path or 'the model'}: dropout is on ({name} {rate}), so that "
                    "no score would repeat; call model.eval() first"
                )


def _dropout_rates(module: nn.Module) -> Iterator[tuple[str, float]]:
    """Find rates by name: many models drop out by a function, not by a module."""
    is_dropout = "dropout" in type(module).__name__.lower()
    rates = [(n, r) for n, r in vars(module).items() if is_dropout or "drop" in n]
    settings = getattr(getattr(module, "config", None), "__dict__", {})
    other_heads = ("summary", "classifier")
    rates += [
        (name, rate)
        for name, rate in settings.items()
        if "drop" in name and not name.startswith(other_heads)
    ]
    yield from ((name, rate) for name, rate in rates if isinstance(rate, float))


def _broken(model: nn.Module, taps: Taps, batch: Batch, row: int) -> MeasureError:
    """Say which sample has no finite loss, and where it first goes wrong."""
    first: list[int] = []
    real = batch.real[row]

    def look(index: int, inputs: Tensor, output: Tensor) -> None:
        values = output.detach().reshape(*batch.real.shape, -1)[row]
        if not first and not bool(torch.isfinite(values[real.to(values.device)]).all()):
            first.append(index)

    with watching_maps(taps.maps, look), torch.no_grad():
        _forward_only(model, batch)
    where = taps.name(first[0]) if first else "the logits"
    return MeasureError(
        f"{where}: the output for sample {batch.sample_ids[row]} is not finite; are "
        "the weights damaged, or is the dtype too narrow?"
    )
