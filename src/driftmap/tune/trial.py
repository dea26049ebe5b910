"""How does one step of fine-tuning run on a few samples, and leave no trace?

For looking at what a step needs before the long run begins: the same adapter, trainer
and loss, without data order, files or results.
"""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from transformers import PreTrainedModel

from driftmap.core.places import Site
from driftmap.core.progress import Progress
from driftmap.results.samples import EncodedSample
from driftmap.tune.live import Live, Task
from driftmap.tune.randomness import own_randomness
from driftmap.tune.run import made_live
from driftmap.tune.settings import TuningSettings
from driftmap.tune.trainer import (
    Course,
    WatchedTrainer,
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
    """Make the model ready for training for as long as the block runs.

    Args:
        model: As for `tune`; it is given back bit for bit, and so are the random
            generators.
        sites: Matrices to tune.
        settings: Kind of tuning, rank and dropout.
        samples: Some sample, which nothing is learnt from.

    Yields:
        Does forward and backward on one batch; nothing is updated, gradients stay.
    """
    task = Task(sites=sites, samples=samples, settings=settings, seed=0)
    with (
        own_randomness(model.device),
        tempfile.TemporaryDirectory(prefix="driftmap-trial-") as folder,
        made_live(model, task) as live,
    ):
        trainer = _trainer(live, task, Path(folder))
        wrapped = trainer.model
        assert wrapped is not None
        wrapped.train()

        def step(batch: Sequence[EncodedSample]) -> None:
            rows = collate([labelled(sample) for sample in batch])
            counted = sum(int(sample.counted[1:].sum()) for sample in batch)
            trainer.training_step(wrapped, rows, torch.tensor(counted))

        yield step


def _trainer(live: Live, task: Task, folder: Path) -> WatchedTrainer:
    arguments = trainer_arguments(live, task, folder)
    course = Course(marked=frozenset(), keep=_nothing, bar=Progress())
    trainer = build_trainer(live, task.samples, arguments, course, None)
    trainer.create_optimizer()
    return trainer


def _nothing(trainer: WatchedTrainer) -> None:
    """No step is marked."""
