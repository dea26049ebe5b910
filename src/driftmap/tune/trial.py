"""How does one step of fine-tuning run on a few samples, and leave no trace?

For looking at what a step needs before the long run begins: the same adapter, trainer
and loss, without data order, files or results.
"""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from peft import PeftModel
from transformers import PreTrainedModel

from driftmap.core.places import Site
from driftmap.core.progress import Progress
from driftmap.results.samples import EncodedSample
from driftmap.tune.adapter import adapted
from driftmap.tune.lora import own_randomness
from driftmap.tune.settings import TuningSettings
from driftmap.tune.trainer import (
    Course,
    LoraTrainer,
    build_trainer,
    collate,
    labelled,
    trainer_arguments,
)


@contextmanager
def trial_steps(
    model: PreTrainedModel,
    sites: Sequence[Site],
    settings: TuningSettings,
    samples: Sequence[EncodedSample],
) -> Iterator[Callable[[Sequence[EncodedSample]], None]]:
    """Put an adapter on the model for as long as the block runs.

    Args:
        model: As for `tune_lora`; it is given back bit for bit, and so are the random
            generators.
        sites: Matrices to tune.
        settings: Rank and dropout.
        samples: Some sample, which nothing is learnt from.

    Yields:
        Does forward and backward on one batch; nothing is updated, gradients stay.
    """
    with (
        own_randomness(model.device),
        tempfile.TemporaryDirectory(prefix="driftmap-trial-") as folder,
        adapted(model, sites, settings, seed=0) as tuned,
    ):
        trainer = _trainer(tuned, settings, samples, Path(folder))
        wrapped = trainer.model
        assert wrapped is not None
        wrapped.train()

        def step(batch: Sequence[EncodedSample]) -> None:
            rows = collate([labelled(sample) for sample in batch])
            counted = sum(int(sample.counted[1:].sum()) for sample in batch)
            trainer.training_step(wrapped, rows, torch.tensor(counted))

        yield step


def _trainer(
    tuned: PeftModel,
    settings: TuningSettings,
    samples: Sequence[EncodedSample],
    folder: Path,
) -> LoraTrainer:
    on_cpu = tuned.device.type == "cpu"
    arguments = trainer_arguments(settings, 0, folder, on_cpu=on_cpu)
    course = Course(marked=frozenset(), keep=_nothing, bar=Progress())
    trainer = build_trainer(tuned, samples, arguments, course, None)
    trainer.create_optimizer()
    return trainer


def _nothing(trainer: LoraTrainer) -> None:
    """No step is marked."""
