"""How does a model move when it is fine-tuned with LoRA?

The caller is told at every checkpoint and at every drift step, and may evaluate
the live model there: it is in eval mode, and nothing done to the random
generators disturbs the run. After a kill the same call goes on from the last
state and ends with the same bytes; calls made after that state are made again.
"""

import hashlib
import json
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
from peft import PeftModel
from transformers import PreTrainedModel

from driftmap.core.errors import DataError, ModelError, StoreError
from driftmap.core.places import Site
from driftmap.core.progress import progress
from driftmap.core.seeds import child_seed
from driftmap.results.samples import EncodedSample
from driftmap.results.training import LossPoint
from driftmap.signals.factors import LoraFactors
from driftmap.tune.adapter import adapted, live_factors, tuned_sites
from driftmap.tune.schedule import checkpoint_steps, drift_steps, total_steps
from driftmap.tune.settings import TuningSettings
from driftmap.tune.state import RollingState, load_state, save_state
from driftmap.tune.trainer import (
    Course,
    LoraTrainer,
    build_trainer,
    trainer_arguments,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Follower:
    """Who watches a run, and where the run may keep its state.

    Both calls must be safe to repeat: after a kill they come again for steps
    that the last whole state does not cover, with the same content.

    Args:
        folder: For `state.safetensors` and the trainer's scratch; delete it when
            the run is finished and its results are kept.
        on_checkpoint: Called with step and live model; `save_adapter` writes it.
        on_drift: Called with step and the factors of every tuned site.
    """

    folder: Path
    on_checkpoint: Callable[[int, PeftModel], None]
    on_drift: Callable[[int, Mapping[Site, LoraFactors]], None]


def tune_lora(
    model: PreTrainedModel,
    sites: Sequence[Site],
    samples: Sequence[EncodedSample],
    settings: TuningSettings,
    seed: int,
    follower: Follower,
) -> tuple[LossPoint, ...]:
    """Fine-tune with LoRA; the model itself is given back bit for bit.

    Args:
        model: Model in float32 or bfloat16, without an adapter.
        sites: Matrices that may be tuned; `settings.lora_parts` narrows them.
        samples: Encoded samples; the loss is the mean over the counted tokens
            of a step, so an end token counts where the encoding counts it.
        settings: Rank, steps, learning rate, intervals.
        seed: The run's seed; adapter, data order and dropout have children of it.
        follower: Who is told, and the folder for the rolling state.

    Returns:
        Loss and learning rate of every step.

    Raises:
        DataError: There is no sample, or one has no counted token.
        ModelError: The model has an adapter, is in float16, is not on the first
            device, or a loss is not finite.
        StoreError: The state on disk is corrupted, foreign, or cannot be written.
        UsageError: No map, or only a piece of a fused one, would be tuned.
    """
    _check(model, samples)
    sites = tuned_sites(sites, settings)
    total = total_steps(len(samples), settings)
    fingerprint = _fingerprint(sites, samples, settings, seed)
    state = load_state(_state_path(follower), fingerprint)
    if state is not None and state.step >= total:
        return _losses(json.loads(state.trainer)["log_history"])
    with (
        own_randomness(model.device),
        adapted(model, sites, settings, child_seed(seed, "adapter")) as tuned,
        progress("fine-tune", total) as bar,
    ):
        watch = _Watch(follower, sites, settings, total, fingerprint)
        course = Course(marked=frozenset(watch.marked), keep=watch.keep, bar=bar)
        arguments = trainer_arguments(
            settings, seed, follower.folder / "trainer", on_cpu=_on_cpu(model)
        )
        _check_device(model, arguments.device)
        trainer = build_trainer(tuned, samples, arguments, course, state)
        if state is None:
            watch.tell(tuned, 0)
            trainer.train()
        else:
            bar.advance(state.step, "resumed")
            trainer.train(resume_from_checkpoint=_scratch(follower, state))
        return _losses(trainer.state.log_history)


@contextmanager
def own_randomness(device: torch.device) -> Iterator[None]:
    """Give the random generators back as they were: the trainer seeds them all."""
    python, legacy = random.getstate(), np.random.get_state()
    devices = [device.index or 0] if device.type == "cuda" else []
    try:
        with torch.random.fork_rng(devices=devices):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(legacy)


class _Watch:
    """Calls the follower at the right steps, then keeps the state."""

    def __init__(
        self,
        follower: Follower,
        sites: Sequence[Site],
        settings: TuningSettings,
        total: int,
        fingerprint: str,
    ) -> None:
        self.follower = follower
        self.sites = sites
        self.saved = checkpoint_steps(total, settings.save_steps)
        self.marked = drift_steps(total, settings.save_steps, settings.drift_every)
        self.fingerprint = fingerprint

    def tell(self, model: PeftModel, step: int) -> None:
        """Call the follower, unseen by the run."""
        with own_randomness(model.device):
            model.eval()
            if step in self.saved:
                self.follower.on_checkpoint(step, model)
            self.follower.on_drift(step, live_factors(model, self.sites))

    def keep(self, trainer: LoraTrainer) -> None:
        """Tell first, keep after: a kill in between repeats the call."""
        self.tell(cast(PeftModel, trainer.model), trainer.state.global_step)
        state = trainer.rolling_state(self.fingerprint)
        save_state(state, _state_path(self.follower))


def _check(model: PreTrainedModel, samples: Sequence[EncodedSample]) -> None:
    if not samples:
        raise DataError("there is no sample to tune on; is the file empty?")
    for sample in samples:
        if not sample.counted[1:].any():
            raise DataError(
                f"sample {sample.sample_id!r}: no token counts in the loss; is its "
                "response empty or cut off?"
            )
    if model.dtype == torch.float16:
        raise ModelError(
            "float16 loses the small gradients of tuning: load the model with "
            "--dtype float32 or --dtype bfloat16"
        )


def _check_device(model: PreTrainedModel, device: torch.device) -> None:
    spread = len(set(getattr(model, "hf_device_map", {}).values())) > 1
    if not spread and model.device != device and model.device.type != "mps":
        raise ModelError(
            f"tuning runs on {device}, but the model is on {model.device}: load it "
            f"on {device}, or choose the device with CUDA_VISIBLE_DEVICES"
        )


def _on_cpu(model: PreTrainedModel) -> bool:
    return model.device.type == "cpu"


def _state_path(follower: Follower) -> Path:
    return follower.folder / "state.safetensors"


def _scratch(follower: Follower, state: RollingState) -> str:
    """Lay out the one file that the trainer reads itself when it resumes."""
    folder = follower.folder / "trainer"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "trainer_state.json").write_text(state.trainer, encoding="utf-8")
    except OSError as error:
        raise StoreError(
            f"{folder}: cannot be written ({error}); make room and repeat the command"
        ) from error
    return str(folder)


def _fingerprint(
    sites: Sequence[Site],
    samples: Sequence[EncodedSample],
    settings: TuningSettings,
    seed: int,
) -> str:
    about = {
        "settings": asdict(settings),
        "seed": seed,
        "sites": [(site.key, *site.shape) for site in sites],
    }
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    for sample in samples:
        digest.update(f"\n{sample.sample_id}\n".encode())
        digest.update(sample.token_ids.tobytes())
        digest.update(sample.counted.tobytes())
    return digest.hexdigest()


def _losses(history: Sequence[Mapping[str, float]]) -> tuple[LossPoint, ...]:
    return tuple(
        LossPoint(
            step=int(entry["step"]),
            loss_nats=entry["loss"],
            learning_rate=entry["learning_rate"],
        )
        for entry in history
        if "loss" in entry
    )
