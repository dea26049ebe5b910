"""How is a tuning run led from its first step to its last, and on after a kill?

The caller is told at every checkpoint and at every drift step, and may evaluate
the live model there: it is in eval mode, and nothing done to the random
generators disturbs the run. After a kill the same call goes on from the last
state and ends with the same bytes; calls made after that state are made again.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

import torch
from transformers import PreTrainedModel

from driftmap.core.errors import DataError, ModelError, StoreError, UsageError
from driftmap.core.places import canonical_order
from driftmap.core.progress import progress
from driftmap.results.training import LossPoint
from driftmap.tune.crew import this_crew
from driftmap.tune.full import tuned_whole
from driftmap.tune.live import Follower, Live, Task
from driftmap.tune.lora import tuned_with_lora
from driftmap.tune.order import require_even_shares
from driftmap.tune.randomness import own_randomness
from driftmap.tune.schedule import checkpoint_steps, drift_steps, total_steps
from driftmap.tune.settings import TuningSettings
from driftmap.tune.sharded import on_host, require_shardable, sharded
from driftmap.tune.state import RollingState, load_state, save_state
from driftmap.tune.targets import tuned_sites
from driftmap.tune.trainer import (
    Course,
    WatchedTrainer,
    build_trainer,
    trainer_arguments,
)
from driftmap.tune.ways import require_way


def tune(
    model: PreTrainedModel, task: Task, follower: Follower
) -> tuple[LossPoint, ...]:
    """Fine-tune; the model itself is given back bit for bit.

    The first of several processes calls this, the others `tune_along`.

    Args:
        model: Model in float32 or bfloat16, without an adapter.
        task: What is learnt, and how.
        follower: Who is told, and the folder for the rolling state.

    Returns:
        Loss and learning rate of every step.

    Raises:
        DataError: There is no sample, or one has no counted token.
        ModelError: The model has an adapter, is in float16, is not on the first
            device, or a loss is not finite; or another process has failed.
        StoreError: The state on disk is corrupted, foreign, or cannot be written.
        UsageError: No map, or only a piece of a fused one, would be tuned, what is
            frozen cannot be held in this kind of tuning, or several processes cannot
            tune so.
    """
    _check(model, task)
    crew = this_crew()
    total = total_steps(len(task.samples), task.settings)
    state = load_state(_state_path(follower), _fingerprint(task))
    if state is not None and state.step >= total:
        return _losses(json.loads(state.trainer)["log_history"])
    with crew.joined(model.device):
        crew.share((task, None if state is None else replace(state, tensors={})))
        return _train(model, task, follower, state)


def tune_along(model: PreTrainedModel) -> None:
    """Take part in the run that the first process begins with `tune`.

    Args:
        model: The same model as there.

    Raises:
        Dismissed: The first process has ended.
    """
    crew = this_crew()
    with crew.joined(model.device), TemporaryDirectory(prefix="driftmap-") as folder:
        task, state = crew.share(cast(tuple[Task, RollingState | None] | None, None))
        alone = Follower(folder=Path(folder), on_checkpoint=_ignore, on_drift=_ignore)
        _train(model, task, alone, state)


def made_live(model: PreTrainedModel, task: Task) -> AbstractContextManager[Live]:
    """Make a model ready for training, for as long as the block runs.

    Args:
        model: Without an adapter; given back bit for bit.
        task: What is tuned, and what is frozen.
    """
    make = tuned_whole if task.settings.tune == "full" else tuned_with_lora
    return make(model, task)


def _train(
    model: PreTrainedModel, task: Task, follower: Follower, state: RollingState | None
) -> tuple[LossPoint, ...]:
    crew, device = this_crew(), model.device
    total = total_steps(len(task.samples), task.settings)
    with ExitStack() as held:
        held.enter_context(own_randomness(device))
        bar = held.enter_context(progress("fine-tune", total))
        with crew.agreed():
            if crew.is_sharded:
                held.enter_context(on_host(model))
            live = held.enter_context(made_live(model, task))
            watch = _Watch(follower, live, task, total)
            trained = live
            if crew.is_sharded:
                trained, watch.fetch = sharded(live, device)
            course = Course(marked=frozenset(watch.marked), keep=watch.keep, bar=bar)
            arguments = trainer_arguments(trained, task, follower.folder / "trainer")
            _check_device(model, device, arguments.device)
            trainer = build_trainer(trained, task.samples, arguments, course, state)
            _check_loss(trainer)
        if state is None:
            crew.first_does(partial(watch.tell, 0))
            trainer.train()
        else:
            bar.advance(state.step, "resumed")
            trainer.train(resume_from_checkpoint=_scratch(follower, state))
        return _losses(trainer.state.log_history)


class _Watch:
    """Calls the follower at the right steps, then keeps the state."""

    def __init__(self, follower: Follower, live: Live, task: Task, total: int) -> None:
        settings = task.settings
        self.follower = follower
        self.live = live
        self.fetch: Callable[[], None] = _nothing
        self.saved = checkpoint_steps(total, settings.save_steps)
        self.marked = drift_steps(total, settings.save_steps, settings.drift_every)
        # The state of full tuning is three times the model: not at every mark.
        self.kept = self.saved if settings.tune == "full" else self.marked
        self.fingerprint = _fingerprint(task)

    def tell(self, step: int) -> None:
        """Call the follower, unseen by the run."""
        with own_randomness(self.live.model.device):
            self.live.model.eval()
            if step in self.saved:
                self.follower.on_checkpoint(step, self.live)
            changes = self.live.changes()
            with self.live.at_rest():
                self.follower.on_drift(step, changes)

    def keep(self, trainer: WatchedTrainer) -> None:
        """Tell first, keep after: a kill in between repeats the call."""
        step = trainer.state.global_step
        self.fetch()
        this_crew().first_does(partial(self.tell, step))
        if step in self.kept:
            state = trainer.rolling_state(self.fingerprint)
            path = _state_path(self.follower)
            this_crew().first_does(partial(save_state, state, path))


def _check(model: PreTrainedModel, task: Task) -> None:
    _check_crew(model, task.settings)
    if task.frozen is not None:
        require_way(task.frozen.way, task.settings)
    if not task.samples:
        raise DataError("there is no sample to tune on; is the file empty?")
    for sample in task.samples:
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


def _check_crew(model: PreTrainedModel, settings: TuningSettings) -> None:
    crew = this_crew()
    if crew.is_alone:
        return
    require_even_shares(settings, crew.launch.size)
    if crew.is_sharded:
        require_shardable(settings)
    if _is_spread(model):
        raise UsageError(
            f"--device-map spreads one model over several GPUs, and "
            f"{crew.launch.size} processes need one each; leave it out, or start one "
            "process"
        )


def _check_loss(trainer: WatchedTrainer) -> None:
    if not this_crew().is_alone and trainer.aux_loss_enabled:
        raise ModelError(
            "the model adds a loss of its routers, which is a mean over each batch "
            "and not over tokens, and several processes would weigh it otherwise; set "
            "output_router_logits to false in its config.json, or start one process"
        )


def _check_device(
    model: PreTrainedModel, found: torch.device, device: torch.device
) -> None:
    # accelerate numbers the CPU of every process.
    on_cpu = found.type == device.type == "cpu"
    if not (_is_spread(model) or on_cpu or found == device or found.type == "mps"):
        raise ModelError(
            f"tuning runs on {device}, but the model is on {found}: load it "
            f"on {device}, or choose the device with CUDA_VISIBLE_DEVICES"
        )


def _is_spread(model: PreTrainedModel) -> bool:
    return len(set(getattr(model, "hf_device_map", {}).values())) > 1


def _ignore(step: int, seen: object) -> None:
    """The first process looks."""


def _nothing() -> None:
    """What is trained is the model itself."""


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


def _fingerprint(task: Task) -> str:
    sites = tuned_sites(task.sites, task.settings)
    about = {
        "settings": asdict(task.settings),
        "seed": task.seed,
        "sites": [(site.key, *site.shape) for site in sites],
        "freeze_by": task.frozen.way if task.frozen else "",
    }
    if task.within:
        about["within"] = list(task.within)
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    for sample in task.samples:
        digest.update(f"\n{sample.sample_id}\n".encode())
        digest.update(sample.token_ids.tobytes())
        digest.update(sample.counted.tobytes())
    members = task.frozen.members if task.frozen else {}
    for site in sorted(members, key=canonical_order):
        digest.update(f"\nfrozen {site.key}\n".encode())
        digest.update(members[site].tobytes())
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
