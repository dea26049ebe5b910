"""How do adapters that were trained elsewhere take the place of fine-tuning?"""

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
from driftmap.load.tensor_files import weight_files
from driftmap.load.training_runs import CONFIG, TrainingRun, read_state
from driftmap.recipes.steps.bench import Study
from driftmap.results.table import Table
from driftmap.store.files import sha256_of
from driftmap.store.steps import StepOutcome
from driftmap.store.tables import save_table
from driftmap.tune.settings import TuningSettings


def mobile_sites(study: Study, runs: Sequence[TrainingRun]) -> tuple[Site, ...]:
    """Check every adapter, and tell which matrices they tune, in the model's order.

    Raises:
        ModelError: An adapter is broken, of another kind or model, or tunes other
            matrices than the first one.
    """
    first = runs[0].last
    adapter = _read(study, runs[0], runs[0].last_step)
    tuned = tuple(adapter.factors)
    if adapter.other_parts:
        say(
            f"{first}: it also tunes {adapter.other_parts[0].partition('.lora_')[0]}, "
            "which counts in the behaviour but holds no weight of a group"
        )
    for run in runs:
        for step, folder in run.adapters.items():
            sites = _read(study, run, step).factors
            odd = sorted(site.key for site in set(sites) ^ set(tuned))
            if odd:
                raise ModelError(
                    f"{folder}: only one of it and {first} tunes {odd[0]}; give "
                    "repetitions of one training, with other seeds alone"
                )
    _require_distinct(runs)
    return tuned


def checkpoint_step(study: Study, run: TrainingRun, number: int) -> StepOutcome:
    """Take the adapters of a training run into the run folder, as tuning leaves them.

    Only configuration and weights are copied. An adapter whose start rewrote its base
    is written as a plain one instead. The losses come from the trainer's state, where
    there is one.

    Args:
        study: Folder, model and seed.
        run: The training run; `mobile_sites` has checked it.
        number: Which one, from 0.
    """
    hashes = {step: _hashes(folder) for step, folder in run.adapters.items()}
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
    }

    def make(folder: Path) -> None:
        for step in run.adapters:
            target = folder / f"checkpoints/seed-{number}/step-{step:06d}"
            _take(study, run, step, target)
        save_table(
            folder / f"tables/losses/seed-{number}.parquet", _losses(run, number)
        )

    return study.run.step(f"tune-seed-{number}", inputs, make)


def say_ignored(settings: TuningSettings) -> None:
    """Say once which options of tuning mean nothing to adapters trained elsewhere."""
    usual = asdict(TuningSettings())
    odd = [
        f.name for f in fields(settings) if getattr(settings, f.name) != usual[f.name]
    ]
    if odd:
        flags = ", ".join("--" + name.replace("_", "-") for name in odd)
        say(f"{flags}: not used, since the adapters of --checkpoints are trained")


def _take(study: Study, run: TrainingRun, step: int, target: Path) -> None:
    folder = run.adapters[step]
    if read_adapter_config(folder).rewriting_start is None:
        target.mkdir(parents=True)
        shutil.copyfile(folder / CONFIG, target / CONFIG)
        shutil.copyfile(weight_files(folder)[0], target / "adapter_model.safetensors")
    elif step > 0:
        sites = study.loaded.layout.sites
        convert_adapter(folder, run.adapters.get(0), sites, target)


def _read(study: Study, run: TrainingRun, step: int) -> Adapter:
    folder = run.adapters[step]
    config = read_adapter_config(folder)
    identity = study.loaded.identity
    require_base(config, identity.source, identity.base_sha256)
    reference = run.adapters.get(0)
    if config.rewriting_start is not None and reference is None:
        raise ModelError(
            f"{folder}: its start `{config.rewriting_start}` rewrote the base model, "
            "so its factors are no change by themselves; put the adapter from before "
            f"training into {run.folder} as checkpoint-0, or convert on saving with "
            "`path_initial_model_for_weight_conversion`"
        )
    adapter = read_adapter(folder, study.loaded.layout.sites, reference=reference)
    for name in adapter.other_parts:
        if ".lora_" not in name:
            raise ModelError(
                f"{folder}: beside its factors it replaces `{name}` (bias, "
                "modules_to_save or new tokens), which is not followed; tune without"
            )
    return adapter


def _require_distinct(runs: Sequence[TrainingRun]) -> None:
    """Copies of one run would pass for a result that repeats."""
    seen: dict[str, Path] = {}
    for run in runs:
        digest = sha256_of(weight_files(run.last)[0])
        if digest in seen:
            raise ModelError(
                f"{run.last}: is the same adapter as {seen[digest]}; a copy is no "
                "further training run, give runs with other seeds"
            )
        seen[digest] = run.last


def _hashes(folder: Path) -> tuple[str, str]:
    """Of the configuration and of the weights."""
    return sha256_of(folder / CONFIG), sha256_of(weight_files(folder)[0])


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
