"""How do checkpoints that were trained elsewhere take the place of fine-tuning?

Adapters are copied into the run folder. Whole models are too large for that: a card
says where each lies and which weights it holds.
"""

import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path

import numpy as np

from driftmap.core.errors import ModelError
from driftmap.core.places import Site
from driftmap.core.progress import say
from driftmap.load.adapter_config import read_adapter_config
from driftmap.load.adapter_conversion import convert_adapter
from driftmap.load.adapters import Adapter, read_adapter
from driftmap.load.attach import require_base
from driftmap.load.identity import weights_sha256
from driftmap.load.tensor_files import weight_files
from driftmap.load.training_runs import (
    CONFIG,
    MODEL_CONFIG,
    TrainingRun,
    read_state,
)
from driftmap.recipes.steps.bench import Study
from driftmap.recipes.steps.tuning import whole
from driftmap.recipes.steps.tuning.whole import require_same_sites
from driftmap.results.table import Table
from driftmap.results.training import ROUNDED_BASE
from driftmap.store.files import sha256_of
from driftmap.store.steps import StepOutcome
from driftmap.store.tables import save_table
from driftmap.tune.settings import TuningSettings


def mobile_sites(study: Study, runs: Sequence[TrainingRun]) -> tuple[Site, ...]:
    """Check every checkpoint, and tell which matrices they tune, in the model's order.

    Raises:
        ModelError: A checkpoint is broken, of another kind or model, or tunes other
            matrices than the first one.
    """
    first = runs[0].last
    if runs[0].is_full:
        tuned = whole.mobile_sites(study, runs)
    else:
        adapter = _read(study, runs[0], runs[0].last_step)
        tuned = _tuned(adapter, study.loaded.layout.sites)
        whole.say_others(first, adapter.other_parts)
        for run in runs:
            for step, folder in run.checkpoints.items():
                sites = _tuned(_read(study, run, step), study.loaded.layout.sites)
                require_same_sites(folder, sites, first, tuned)
    _require_distinct(runs)
    return tuned


def checkpoint_step(study: Study, run: TrainingRun, number: int) -> StepOutcome:
    """Take a training run's checkpoints into the run folder, as tuning leaves them.

    Of an adapter only configuration and weights are copied; one whose start rewrote
    its base is written as a plain one instead. A whole model stays where it is. The
    losses come from the trainer's state, where there is one.

    Args:
        study: Folder, model and seed.
        run: The training run; `mobile_sites` has checked it.
        number: Which one, from 0.
    """
    hashes = {step: _hashes(run, step) for step in run.checkpoints}
    study.run.note_inputs(
        {
            f"checkpoints/seed-{number}/step-{step}": weights
            for step, (_, weights) in hashes.items()
        }
    )
    identity = study.loaded.identity
    inputs = {
        "model": identity.sha256,
        "dtype": identity.dtype,
        "adapters": {str(step): both for step, both in hashes.items()},
        "losses": sha256_of(run.state) if run.state else "",
        # Whole models are read where they lie.
        **({"folder": str(run.folder.resolve())} if run.is_full else {}),
    }

    def make(folder: Path) -> None:
        for step in run.checkpoints:
            target = folder / f"checkpoints/seed-{number}/step-{step:06d}"
            if run.is_full:
                whole.write_card(run.checkpoints[step], hashes[step], target)
            else:
                _take(study, run, step, target)
        save_table(
            folder / f"tables/losses/seed-{number}.parquet", _losses(run, number)
        )

    return study.run.step(f"tune-seed-{number}", inputs, make)


def say_ignored(settings: TuningSettings) -> None:
    """Say once which options of tuning mean nothing to what was trained elsewhere.

    `--tune qlora` means something: the weights under the adapters are rounded.
    """
    usual = asdict(TuningSettings(tune="qlora" if settings.is_four_bit else "lora"))
    odd = [
        f.name for f in fields(settings) if getattr(settings, f.name) != usual[f.name]
    ]
    if odd:
        flags = ", ".join("--" + name.replace("_", "-") for name in odd)
        say(f"{flags}: not used, since what --checkpoints names is trained")


def _take(study: Study, run: TrainingRun, step: int, target: Path) -> None:
    folder = run.checkpoints[step]
    if read_adapter_config(folder).rewriting_start is None:
        target.mkdir(parents=True)
        shutil.copyfile(folder / CONFIG, target / CONFIG)
        shutil.copyfile(weight_files(folder)[0], target / "adapter_model.safetensors")
        if (folder / ROUNDED_BASE).is_file():
            shutil.copyfile(folder / ROUNDED_BASE, target / ROUNDED_BASE)
    elif step > 0:
        sites = study.loaded.layout.sites
        convert_adapter(folder, run.checkpoints.get(0), sites, target)


def _read(study: Study, run: TrainingRun, step: int) -> Adapter:
    folder = run.checkpoints[step]
    config = read_adapter_config(folder)
    identity = study.loaded.identity
    require_base(config, identity.source, identity.base_sha256)
    reference = run.checkpoints.get(0)
    if config.rewriting_start is not None and reference is None:
        raise ModelError(
            f"{folder}: its start `{config.rewriting_start}` rewrote the base model, "
            "so its factors are no change by themselves; put the adapter from before "
            f"training into {run.folder} as checkpoint-0, or convert on saving with "
            "`path_initial_model_for_weight_conversion`"
        )
    return read_adapter(folder, study.loaded.layout.sites, reference=reference)


def _require_distinct(runs: Sequence[TrainingRun]) -> None:
    """Copies of one run would pass for a result that repeats."""
    seen: dict[str, Path] = {}
    for run in runs:
        _, digest = _hashes(run, run.last_step)
        if digest in seen:
            raise ModelError(
                f"{run.last}: is the same as {seen[digest]}; a copy is no "
                "further training run, give runs with other seeds"
            )
        seen[digest] = run.last


def _hashes(run: TrainingRun, step: int) -> tuple[str, str]:
    """Of the configuration and of the weights."""
    folder = run.checkpoints[step]
    if run.is_full:
        return sha256_of(folder / MODEL_CONFIG), weights_sha256(folder)
    return sha256_of(folder / CONFIG), sha256_of(weight_files(folder)[0])


def _tuned(adapter: Adapter, sites: Sequence[Site]) -> tuple[Site, ...]:
    return tuple(s for s in sites if s in adapter.factors or s in adapter.whole)


def _losses(run: TrainingRun, number: int) -> Table:
    history = read_state(run.state).get("log_history") if run.state else None
    points = [
        (step, loss, _finite(entry.get("learning_rate")))
        for entry in (history if isinstance(history, list) else [])
        if isinstance(entry, Mapping)
        for step, loss in [(entry.get("step"), _finite(entry.get("loss")))]
        if isinstance(step, int) and math.isfinite(loss)
    ]
    steps, losses, rates = zip(*points, strict=True) if points else ((), (), ())
    return Table(
        columns={
            "seed": np.full(len(points), number, dtype=np.int64),
            "step": np.array(steps, dtype=np.int64),
            "loss_nats": np.array(losses, dtype=np.float64),
            "learning_rate": np.array(rates, dtype=np.float64),
        }
    )


def _finite(value: object) -> float:
    return float(value) if isinstance(value, int | float) else math.nan
