"""What does trl's trainer do differently here: exact resuming, own data order, silence?

The trainer keeps its loop, loss and optimiser. Replaced are the places where it
would write or read pickles, ask the network, draw the data order from the global
seed, or go on after a loss that is not a number.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import torch.distributed as dist
from datasets import Dataset
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import DataLoader, Sampler
from torch.utils.data import Dataset as TorchDataset
from transformers import (
    PretrainedConfig,
    PreTrainedTokenizerFast,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from transformers.trainer_callback import PrinterCallback
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from driftmap.core.errors import ModelError
from driftmap.core.progress import Progress
from driftmap.core.seeds import child_seed
from driftmap.results.samples import EncodedSample
from driftmap.tune.crew import this_crew
from driftmap.tune.freezing import Hold
from driftmap.tune.live import Live, Task
from driftmap.tune.order import EpochOrder, RankBatches, RankLoader
from driftmap.tune.sharded import Spread, placed, whole
from driftmap.tune.state import RollingState

IGNORED = -100
"""The label that cross-entropy leaves out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """Where a run stops to be looked at, and what happens there.

    Args:
        marked: Steps after which `keep` is called.
        keep: Called between two steps with the trainer.
        bar: Told of every step.
    """

    marked: frozenset[int]
    keep: Callable[["WatchedTrainer"], None]
    bar: Progress


def build_trainer(
    live: Live,
    samples: Sequence[EncodedSample],
    arguments: SFTConfig,
    course: Course,
    resumed: RollingState | None,
) -> "WatchedTrainer":
    """Make a trainer on encoded samples, silent and without files of its own."""
    # The loss asks for no cache by itself; answers at a checkpoint want one.
    arguments.use_cache = live.model.config.use_cache
    with _without_balance(live.model.config, arguments):
        trainer = WatchedTrainer(
            model=live.model,
            args=arguments,
            train_dataset=_dataset(samples, with_nothing=arguments.world_size > 1),
            data_collator=collate,
            # The samples are encoded; trl wants some tokenizer to hold.
            processing_class=PreTrainedTokenizerFast(
                tokenizer_object=Tokenizer(WordLevel({}, unk_token="-"))
            ),
            callbacks=[_Holds(live.holds), _Marks(course)],
        )
    # Without a tokenizer the trainer leaves the model's special tokens alone.
    trainer.processing_class = None
    trainer.remove_callback(PrinterCallback)
    # trl's own loss divides by the tokens of the whole step, whatever the model's
    # forward accepts.
    trainer.model_accepts_loss_kwargs = True
    trainer.course = course
    trainer.is_sharded = live.is_sharded
    trainer.holds = live.holds
    trainer.resumed = resumed
    return trainer


@contextmanager
def _without_balance(config: PretrainedConfig, arguments: SFTConfig) -> Iterator[None]:
    """Keep trl from adding a mixture's balance of routers to the loss.

    It notes so in the model's own configuration, where only the wish for routers'
    logits stays off.
    """
    text = config.get_text_config(decoder=True)
    if not hasattr(text, "router_aux_loss_coef"):
        yield
        return
    coefficient = text.router_aux_loss_coef
    arguments.router_aux_loss_coef = 0.0
    yield
    text.router_aux_loss_coef = coefficient


def trainer_arguments(live: Live, task: Task, folder: Path) -> SFTConfig:
    """Translate our settings for the trainer."""
    settings, on_cpu = task.settings, live.model.device.type == "cpu"
    num_ranks = dist.get_world_size() if dist.is_initialized() else 1
    return SFTConfig(
        output_dir=str(folder),
        per_device_train_batch_size=settings.batch_size,
        gradient_accumulation_steps=settings.grad_accum // num_ranks,
        num_train_epochs=settings.num_epochs,
        max_steps=settings.max_steps,
        learning_rate=settings.learning_rate,
        lr_scheduler_type="linear",
        weight_decay=settings.weight_decay,
        optim="adamw_torch",
        seed=child_seed(task.seed, "dropout"),
        data_seed=child_seed(task.seed, "data"),
        bf16=live.is_mixed,
        fp16=False,
        # None is off; False is a deprecated alias in transformers >= 5.19.
        gradient_checkpointing=cast(bool, None),
        ddp_find_unused_parameters=_may_skip(live.model),
        use_cpu=on_cpu,
        dataloader_pin_memory=not on_cpu,
        dataset_kwargs={"skip_prepare_dataset": True},
        remove_unused_columns=False,
        max_length=None,
        save_strategy="no",
        eval_strategy="no",
        logging_strategy="steps",
        logging_steps=1,
        logging_nan_inf_filter=False,
        report_to="none",
        disable_tqdm=True,
    )


def labelled(sample: EncodedSample) -> dict[str, list[int]]:
    """One sample as the trainer takes it."""
    labels = np.where(sample.counted, sample.token_ids, IGNORED)
    return {"input_ids": sample.token_ids.tolist(), "labels": labels.tolist()}


def collate(rows: Sequence[Mapping[str, Sequence[int]]]) -> dict[str, Tensor]:
    """Pad rows on the right by their length, so that no token's id decides its loss.

    >>> batch = collate([{"input_ids": [5, 2], "labels": [-100, 2]},
    ...                  {"input_ids": [7], "labels": [-100]}])
    >>> batch["attention_mask"].tolist(), batch["labels"].tolist()
    ([[1, 1], [1, 0]], [[-100, 2], [-100, -100]])
    """
    length = max(len(row["input_ids"]) for row in rows)
    ids = torch.zeros(len(rows), length, dtype=torch.int64)
    real = torch.zeros(len(rows), length, dtype=torch.int64)
    labels = torch.full((len(rows), length), IGNORED, dtype=torch.int64)
    for number, row in enumerate(rows):
        size = len(row["input_ids"])
        ids[number, :size] = torch.tensor(row["input_ids"])
        labels[number, :size] = torch.tensor(row["labels"])
        real[number, :size] = 1
    return {"input_ids": ids, "attention_mask": real, "labels": labels}


class WatchedTrainer(SFTTrainer):
    """trl's trainer with the replacements that the module's text names."""

    course: Course
    resumed: RollingState | None
    holds: tuple[Hold, ...]
    is_sharded: bool
    taken: tuple[int, int] = (-1, 0)

    def rolling_state(self, fingerprint: str) -> RollingState:
        """All that the next step depends on; its tensors on the first process alone."""
        optimizer = self._optimizer.state_dict()
        tensors: dict[str, Tensor] = {
            f"trained.{name}": p for name, p in _trained(self.model)
        }
        for index, moments in optimizer["state"].items():
            tensors |= {f"optimizer.{index}.{name}": t for name, t in moments.items()}
        for name, part in tensors.items():
            fetched = whole(part)
            if self.args.process_index == 0:
                tensors[name] = fetched
        return RollingState(
            fingerprint=fingerprint,
            step=self.state.global_step,
            trainer=json.dumps(asdict(self.state), sort_keys=True),
            scheduler=json.dumps(self._schedule.state_dict(), sort_keys=True),
            learning_rates=tuple(g["lr"] for g in optimizer["param_groups"]),
            tensors=tensors,
        )

    @property
    def _optimizer(self) -> Optimizer:
        return cast(Optimizer, self.optimizer)

    @property
    def _schedule(self) -> LRScheduler:
        return cast(LRScheduler, self.lr_scheduler)

    def training_step(self, *args: Any, **kwargs: Any) -> Tensor:  # noqa: ANN401
        """Take the trainer's step on one batch; refuse a loss that is no number.

        What is dropped out depends on the batch's place in its step alone, so that it
        is the same after a kill, and whichever of several processes takes the batch.
        """
        torch.manual_seed(child_seed(self.args.seed, *self._place()))
        loss = super().training_step(*args, **kwargs)
        of_all = this_crew().summed(loss)
        if not of_all.isfinite():
            raise ModelError(
                f"step {self.state.global_step + 1}: the training loss is "
                f"{of_all.item()}; lower --learning-rate, or load the model in float32 "
                "if it is in a narrower type"
            )
        return loss

    def _place(self) -> tuple[int, int]:
        """Step and number of the batch that comes now."""
        step, (last, taken) = self.state.global_step, self.taken
        number = taken + 1 if last == step else 0
        self.taken = step, number
        return step, number * self.args.world_size + self.args.process_index

    def _clip_grad_norm(self, model: nn.Module) -> Tensor | None:
        """Mask first: what cannot move has no part in the norm."""
        for hold in self.holds:
            hold.mask_gradient()
        norm = super()._clip_grad_norm(model)
        return None if norm is None else whole(norm)

    def _wrap_model(self, model: nn.Module, *args: Any, **kwargs: Any) -> nn.Module:  # noqa: ANN401
        if not self.is_sharded:
            return super()._wrap_model(model, *args, **kwargs)
        # For autocast alone: the weights are where they belong.
        return Spread(
            self.accelerator.prepare_model(
                model, device_placement=False, evaluation_mode=True
            )
        )

    def get_train_dataloader(self) -> DataLoader[object]:
        """The batches of this process, if it is one of several."""
        if self.args.world_size == 1:
            return super().get_train_dataloader()
        size = len(cast(Dataset, self.train_dataset)) - 1
        batches = RankBatches(
            EpochOrder(size, self.args.data_seed or 0),
            self.args.per_device_train_batch_size,
            self.args.process_index,
            self.args.world_size,
        )
        return RankLoader(
            cast(TorchDataset[object], self.train_dataset),
            batch_sampler=batches,
            collate_fn=collate,
            pin_memory=self.args.dataloader_pin_memory,
        )

    def _get_train_sampler(self, train_dataset: object = None) -> Sampler[int]:
        size = len(cast(Dataset, self.train_dataset))
        return EpochOrder(size, self.args.data_seed or 0)

    def _save_checkpoint(self, model: nn.Module, trial: object) -> None:
        self.course.keep(self)

    def _load_from_checkpoint(
        self, resume_from_checkpoint: str, model: nn.Module | None = None
    ) -> None:
        assert self.resumed is not None
        there = dict(_trained(self.model))
        saved = this_crew().streamed(self.resumed.group("trained"))
        with torch.no_grad():
            for name, tensor in saved:
                there[name].copy_(placed(tensor, there[name]))

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if self.resumed is None:
            return
        state = self._optimizer.state_dict()
        state["state"] = {}
        trained = [p for group in self._optimizer.param_groups for p in group["params"]]
        saved = this_crew().streamed(self.resumed.group("optimizer"))
        for name, tensor in saved:
            number, _, moment = name.partition(".")
            kept = placed(tensor, trained[int(number)])
            state["state"].setdefault(int(number), {})[moment] = kept
        self._schedule.load_state_dict(json.loads(self.resumed.scheduler))
        rates = self.resumed.learning_rates
        for group, rate in zip(state["param_groups"], rates, strict=True):
            group["lr"] = rate
        self._optimizer.load_state_dict(state)

    def _load_rng_state(self, checkpoint: str | None) -> None:
        """Leave the generators: every batch seeds them."""

    def _send_telemetry(self) -> None:
        """Stay silent: nothing about a run leaves the machine."""


class _Holds(TrainerCallback):
    """Copies back after every step of the optimiser what may not move."""

    def __init__(self, holds: Sequence[Hold]) -> None:
        self.holds = holds

    def on_optimizer_step(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: object,
    ) -> None:
        for hold in self.holds:
            hold.put_back()


class _Marks(TrainerCallback):
    """Asks the trainer to stop by at the marked steps, and tells the bar."""

    def __init__(self, course: Course) -> None:
        self.course = course

    def on_step_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: object,
    ) -> None:
        control.should_save = state.global_step in self.course.marked

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,  # noqa: ANN401
    ) -> None:
        logs = kwargs["logs"]
        if "loss" in logs:
            self.course.bar.advance(1, f"loss {logs['loss']:.3g}")


def _may_skip(model: nn.Module) -> bool:
    """Whether a batch may leave weights out, for which processes would wait."""
    config = cast(PretrainedConfig, model.config)
    if config.get_text_config(decoder=True) is not config:
        return True  # no text goes through eyes and ears
    return any(re.search(r"\.experts\.\d+\.", name) for name, _ in _trained(model))


def _trained(model: object) -> list[tuple[str, Tensor]]:
    parameters = cast(nn.Module, model).named_parameters()
    return [(name, p) for name, p in parameters if p.requires_grad]


def _dataset(samples: Sequence[EncodedSample], *, with_nothing: bool) -> Dataset:
    rows = [labelled(sample) for sample in samples]
    if with_nothing:
        # Two tokens: a loss over no position at all leaves gradients out.
        rows.append({"input_ids": [0, 0], "labels": [IGNORED, IGNORED]})
    return Dataset.from_dict(
        {name: [row[name] for row in rows] for name in ("input_ids", "labels")}
    )
