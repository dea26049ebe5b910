"""How do chosen experts learn, and nothing else of a model?

Leaves share memory with the chosen slices, and the optimizer owns those alone.
"""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field

from torch import nn

from driftmap.core.errors import ModelError
from driftmap.core.places import ExpertPlace
from driftmap.core.progress import progress
from driftmap.families.expert_spec import ExpertBank
from driftmap.results.expert_tuning import ExpertStep, ExpertTuningLog
from driftmap.results.samples import EncodedSample
from driftmap.tune.expert_gradients import (
    SeeBatch,
    gradients_of_experts,
    gradients_of_parameters,
)
from driftmap.tune.expert_leaves import Leaf, expert_leaves, whole_leaves
from driftmap.tune.expert_settings import ExpertTuningSettings
from driftmap.tune.masters import NOTHING, KeptMasters, MasterAdamW
from driftmap.tune.passes import (
    computing_again,
    evaluated,
    padded,
    require_counted,
    steps_of,
    summed_loss,
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ExpertTask:
    """One round of tuning.

    Args:
        banks: All banks of the model.
        experts: Those that may move, each once.
        samples: What is learned; only counted tokens cost.
        settings: How.
        seed: What the order of samples is drawn from; another one for every round.
        masters: What the round before left, so that no remainder of a bfloat16 weight
            is lost between rounds.
    """

    banks: Sequence[ExpertBank]
    experts: Sequence[ExpertPlace]
    samples: Sequence[EncodedSample]
    settings: ExpertTuningSettings
    seed: int
    masters: KeptMasters = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tuned:
    """What a round leaves beside the changed weights.

    Args:
        log: Its steps.
        masters: By leaf, what the weights would be in float32; those of earlier rounds
            too, and none of leaves that are in float32.
    """

    log: ExpertTuningLog
    masters: KeptMasters


def tune_experts(model: nn.Module, task: ExpertTask) -> Tuned:
    """Tune chosen experts in place; every other number of the model stays.

    A killed round begins again from the weights that it began with: the order of
    samples comes from the seed alone, and the result is the same bit for bit on CPU.

    Args:
        model: In float32 or bfloat16, without an adapter; its mode, its needs of
            gradients and its experts backend are given back as they were.
        task: What is tuned on what.

    Raises:
        UsageError: There is no expert, one is named twice, or the model lacks one.
        DataError: There is no sample, or one in which nothing counts.
        ModelError: A weight cannot learn, or a loss or a gradient is not finite.
    """
    leaves = expert_leaves(model, task.banks, task.experts)
    paths = {expert.path for expert in task.experts}
    banks = [bank for bank in task.banks if bank.place.path in paths]
    optimizer = _optimizer(tuple(leaves.values()), task.settings, task.masters)
    with (
        evaluated(model),
        gradients_of_experts(model, banks, leaves, optimizer.add) as see,
    ):
        learner = _Learner(model=model, optimizer=optimizer, see=see)
        steps = _steps(learner, task.samples, task.settings, task.seed)
    log = ExpertTuningLog(
        experts=tuple(task.experts),
        num_weights=sum(leaf.values.numel() for leaf in leaves.values()),
        steps=steps,
    )
    return Tuned(log=log, masters={**task.masters, **optimizer.masters()})


def tune_whole(
    model: nn.Module,
    samples: Sequence[EncodedSample],
    settings: ExpertTuningSettings,
    seed: int,
) -> tuple[ExpertStep, ...]:
    """Tune every parameter in place, in the same way, to compare with.

    Args:
        model: As for `tune_experts`.
        samples: What is learned.
        settings: How.
        seed: What the order of samples is drawn from.

    Returns:
        The steps.

    Raises:
        DataError: There is no sample, or one in which nothing counts.
        ModelError: A weight cannot learn, or a loss or a gradient is not finite.
    """
    leaves = whole_leaves(model, [name for name, _ in model.named_parameters()])
    optimizer = _optimizer(leaves, settings, NOTHING)
    with evaluated(model), gradients_of_parameters(leaves, optimizer.add) as see:
        learner = _Learner(model=model, optimizer=optimizer, see=see)
        return _steps(learner, samples, settings, seed)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Learner:
    model: nn.Module
    optimizer: MasterAdamW
    see: SeeBatch


def _optimizer(
    leaves: Sequence[Leaf], settings: ExpertTuningSettings, masters: KeptMasters
) -> MasterAdamW:
    return MasterAdamW(
        leaves,
        masters,
        learning_rate=settings.learning_rate,
        weight_decay=settings.weight_decay,
    )


def _steps(
    learner: _Learner,
    samples: Sequence[EncodedSample],
    settings: ExpertTuningSettings,
    seed: int,
) -> tuple[ExpertStep, ...]:
    require_counted(samples)
    per_step = settings.batch_size * settings.grad_accum
    chosen = steps_of(len(samples), per_step, settings.epochs, seed)
    saves = settings.checkpoint_activations
    again = computing_again(learner.model) if saves else nullcontext()
    done: list[ExpertStep] = []
    with again, progress("tune experts", len(chosen)) as bar:
        for number, step in enumerate(chosen, start=1):
            of_step = [samples[index] for index in step]
            num_tokens = sum(int(sample.counted[1:].sum()) for sample in of_step)
            loss = _backward(learner, of_step, settings.batch_size, num_tokens)
            norm = learner.optimizer.step(settings.max_norm)
            done.append(
                ExpertStep(
                    step=number,
                    loss_nats=loss,
                    gradient_norm=norm,
                    num_tokens=num_tokens,
                )
            )
            bar.advance(note=f"loss {loss:.3f}")
    return tuple(done)


def _backward(
    learner: _Learner,
    samples: Sequence[EncodedSample],
    batch_size: int,
    num_tokens: int,
) -> float:
    """Add up the gradients of one step, batch by batch."""
    device = next(learner.model.parameters()).device
    total = 0.0
    for start in range(0, len(samples), batch_size):
        batch = padded(samples[start : start + batch_size], device)
        learner.see(batch)
        loss = summed_loss(learner.model, batch) / num_tokens
        if not loss.isfinite():
            raise ModelError(
                f"samples {', '.join(batch.sample_ids[:8])}: the loss is "
                f"{loss.item()}; lower --expert-lr, or load the model in float32 if it "
                "is in a narrower type"
            )
        loss.backward()
        total += loss.item()
    return total
