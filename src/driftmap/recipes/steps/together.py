"""How does a study that tunes run in several processes?

All of them are started with the same words. The first one does the study as a single
one would; the others load the model, and take part whenever it is tuned.
"""

import re
from collections.abc import Callable
from dataclasses import Field, fields
from functools import wraps
from pathlib import Path
from typing import ClassVar, Protocol, TypeVar, cast, runtime_checkable

from driftmap.core.errors import UsageError
from driftmap.core.launch import Launch, UnheardError, launched
from driftmap.load.source import ModelSource
from driftmap.recipes.engine_options import EngineOptions
from driftmap.tune.settings import TuningSettings


@runtime_checkable
class Tuning(Protocol):
    """What is needed of a recipe that tunes; one of its blocks says how."""

    __dataclass_fields__: ClassVar[dict[str, Field[object]]]

    @property
    def source(self) -> ModelSource:
        """The model under study."""
        ...

    @property
    def out(self) -> Path:
        """The run folder."""
        ...


Recipe = TypeVar("Recipe", bound=Tuning)
Made = TypeVar("Made")


def in_several_processes(
    run: Callable[[Recipe], Made],
) -> Callable[[Recipe], Made | Path]:
    """Let the first of several processes run a recipe, and the others help it.

    Args:
        run: The recipe's own `run`.

    Returns:
        The same for one process alone. What the others return is the run folder.
    """

    @wraps(run)
    def led(recipe: Recipe) -> Made | Path:
        with launched() as launch:
            if launch.is_alone:
                return run(recipe)
            return _together(recipe, run, launch)

    return led


def require_processes(source: ModelSource, tuning: TuningSettings, size: int) -> None:
    """Refuse what several processes cannot do, before anything is loaded.

    Args:
        source: The model and where it goes.
        tuning: How it is tuned.
        size: How many processes there are.

    Raises:
        UsageError: All would use one device, or cannot share the batches of a step.
    """
    from driftmap.tune.order import require_even_shares

    if source.device_map is not None:
        raise UsageError(
            f"--device-map {source.device_map} spreads one model over several GPUs, "
            f"and {size} processes need one each; leave it out, or start one process"
        )
    if source.device == "mps" or re.fullmatch(r"cuda:\d+", source.device):
        raise UsageError(
            f"--device {source.device} is one device, and {size} processes need one "
            "each; give --device auto or cpu, or start one process"
        )
    require_even_shares(tuning, size)


def _together(
    recipe: Recipe, run: Callable[[Recipe], Made], launch: Launch
) -> Made | Path:
    from driftmap.tune.crew import gathered
    from driftmap.tune.sharded import require_shardable

    tuning = _tuning(recipe)
    _require_undivided(recipe, launch.size)
    require_processes(recipe.source, tuning, launch.size)
    if launch.is_sharded:
        require_shardable(tuning)
    _take_device(recipe.source, launch)
    with gathered(launch):
        if launch.is_first:
            return run(recipe)
        _help(recipe.source)
        return recipe.out


def _require_undivided(recipe: Tuning, size: int) -> None:
    """Refuse workers of several processes: each would ask for a device of its own."""
    values = (getattr(recipe, part.name) for part in fields(recipe))
    if any(isinstance(value, EngineOptions) and value.is_shared for value in values):
        raise UsageError(
            f"--workers and --engine start processes that score, and {size} processes "
            "that tune are started already; leave them out, or start one process "
            "with --until groups first"
        )


def _tuning(recipe: Tuning) -> TuningSettings:
    values = (getattr(recipe, part.name) for part in fields(recipe))
    return next(value for value in values if isinstance(value, TuningSettings))


def _take_device(source: ModelSource, launch: Launch) -> None:
    import torch

    if source.device == "cpu" or not torch.cuda.is_available():
        return
    if launch.local_size > torch.cuda.device_count():
        raise UsageError(
            f"{launch.local_size} processes on this machine have "
            f"{torch.cuda.device_count()} GPUs; start as many as there are, or give "
            "--device cpu"
        )
    torch.cuda.set_device(launch.local_rank)


def _help(source: ModelSource) -> None:
    from transformers import PreTrainedModel

    from driftmap.load.model import load_model
    from driftmap.recipes.steps.threads import threads_for
    from driftmap.tune.crew import Dismissed, this_crew
    from driftmap.tune.run import tune_along

    crew = this_crew()
    try:
        model = load_model(source)
    except Exception as error:  # noqa: BLE001  the first process says it
        crew.report("", error)
        model = None
    else:
        crew.report(model.identity.sha256)
    try:
        while True:
            crew.wait_for_run()
            assert model is not None, "no run begins without the model"
            with threads_for(model.identity):
                tune_along(cast(PreTrainedModel, model.model))
    except Dismissed:
        return
    except Exception as error:
        raise UnheardError(crew.told(error)) from error
