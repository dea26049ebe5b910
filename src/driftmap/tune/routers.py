"""How do routers learn to send unsafe prompts where safe ones went before?

Only weights and biases that make logits move, through float32 masters, with a new AdamW
each round. What they are compared with is the routing of safe prompts before the first
round (SafeMoE, arXiv 2509.22745). A router's `local` gradient takes what enters it as
given: for a softmax it is (Q - P) x^T, and no backward pass goes through the model.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from driftmap.core.errors import DataError, ModelError
from driftmap.core.progress import progress
from driftmap.families.expert_spec import ExpertBank
from driftmap.families.routing_law import Score
from driftmap.results.expert_tuning import RouterLog, RouterStep, RoutingReference
from driftmap.results.samples import EncodedSample
from driftmap.tune.expert_gradients import gradients_of_parameters
from driftmap.tune.expert_leaves import whole_leaves
from driftmap.tune.expert_settings import RouterSettings
from driftmap.tune.masters import NOTHING, KeptMasters, MasterAdamW
from driftmap.tune.passes import evaluated, padded, run_backbone, steps_of
from driftmap.tune.router_reading import (
    Compared,
    divergence,
    log_routing,
    router_scores,
    watching_routers,
)

Again = Callable[[], Tensor]
"""Makes logits again."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RouterTask:
    """What routers shall treat alike.

    Args:
        banks: All banks of the model.
        safe: Safe prompts with the response, one of each pair.
        unsafe: The unsafe prompts, in the same order; under `response` with the same
            response.
        settings: How.
        scores: By bank's path, what its router makes of logits before it chooses;
            found by the router's law where nothing is said.
    """

    banks: Sequence[ExpertBank]
    safe: Sequence[EncodedSample]
    unsafe: Sequence[EncodedSample]
    settings: RouterSettings
    scores: Mapping[str, Score] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse what makes no pairs.

        Raises:
            DataError: Safe and unsafe samples differ in number, or there are none.
        """
        if len(self.safe) != len(self.unsafe) or not self.safe:
            raise DataError(
                f"{len(self.unsafe)} unsafe and {len(self.safe)} safe samples make no "
                "pairs; give one safe prompt for every unsafe one"
            )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Aligned:
    """What a round leaves beside the changed routers.

    Args:
        log: Its steps.
        masters: By parameter, what it would be in float32; none where it is.
    """

    log: RouterLog
    masters: KeptMasters


def routing_reference(model: nn.Module, task: RouterTask) -> RoutingReference:
    """Read where safe prompts are sent; do this before the first round."""
    with evaluated(model), torch.no_grad():
        scores = router_scores(model, task.banks, task.safe)
        scores.update(task.scores)
        read = _Readings(task, scores)
        for start in range(0, len(task.safe), task.settings.batch_size):
            samples = task.safe[start : start + task.settings.batch_size]
            read.batch(model, samples)
    return RoutingReference(
        sample_ids=tuple(sample.sample_id for sample in task.safe),
        start=np.cumsum([0, *read.num_rows]),
        log_probabilities={
            path: torch.cat(rows).numpy() for path, rows in read.rows.items()
        },
        scores=scores,
    )


def routing_divergence(
    model: nn.Module,
    task: RouterTask,
    reference: RoutingReference,
    samples: Sequence[EncodedSample],
) -> dict[str, float]:
    """How far the routing of samples is from the reference now, layer by layer.

    Args:
        model: As for `align_routers`.
        task: What is compared how.
        reference: From `routing_reference`.
        samples: One per pair, in the same order: the unsafe ones, or the safe ones for
            how far their own routing drifted.

    Returns:
        Mean over positions in nats, by the bank's path.

    Raises:
        DataError: A sample has other positions than its safe partner.
    """
    kind, size = task.settings.divergence, task.settings.batch_size
    total = {bank.place.path: 0.0 for bank in task.banks}
    with evaluated(model), torch.no_grad():
        for start in range(0, len(samples), size):
            pairs = range(start, min(start + size, len(samples)))
            of_batch = samples[start : start + size]
            read = _Readings(task, reference.scores)
            read.batch(model, of_batch)
            before = _before(reference, pairs, of_batch, read.num_rows)
            for path, rows in read.rows.items():
                total[path] += divergence(before.rows[path], rows[0], kind).sum().item()
    return {path: found / int(reference.start[-1]) for path, found in total.items()}


def align_routers(
    model: nn.Module,
    task: RouterTask,
    reference: RoutingReference,
    seed: int,
    masters: KeptMasters = NOTHING,
) -> Aligned:
    """Train routers in place, and nothing else.

    A killed round begins again from the routers that it began with; the result is the
    same bit for bit on CPU.

    Args:
        model: In float32 or bfloat16, without an adapter; given back in its mode.
        task: What shall be alike.
        reference: From `routing_reference`, of the model before the first round.
        seed: What the order of pairs is drawn from; another one for every round.
        masters: What the round before left.

    Raises:
        DataError: The prompts of a pair have different positions.
        ModelError: A weight cannot learn, or a loss or a gradient is not finite.
    """
    settings = task.settings
    names = [name for bank in task.banks for name in bank.router.parameters]
    leaves = whole_leaves(model, names)
    optimizer = MasterAdamW(
        leaves,
        masters,
        learning_rate=settings.learning_rate,
        weight_decay=settings.weight_decay,
    )
    steps = steps_of(len(task.unsafe), settings.batch_size, settings.epochs, seed)
    backward = _local if settings.loss == "local" else _full
    done: list[RouterStep] = []
    with (
        evaluated(model),
        gradients_of_parameters(leaves, optimizer.add),
        progress("align routers", len(steps)) as bar,
    ):
        for number, pairs in enumerate(steps, start=1):
            nats = backward(model, task, reference, pairs)
            norm = optimizer.step(settings.max_norm)
            step = RouterStep(step=number, divergence_nats=nats, gradient_norm=norm)
            done.append(step)
            bar.advance(note=f"divergence {nats:.3g}")
    log = RouterLog(
        routers=tuple(bank.router.path for bank in task.banks), steps=tuple(done)
    )
    return Aligned(log=log, masters={**masters, **optimizer.masters()})


class _Readings:
    """Logarithms of routing, batch after batch, on the host."""

    def __init__(self, task: RouterTask, scores: Mapping[str, Score]) -> None:
        self.task = task
        self.scores = scores
        self.rows: dict[str, list[Tensor]] = {b.place.path: [] for b in task.banks}
        self.num_rows: list[int] = []

    def batch(self, model: nn.Module, samples: Sequence[EncodedSample]) -> None:
        compared = _laid_out(model, self.task, samples)

        def take(bank: ExpertBank, logits: Tensor, _again: Again) -> None:
            path = bank.place.path
            found = log_routing(compared.read(logits), self.scores[path])
            self.rows[path].append(found.float().cpu())

        with watching_routers(model, self.task.banks, take):
            run_backbone(model, compared.batch)
        self.num_rows += compared.num_rows


def _local(
    model: nn.Module,
    task: RouterTask,
    reference: RoutingReference,
    pairs: Sequence[int],
) -> float:
    """Backward of each router by itself, on what enters it in a plain forward pass."""
    samples = [task.unsafe[pair] for pair in pairs]
    compared = _laid_out(model, task, samples)
    before = _before(reference, pairs, samples, compared.num_rows)
    total = 0.0

    def take(bank: ExpertBank, _logits: Tensor, again: Again) -> None:
        nonlocal total
        with torch.enable_grad():
            loss = _mean(task, bank, before, compared.read(again()))
            loss.backward()
        total += loss.item()

    with torch.no_grad(), watching_routers(model, task.banks, take):
        run_backbone(model, compared.batch)
    return _finite(total, samples)


def _full(
    model: nn.Module,
    task: RouterTask,
    reference: RoutingReference,
    pairs: Sequence[int],
) -> float:
    """Backward through the model: a router answers for those above it, too."""
    samples = [task.unsafe[pair] for pair in pairs]
    compared = _laid_out(model, task, samples)
    before = _before(reference, pairs, samples, compared.num_rows)
    losses: list[Tensor] = []

    def take(bank: ExpertBank, logits: Tensor, _again: Again) -> None:
        losses.append(_mean(task, bank, before, compared.read(logits)))

    with watching_routers(model, task.banks, take):
        run_backbone(model, compared.batch)
    home = losses[0].device
    loss = torch.stack([one.to(home) for one in losses]).sum()
    loss.backward()
    return _finite(loss.item(), samples)


def _mean(
    task: RouterTask,
    bank: ExpertBank,
    before: "_Before",
    logits: Tensor,
) -> Tensor:
    """One layer's share of the mean over layers and rows."""
    path = bank.place.path
    now = log_routing(logits, before.scores[path])
    there = before.rows[path].to(now.device, now.dtype)
    apart = divergence(there, now, task.settings.divergence)
    return apart.mean() / len(task.banks)


def _laid_out(
    model: nn.Module, task: RouterTask, samples: Sequence[EncodedSample]
) -> Compared:
    device = next(model.parameters()).device
    return Compared(padded(samples, device), samples, task.settings.positions)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Before:
    """What the reference says of some pairs, one after the other."""

    rows: Mapping[str, Tensor]
    scores: Mapping[str, Score]


def _before(
    reference: RoutingReference,
    pairs: Sequence[int],
    samples: Sequence[EncodedSample],
    num_rows: Sequence[int],
) -> _Before:
    spans = [(int(reference.start[p]), int(reference.start[p + 1])) for p in pairs]
    for (start, stop), sample, found in zip(spans, samples, num_rows, strict=True):
        if stop - start != found:
            raise DataError(
                f"sample {sample.sample_id!r}: its routing is compared at {found} "
                f"tokens, and that of its safe partner at {stop - start}; give both "
                "the same response, or choose --router-positions last-prompt"
            )
    rows = np.concatenate([np.arange(*span) for span in spans])
    picked = {
        path: torch.from_numpy(found[rows])
        for path, found in reference.log_probabilities.items()
    }
    return _Before(rows=picked, scores=reference.scores)


def _finite(nats: float, samples: Sequence[EncodedSample]) -> float:
    if not np.isfinite(nats):
        names = ", ".join(sample.sample_id for sample in samples[:8])
        raise ModelError(
            f"samples {names}: the divergence of their routing is {nats}; lower "
            "--router-lr, or load the model in float32 if it is in a narrower type"
        )
    return nats
