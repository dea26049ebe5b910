"""How is the model tuned with a part of the group frozen, and what is kept of it?"""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

from transformers import PreTrainedModel

from driftmap.core.places import Site
from driftmap.core.seeds import child_seed
from driftmap.core.shortage import explained
from driftmap.recipes.freezing_options import FreezePlan
from driftmap.recipes.steps.bench import Study
from driftmap.recipes.steps.freezing.parts import Freezable
from driftmap.recipes.steps.freezing.planning import Arm
from driftmap.recipes.steps.needs.remedies import for_tuning
from driftmap.recipes.steps.tuning.training import (
    linked,
    mobile_sites,
    save_checkpoint,
)
from driftmap.results.samples import EncodedSample
from driftmap.results.table import Table
from driftmap.signals.changes import MatrixChange
from driftmap.store.steps import StepFolders, StepOutcome
from driftmap.store.tables import load_table, save_table
from driftmap.tune.freezing import Frozen, unmoved
from driftmap.tune.live import Follower, Live, Task
from driftmap.tune.run import tune
from driftmap.tune.schedule import total_steps


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tuned:
    """A finished training run.

    Args:
        arm: What was frozen in it.
        step: The step that tuned.
    """

    arm: Arm
    step: StepOutcome

    @property
    def checkpoint(self) -> Path:
        """Folder of its last checkpoint."""
        return self.step.root / _checkpoint(self.arm)

    def frozen_part(self) -> Table:
        """One row: kind, share, seed, num_frozen, num_mobile, num_blocked."""
        return load_table(self.step.path(_part_file(self.arm)))


def tune_step(
    study: Study,
    learnt: tuple[Sequence[EncodedSample], str],
    plan: FreezePlan,
    freezable: Freezable,
    arm: Arm,
) -> Tuned:
    """Tune with a part frozen; runs of one seed differ in nothing else.

    Args:
        study: Folder, model and seed.
        learnt: What is learnt, and its hash.
        plan: How the model is tuned, and how weights are kept.
        freezable: The group and its controls.
        arm: What is frozen.
    """
    samples, sha256 = learnt
    settings, identity = plan.tuning, study.loaded.identity
    seed = child_seed(study.seed, "run", arm.number)

    def make(folders: StepFolders) -> None:
        members = freezable.of(arm, study.seed)
        frozen = Frozen(members=members, way=plan.freezing.freeze_by)
        task = Task(
            sites=study.loaded.layout.sites,
            samples=samples,
            settings=settings,
            seed=seed,
            frozen=frozen if members else None,
        )
        last = total_steps(len(samples), settings)
        with explained("fine-tuning", for_tuning(settings, study.run)):
            follower = _follower(folders.work, last)
            losses = tune(cast(PreTrainedModel, study.loaded.model), task, follower)
        rows = [{**_names(arm), **asdict(point)} for point in losses]
        made = folders.folder
        save_table(made / f"tables/losses/{arm.label}.parquet", Table.from_rows(rows))
        save_table(made / _part_file(arm), _part(study, plan, arm, frozen))
        source = folders.work / "last"
        shutil.copytree(source, made / _checkpoint(arm), copy_function=linked)

    inputs = {
        "model": identity.sha256,
        "dtype": identity.dtype,
        "tune_on": sha256,
        "settings": asdict(settings),
        "seed": seed,
        **_frozen_inputs(study, plan, freezable, arm),
    }
    done = study.run.long_step(f"tune-{arm.label}", inputs, make)
    return Tuned(arm=arm, step=done)


def _frozen_inputs(
    study: Study, plan: FreezePlan, freezable: Freezable, arm: Arm
) -> dict[str, object]:
    """What decides on the frozen weights; nothing where none are frozen."""
    if arm.kind == "free":
        return {}
    return {
        "frozen": {
            "of": freezable.controls.key,
            "kind": arm.kind,
            "share": arm.share,
            "way": plan.freezing.freeze_by,
            "seed": study.seed,
        }
    }


def _follower(work: Path, last: int) -> Follower:
    """Keep the last checkpoint alone."""

    def on_checkpoint(step: int, live: Live) -> None:
        if step == last:
            save_checkpoint(live, work / "last", work)

    def on_drift(step: int, changes: Mapping[Site, MatrixChange]) -> None:
        """Drift is another question."""

    return Follower(
        folder=work / "state", on_checkpoint=on_checkpoint, on_drift=on_drift
    )


def _part(study: Study, plan: FreezePlan, arm: Arm, frozen: Frozen) -> Table:
    """How many weights were frozen, could have moved, and were blocked with them."""
    tuned = mobile_sites(study, plan.tuning)
    members = frozen.members
    num_mobile = sum(members[site].size for site in tuned if site in members)
    still = sum(index.size for index in unmoved(frozen, tuned).values())
    counts = {
        "num_frozen": sum(index.size for index in members.values()),
        "num_mobile": num_mobile,
        "num_blocked": still - num_mobile,
    }
    return Table.from_rows([{**_names(arm), **counts}])


def _names(arm: Arm) -> dict[str, str | float | int]:
    return {"kind": arm.kind, "share": arm.share, "seed": arm.number}


def _checkpoint(arm: Arm) -> str:
    return f"checkpoints/{arm.label}"


def _part_file(arm: Arm) -> str:
    return f"tables/frozen/{arm.label}.parquet"
