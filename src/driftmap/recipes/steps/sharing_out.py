"""Where are a run's shards made, and which device does each worker take?"""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from driftmap.core.errors import UsageError
from driftmap.engine.parts import Part, clear, make_part
from driftmap.engine.work import EngineSettings, ShardMaker, ShardWork
from driftmap.load.source import ModelSource
from driftmap.recipes.engine_options import EngineOptions
from driftmap.store.files import explaining


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedRun:
    """A run whose samples are worked on in shards, here or elsewhere.

    Args:
        source: The model that each worker loads.
        options: How many workers, and which part of the samples.
        run: The run folder.
    """

    source: ModelSource
    options: EngineOptions
    run: Path

    @property
    def is_part(self) -> bool:
        """Whether only a part of the samples is asked for."""
        return self.options.part is not None

    def make_shards(
        self, work: ShardWork, here: Callable[[], ShardMaker], part: Part
    ) -> tuple[Path, ...]:
        """Make the shards of all samples, or of the part that is asked for.

        Args:
            work: What a worker does, once it has loaded the model.
            here: Makes the same of the model that this process has loaded.
            part: What the shards depend on.

        Returns:
            The shards' folders, in the order of the samples.

        Raises:
            UsageError: There are too few devices, or the part is empty.
            EngineError: Too many workers were lost.
        """
        settings = engine_settings(self.options, self.source)
        with explaining(self.run):
            return make_part(done_by(work, here, settings), part, self.run, settings)

    def finish(self) -> None:
        """Remove the shards once what they hold is put together."""
        clear(self.run)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Here:
    """Work of this process, which has loaded what is needed."""

    opened: Callable[[], ShardMaker]

    def open(self) -> ShardMaker:
        """Nothing more to load."""
        return self.opened()


def done_by(
    work: ShardWork, here: Callable[[], ShardMaker], settings: EngineSettings
) -> ShardWork:
    """Say whose work it is: of workers, or of this process alone."""
    if settings.engine == "local" and settings.workers is None:
        return _Here(opened=here)
    return work


def engine_settings(options: EngineOptions, source: ModelSource) -> EngineSettings:
    """Say which GPU each worker of this machine takes, where they take one.

    Raises:
        UsageError: There are fewer GPUs than workers, or one is named for all.
    """
    options.require_alone(source.device_map)
    settings = EngineSettings(engine=options.engine, workers=options.workers)
    if options.workers is None or options.engine != "local":
        return settings
    if source.device.startswith("cuda:"):
        raise UsageError(
            f"--device {source.device} is one device, and each worker takes one of its "
            "own; give --device auto or cpu"
        )
    if source.device == "cpu" or not torch.cuda.is_available():
        return settings
    gpus = visible_gpus()
    if options.workers > len(gpus):
        raise UsageError(
            f"--workers {options.workers}: this machine has {len(gpus)} GPUs, one for "
            f"each worker; give at most {len(gpus)}, or --device cpu"
        )
    return replace(settings, gpus=gpus)


def visible_gpus() -> tuple[str, ...]:
    """Names of the GPUs that this process may use."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return tuple(name for name in named.split(",") if name)
    return tuple(str(number) for number in range(torch.cuda.device_count()))


def source_here(source: ModelSource, options: EngineOptions) -> ModelSource:
    """Where this process loads the model: on the CPU where others do the work."""
    if options.engine == "local" and options.workers is None:
        return source
    options.require_alone(source.device_map)
    return replace(source, device="cpu")
