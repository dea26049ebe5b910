"""How is a model fine-tuned with LoRA?"""

from dataclasses import dataclass
from typing import Literal

from driftmap.core.errors import UsageError

TunedPart = Literal["q", "k", "v", "o", "gate", "up", "down"]
"""Parts of a block that an adapter can sit on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TuningSettings:
    """Settings of LoRA fine-tuning (Hu et al. 2021) with AdamW and linear decay.

    Raises:
        UsageError: A number is outside its range.
    """

    lora_r: int = 8
    """Rank of the adapter in every tuned matrix (count, at least 1)."""

    lora_alpha: int = 16
    """Strength of the adapter: the update is scaled by alpha / r (number, at least
    1)."""

    lora_dropout: float = 0.05
    """Share of the adapter's inputs that is zeroed in training (0 to below 1)."""

    lora_parts: tuple[TunedPart, ...] = ()
    """Which maps of the blocks to tune, such as q v o (parts); none named means all of
    them."""

    num_epochs: int = 1
    """How often the whole data set is seen (passes); `--max-steps` overrides it."""

    batch_size: int = 4
    """Samples that go through the model at once (count)."""

    grad_accum: int = 4
    """Batches whose gradients make one step, so 4 x 4 samples by default (count)."""

    learning_rate: float = 1e-4
    """Learning rate of the first step; it falls linearly to 0 at the last (number
    above 0)."""

    max_steps: int = -1
    """Length of training, whatever the number of epochs (optimiser steps); -1 leaves it
    to `--num-epochs`."""

    save_steps: int = 500
    """Distance between saved adapters (optimiser steps); steps 0, 10, 30, 100, 300 and
    the last are saved too."""

    drift_every: int = 100
    """Distance between measurements of drift (optimiser steps); every saved step is
    measured too."""

    def __post_init__(self) -> None:
        counts = ("lora_r", "num_epochs", "batch_size", "grad_accum")
        for name in (*counts, "lora_alpha", "save_steps", "drift_every"):
            _require(getattr(self, name) >= 1, self, name, "at least 1")
        _require(0 <= self.lora_dropout < 1, self, "lora_dropout", "from 0 to below 1")
        _require(self.learning_rate > 0, self, "learning_rate", "above 0")
        _require(
            self.max_steps == -1 or self.max_steps >= 1,
            self,
            "max_steps",
            "at least 1, or -1 for whole epochs",
        )


def _require(holds: bool, settings: TuningSettings, name: str, rule: str) -> None:
    if not holds:
        flag = "--" + name.replace("_", "-")
        raise UsageError(f"{flag} is {getattr(settings, name)}: it must be {rule}")
