"""What do all steps of a study share? Its folder, its model, its seed."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import torch

from driftmap.core.errors import DataError
from driftmap.load.batches import make_batches
from driftmap.load.model import LoadedModel
from driftmap.recipes.steps.logbook import logged
from driftmap.recipes.steps.threads import threads_for
from driftmap.results.samples import EncodedSample
from driftmap.signals.batch import Batch, Positions
from driftmap.store.run_dir import Redoes, RunDir
from driftmap.tune.crew import this_crew


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Study:
    """What every step of a study is given.

    Args:
        run: Where results go.
        loaded: The model under study, before tuning.
        seed: The run's one seed.
    """

    run: RunDir
    loaded: LoadedModel
    seed: int


@contextmanager
def opened(
    loaded: LoadedModel,
    out: Path,
    settings: Mapping[str, object],
    kind: str,
    free: Collection[str],
    redoes: Redoes = MappingProxyType({}),
) -> Iterator[Study]:
    """Open a study's run folder and note what it runs on.

    Args:
        loaded: The model under study.
        out: The run folder.
        settings: The resolved recipe.
        kind: Which recipe: the name of its command.
        free: Settings that may differ from those the run was begun with.
        redoes: Settings that may differ too, with the steps that are then redone.
        redoes: Settings that may differ too, with the steps that are done again then.
    """
    seed = int(str(settings["seed"]))
    this_crew().require_same_model(loaded.identity.sha256)
    with (
        threads_for(loaded.identity),
        RunDir.open(out, settings, kind, free=free, redoes=redoes) as run,
        logged(out, kind),
    ):
        run.note_environment(
            num_threads=torch.get_num_threads(),
            device=_devices(loaded.identity.device),
            dtype=loaded.identity.dtype,
        )
        run.note_inputs({"model": loaded.identity.sha256})
        run.note_seeds({"seed": seed})
        yield Study(run=run, loaded=loaded, seed=seed)


def _devices(device: str) -> str:
    """What a study runs on, for its provenance."""
    crew = this_crew()
    if crew.is_alone:
        return device
    spread = ", weights spread" if crew.is_sharded else ""
    return f"{device}, {crew.launch.size} processes{spread}"


def batches_of(
    loaded: LoadedModel,
    encoded: Sequence[EncodedSample],
    batch_size: int,
    *,
    positions: Positions = "response",
) -> tuple[Batch, ...]:
    """Pad samples into batches on the model's device."""
    if not encoded:
        raise DataError("there is no sample to put into a batch")
    return make_batches(
        encoded,
        batch_size=batch_size,
        pad_id=pad_id(loaded),
        device=loaded.device,
        positions=positions,
    )


def pad_id(loaded: LoadedModel) -> int:
    """An id to fill rows with; masks keep it out of every result."""
    tokenizer = loaded.tokenizer
    known = [tokenizer.pad_token_id, tokenizer.eos_token_id, 0]
    return next(number for number in known if number is not None)
