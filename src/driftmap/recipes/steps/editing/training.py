"""How is one model taught its rows, and what does that take?"""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from time import perf_counter
from typing import cast

import torch
from peft import PeftModel
from transformers import PreTrainedModel

from driftmap.core.peak import Peak
from driftmap.core.places import Site
from driftmap.core.seeds import child_seed
from driftmap.core.shortage import explained
from driftmap.load.training_runs import TrainingRun
from driftmap.recipes.steps.bench import Study
from driftmap.recipes.steps.comparing.pair import Pair, load_beside
from driftmap.recipes.steps.editing.planning import EditArm
from driftmap.recipes.steps.editing.rows import PreparedRows
from driftmap.recipes.steps.needs.remedies import for_tuning
from driftmap.recipes.steps.tuning.training import linked, save_checkpoint
from driftmap.results.edit_study import TrainingCost
from driftmap.results.plain import from_plain
from driftmap.results.table import Table
from driftmap.results.training import LossPoint
from driftmap.signals.changes import MatrixChange
from driftmap.store.plain import load_json, save_json
from driftmap.store.steps import StepFolders, StepOutcome
from driftmap.store.tables import save_table
from driftmap.tune.live import Follower, Live, Task
from driftmap.tune.run import tune

COST_KIND = "training-cost"
_SPENT = "spent.json"
_SPENT_KIND = "spent"


def teach_step(
    study: Study, rows: PreparedRows, arm: EditArm, num_total: int
) -> StepOutcome:
    """Teach one model its rows: checkpoints in PEFT's layout, losses, and the cost.

    Args:
        study: Folder, model and seed; of `qlora` the model is rounded.
        rows: What is learnt.
        arm: How.
        num_total: Parameters of the model, before it is rounded.
    """
    seed = child_seed(study.seed, "edit")
    task = Task(
        sites=arm.sites,
        samples=rows.samples,
        settings=arm.settings,
        seed=seed,
        within=arm.within,
    )

    def make(folders: StepFolders) -> None:
        work, made = folders.work, folders.folder
        meter = _Meter(work / _SPENT, study.loaded.device)
        with explained("fine-tuning", for_tuning(arm.settings, study.run)):
            losses = tune(
                cast(PreTrainedModel, study.loaded.model), task, _follower(work, meter)
            )
        meter.note()
        points = [asdict(point) for point in losses]
        save_table(made / f"tables/losses/{arm.name}.parquet", Table.from_rows(points))
        shutil.copytree(
            work / "checkpoints",
            made / f"checkpoints/{arm.name}",
            copy_function=linked,
        )
        cost = meter.cost(losses, num_total)
        save_json(made / _cost_file(arm), cost, COST_KIND)

    inputs = {
        "model": study.loaded.identity.sha256,
        "dtype": study.loaded.identity.dtype,
        "rows": rows.sha256,
        "settings": asdict(arm.settings),
        "layers": arm.layers,
        "seed": seed,
    }
    return study.run.long_step(f"tune-{arm.name}", inputs, make)


def taught_pair(study: Study, tuned: StepOutcome, arm: EditArm) -> Pair:
    """Stand the base and what was made of it beside each other."""
    home = tuned.root / f"checkpoints/{arm.name}"
    folders = sorted({(tuned.root / name).parent for name in tuned.files})
    steps = {
        int(folder.name.removeprefix("step-")): folder
        for folder in folders
        if folder.parent == home
    }
    run = TrainingRun(
        folder=home,
        checkpoints=steps,
        is_full=arm.settings.tune == "full",
        state=None,
    )
    return Pair(study=study, run=run, tuned=load_beside(study.loaded, run.last))


def read_cost(tuned: StepOutcome, arm: EditArm) -> TrainingCost:
    """What training took."""
    found = load_json(tuned.root / _cost_file(arm), COST_KIND)
    return from_plain(TrainingCost, found)


def _cost_file(arm: EditArm) -> str:
    return f"tables/costs/{arm.name}.json"


def _follower(work: Path, meter: "_Meter") -> Follower:
    def on_checkpoint(step: int, live: Live) -> None:
        meter.note(live.model)
        save_checkpoint(live, work / f"checkpoints/step-{step:06d}", work)

    def on_drift(step: int, changes: Mapping[Site, MatrixChange]) -> None:
        meter.note()

    return Follower(
        folder=work / "state", on_checkpoint=on_checkpoint, on_drift=on_drift
    )


class _Meter:
    """Adds up what training took, over the starts that it needs.

    What a killed process did after its last note is done again, and counted then.
    """

    def __init__(self, file: Path, device: torch.device) -> None:
        self.file = file
        self.device = device
        self.on_machine = device.type != "cuda"
        before = load_json(file, _SPENT_KIND) if file.is_file() else {}
        self.seconds = float(cast(float, before.get("seconds", 0.0)))
        self.num_trained = int(cast(int, before.get("num_trained", 0)))
        self.peak_bytes = cast(int | None, before.get("peak_bytes", 0))
        self._since = perf_counter()
        self._peak = Peak()
        self._held = 0
        if not self.on_machine:
            self._held = torch.cuda.memory_allocated(device)
            torch.cuda.reset_peak_memory_stats(device)

    def note(self, model: PreTrainedModel | PeftModel | None = None) -> None:
        """Write down what was taken so far, and what is trained of a live model."""
        now = perf_counter()
        self.seconds += now - self._since
        self._since = now
        found = self._peak_so_far()
        if found is None or self.peak_bytes is None:
            self.peak_bytes = None
        else:
            self.peak_bytes = max(self.peak_bytes, found)
        if model is not None:
            trained = (p for p in model.parameters() if p.requires_grad)
            self.num_trained = sum(p.numel() for p in trained)
        spent = {
            "seconds": self.seconds,
            "num_trained": self.num_trained,
            "peak_bytes": self.peak_bytes,
        }
        save_json(self.file, spent, _SPENT_KIND)

    def cost(self, losses: Sequence[LossPoint], num_total: int) -> TrainingCost:
        """All that was taken, once training is done."""
        return TrainingCost(
            num_steps=len(losses),
            num_trained=self.num_trained,
            num_total=num_total,
            seconds=self.seconds,
            peak_bytes=self.peak_bytes,
            memory="machine" if self.on_machine else "accelerator",
            first_loss=losses[0].loss_nats,
            last_loss=losses[-1].loss_nats,
        )

    def _peak_so_far(self) -> int | None:
        if self.on_machine:
            return self._peak.bytes_above()
        return torch.cuda.max_memory_allocated(self.device) - self._held
