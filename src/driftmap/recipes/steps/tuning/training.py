"""How is the model fine-tuned under one seed, and what is kept of it?"""

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache, partial
from pathlib import Path
from typing import cast

from transformers import PreTrainedModel

from driftmap.core.places import Site
from driftmap.core.seeds import child_seed
from driftmap.core.shortage import explained, give_back
from driftmap.families.matrices import site_weight
from driftmap.measure.drift import DriftBaseline, drift_baseline, drift_table
from driftmap.recipes.steps.bench import Study
from driftmap.recipes.steps.groups.choosing import load_groups
from driftmap.recipes.steps.needs.remedies import for_tuning
from driftmap.recipes.steps.tuning.freezing import ALL_MOVE, Kept
from driftmap.results.samples import EncodedSample
from driftmap.results.table import Table
from driftmap.signals.changes import MatrixChange
from driftmap.store.files import remove, sync
from driftmap.store.steps import StepFolders, StepOutcome
from driftmap.store.tables import load_table, save_table
from driftmap.tune.live import Follower, Live, Task
from driftmap.tune.run import tune
from driftmap.tune.schedule import drift_steps, total_steps
from driftmap.tune.settings import TuningSettings
from driftmap.tune.targets import tuned_sites


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LiveDrift:
    """How drift is measured while the factors of a training run are at hand.

    Args:
        groups_key: Key of the step that chose the groups.
        baseline: Gives what all checkpoints share; built once, when first needed.
    """

    groups_key: str
    baseline: Callable[[], DriftBaseline]

    @property
    def folder(self) -> str:
        """Name of the folder that holds the drift of these groups alone."""
        return self.groups_key[:12]

    def file(self, number: int) -> str:
        """Where the drift of one training run lies inside the run folder."""
        return f"tables/live/{self.folder}/seed-{number}.parquet"


def mobile_sites(study: Study, settings: TuningSettings) -> tuple[Site, ...]:
    """Matrices that tuning can move."""
    return tuple(tuned_sites(study.loaded.layout.sites, settings))


def live_drift(study: Study, groups: StepOutcome, kept: Kept = ALL_MOVE) -> LiveDrift:
    """Prepare to measure the drift of chosen groups; nothing is computed yet.

    Args:
        study: The model under study.
        groups: The step that chose the groups.
        kept: What cannot move, and counts as immobile.
    """

    @cache
    def baseline() -> DriftBaseline:
        return drift_baseline(
            load_groups(study, groups),
            partial(site_weight, study.loaded.model),
            still=kept.unmoved,
        )

    return LiveDrift(groups_key=groups.key, baseline=baseline)


def tune_step(
    study: Study,
    samples: tuple[Sequence[EncodedSample], str],
    settings: TuningSettings,
    live: LiveDrift,
    number: int,
    kept: Kept = ALL_MOVE,
) -> StepOutcome:
    """Fine-tune under one seed: checkpoints, losses, and drift along the way.

    The groups are no input of this step, but for what is frozen: others are read from
    the checkpoints later, without tuning again. Groups that were chosen while it ran
    have no whole table of their drift along the way, so none is kept of them.

    Args:
        study: Folder, model and seed.
        samples: What is learnt, with the hash of its source.
        settings: Kind of tuning and its schedule.
        live: How drift is measured on the way.
        number: Which training run, from 0.
        kept: What may not move.
    """
    encoded, sha256 = samples
    seed = child_seed(study.seed, "run", number)
    task = Task(
        sites=study.loaded.layout.sites,
        samples=encoded,
        settings=settings,
        seed=seed,
        frozen=kept.frozen,
    )

    def make(folders: StepFolders) -> None:
        work, made = folders.work, folders.folder
        with explained("fine-tuning", for_tuning(settings, study.run)):
            losses = tune(
                cast(PreTrainedModel, study.loaded.model),
                task,
                _follower(work, live, number),
            )
        rows = [{"seed": number, **asdict(point)} for point in losses]
        save_table(made / f"tables/losses/seed-{number}.parquet", Table.from_rows(rows))
        kept_at = made / f"checkpoints/seed-{number}"
        shutil.copytree(work / "checkpoints", kept_at, copy_function=linked)
        total = total_steps(len(encoded), settings)
        due = drift_steps(total, settings.save_steps, settings.drift_every)
        files = [_live_file(work, live, step) for step in due]
        if all(file.is_file() for file in files):
            measured = [load_table(file) for file in files]
            save_table(made / live.file(number), Table.joined(measured))

    inputs = {
        "model": study.loaded.identity.sha256,
        "dtype": study.loaded.identity.dtype,
        "tune_on": sha256,
        "settings": asdict(settings),
        "seed": seed,
        **kept.inputs(),
    }
    return study.run.long_step(f"tune-seed-{number}", inputs, make)


def checkpoint_folders(step: StepOutcome, number: int) -> dict[int, Path]:
    """Adapter folder of every checkpoint of a training run, by training step."""
    root = step.root / f"checkpoints/seed-{number}"
    found = {(step.root / name).parent for name in step.files}
    ours = sorted(folder for folder in found if folder.parent == root)
    return {int(folder.name.removeprefix("step-")): folder for folder in ours}


def save_checkpoint(live: Live, whole: Path, work: Path) -> None:
    """Write a checkpoint; a folder of that name is always whole.

    Args:
        live: The model while it is tuned.
        whole: The folder to write.
        work: Where half a folder may lie after a kill.
    """
    partial = work / "checkpoint.partial"
    remove(partial)
    live.save(partial)
    for file in partial.iterdir():
        sync(file)
    whole.parent.mkdir(parents=True, exist_ok=True)
    remove(whole)
    partial.replace(whole)


def linked(source: str, target: str) -> None:
    """Have a file at two places without a second copy of it, where the disk can."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _live_file(work: Path, live: LiveDrift, step: int) -> Path:
    return work / f"live/{live.folder}/step-{step:06d}.parquet"


def _follower(work: Path, measured: LiveDrift, number: int) -> Follower:
    def on_checkpoint(step: int, live: Live) -> None:
        save_checkpoint(live, work / f"checkpoints/step-{step:06d}", work)

    def on_drift(step: int, changes: Mapping[Site, MatrixChange]) -> None:
        table = drift_table(measured.baseline(), changes, step=step, seed=number)
        save_table(_live_file(work, measured, step), table)
        give_back()

    return Follower(
        folder=work / "state", on_checkpoint=on_checkpoint, on_drift=on_drift
    )
