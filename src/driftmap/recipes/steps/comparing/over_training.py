"""What changed at which checkpoint: behaviour, and the weights of each layer?"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from driftmap.core.progress import phase
from driftmap.core.shortage import give_back
from driftmap.load.training_runs import TrainingRun
from driftmap.recipes.behaviour_options import BehaviourOptions
from driftmap.recipes.compare_options import CompareOptions
from driftmap.recipes.steps.comparing.behaviour.step import behaviour_at
from driftmap.recipes.steps.comparing.pair import Pair
from driftmap.recipes.steps.comparing.sizing import behaviour_sizes
from driftmap.recipes.steps.comparing.weights.layers import drift_by_layer
from driftmap.results.behaviour_change import BehaviourPoint
from driftmap.results.over_training import (
    OverTraining,
    ProbeCurve,
    Quantity,
    TrainingReadings,
)
from driftmap.results.probes import Probes
from driftmap.stats.over_training import over_training
from driftmap.store.arrays_apart import load_apart, save_apart
from driftmap.store.run_dir import RunDir
from driftmap.store.steps import StepOutcome

NAME, KIND = "training", "over-training"
POINT_KIND = "checkpoint-point"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CheckpointPoint:
    """What was read at one checkpoint.

    Args:
        step: Training step; 0 is the base.
        layers: Blocks, from 0.
        drift: `|dW| / |W|` of each.
        behaviour: What the model does with the probes.
    """

    step: int
    layers: tuple[int, ...]
    drift: Float64[np.ndarray, " layer"]
    behaviour: BehaviourPoint


def training_step(pair: Pair, probes: Probes, options: CompareOptions) -> StepOutcome:
    """Read the base and each checkpoint, then set behaviour against weights.

    Every checkpoint is a step of its own, so that an interrupted run goes on.

    Args:
        pair: Both models; the run of the tuned one has several checkpoints.
        probes: What each checkpoint is asked.
        options: How much.
    """
    asked = behaviour_sizes(options)
    steps = (0, *chosen_steps(pair.run, options.num_checkpoints))
    points = [_point_step(pair, probes, asked, step) for step in steps]

    def make(folder: Path) -> None:
        read = [_read_point(pair.study.run, step) for step in steps]
        found = over_training(_readings(read, probes), pair.study.seed)
        save_apart(folder, NAME, found, KIND)

    inputs = {"of": [point.key for point in points], "seed": pair.study.seed}
    return pair.study.run.step(NAME, inputs, make)


def read_training(run: RunDir) -> OverTraining | None:
    """Read what the step kept; None where the run has no such step."""
    if not run.is_finished(NAME):
        return None
    return load_apart(run.path, NAME, OverTraining, KIND)


def chosen_steps(run: TrainingRun, num: int) -> tuple[int, ...]:
    """Checkpoints that are read: all, or so many at even distances, the last too.

    Args:
        run: The training.
        num: Checkpoints that are read at most.
    """
    steps = [step for step in run.checkpoints if step > 0]
    if len(steps) <= num:
        return tuple(steps)
    places = np.linspace(len(steps) - 1, 0, num).round().astype(int)
    return tuple(steps[place] for place in sorted(set(places.tolist())))


def _point_step(
    pair: Pair, probes: Probes, options: BehaviourOptions, step: int
) -> StepOutcome:
    def make(folder: Path) -> None:
        with phase(f"checkpoint {step}"):
            model = pair.base if step == 0 else pair.at(step)
            point = CheckpointPoint(
                step=step,
                layers=_layers(pair),
                drift=_drift(pair, step),
                behaviour=behaviour_at(pair, model, probes, options),
            )
            del model
            give_back()
        save_apart(folder, _file(step), point, POINT_KIND)

    asked = {"max_new_tokens": options.max_new_tokens, "window": options.window}
    which = "base" if step == 0 else pair.sha256_at(step)
    inputs = {**pair.inputs, "probes": probes.sha256, "which": which, **asked}
    return pair.study.run.step(f"training-{step}", inputs, make)


def _file(step: int) -> str:
    return f"checkpoints-{step}"


def _read_point(run: RunDir, step: int) -> CheckpointPoint:
    return load_apart(run.path, _file(step), CheckpointPoint, POINT_KIND)


def _layers(pair: Pair) -> tuple[int, ...]:
    return tuple(sorted({site.layer for site in pair.base.layout.sites}))


def _drift(pair: Pair, step: int) -> Float64[np.ndarray, " layer"]:
    layers = _layers(pair)
    if step == 0:
        return np.zeros(len(layers))
    by_layer = drift_by_layer(pair, step)
    return np.array([by_layer[layer] for layer in layers])


def _readings(points: Sequence[CheckpointPoint], probes: Probes) -> TrainingReadings:
    return TrainingReadings(
        steps=tuple(point.step for point in points),
        layers=points[0].layers,
        drift=np.stack([point.drift for point in points]),
        curves=tuple(_curves([point.behaviour for point in points], probes)),
    )


def _curves(points: Sequence[BehaviourPoint], probes: Probes) -> Iterator[ProbeCurve]:
    """One for each quantity that there are probes for."""
    first = points[0]
    subjects = {fact.id: fact.subject for fact in probes.facts}
    of_facts = tuple(subjects[name] for name in first.facts)
    answer = np.stack([point.answer_nll for point in points])
    foil = np.stack([point.foil_nll for point in points])
    plain: list[tuple[Quantity, tuple[str, ...], np.ndarray]] = [
        ("kl", first.texts, np.stack([point.kl for point in points])),
        ("surprise", first.texts, np.stack([point.surprise for point in points])),
        (
            "refusal",
            first.harmful,
            np.stack([point.refused_harmful for point in points]),
        ),
        (
            "over-refusal",
            first.harmless,
            np.stack([point.refused_harmless for point in points]),
        ),
        ("accuracy", first.held_out, np.stack([point.right for point in points])),
    ]
    for quantity, names, values in plain:
        if names:
            yield _curve(quantity, names, names, values)
    if first.facts:
        yield _curve("answer nll", first.facts, of_facts, answer)
    both = np.isfinite(foil[0])
    if both.any():
        ids = tuple(np.array(first.facts)[both].tolist())
        owners = tuple(np.array(of_facts)[both].tolist())
        yield _curve("foil nll", ids, owners, foil[:, both])
        yield _curve("foil first", ids, owners, (foil < answer)[:, both])


def _curve(
    quantity: Quantity,
    probes: tuple[str, ...],
    clusters: tuple[str, ...],
    values: np.ndarray,
) -> ProbeCurve:
    return ProbeCurve(
        quantity=quantity,
        probes=probes,
        clusters=clusters,
        values=values.astype(np.float64),
    )
