"""How is a model fine-tuned?"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Literal

from driftmap.core.errors import UsageError

Tuning = Literal["lora", "qlora", "full"]
"""Ways of fine-tuning."""

_OF_ADAPTERS = (
    "lora_r", "lora_alpha", "lora_dropout", "rslora", "dora", "rank_pattern",
    "alpha_pattern", "lora_parts", "target_modules",
)  # fmt: skip

TunedPart = Literal["q", "k", "v", "o", "gate", "up", "down"]
"""Parts of a block that can be tuned."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TuningSettings:
    """Settings of fine-tuning with AdamW and linear decay.

    LoRA is Hu et al. 2021, QLoRA Dettmers et al. 2023, rsLoRA Kalajdzievski 2023, and
    DoRA Liu et al. 2024.

    Raises:
        UsageError: A number is outside its range, a pattern cannot be read, or two
            settings exclude each other.
    """

    tune: Tuning = "lora"
    """How to tune: an adapter on the model, `lora`, one on its weights rounded to 4
    bits, `qlora`, or every parameter in float32, `full` (kind of tuning)."""

    lora_r: int = 8
    """Rank of the adapter in every tuned matrix (count, at least 1)."""

    lora_alpha: int = 16
    """Strength of the adapter: the update is scaled by alpha / r (number, at least
    1)."""

    lora_dropout: float = 0.05
    """Share of the adapter's inputs that is zeroed in training (0 to below 1)."""

    rslora: bool = False
    """Scale the update by alpha / sqrt(r) instead, so that it does not fade where the
    rank is high (yes or no)."""

    dora: bool = False
    """Learn the length of each row apart from its direction (yes or no)."""

    rank_pattern: tuple[str, ...] = ()
    """Another rank for some modules, such as `q_proj=16` (REGEX=COUNT; may be
    repeated); the first that matches the end of a module's path counts."""

    alpha_pattern: tuple[str, ...] = ()
    """Another alpha for some modules, such as `q_proj=32` (REGEX=NUMBER; may be
    repeated); the first that matches the end of a module's path counts."""

    lora_parts: tuple[TunedPart, ...] = ()
    """Which maps of the blocks to tune, such as q v o (parts); none named means all of
    them."""

    target_modules: tuple[str, ...] = ()
    """Which modules of the blocks to tune, by the end of their path, such as `q_proj`
    or `layers\\.[0-3]\\..*` (names or regexes); instead of `--lora-parts`."""

    num_epochs: int = 1
    """How often the whole data set is seen (passes); `--max-steps` overrides it."""

    batch_size: int = 4
    """Samples that go through the model at once (count)."""

    grad_accum: int = 4
    """Batches whose gradients make one step, so 4 x 4 samples by default (count)."""

    learning_rate: float = 1e-4
    """Learning rate of the first step; it falls linearly to 0 at the last (number
    above 0)."""

    weight_decay: float = 0.0
    """Share of every trained weight, times the learning rate, that a step takes off
    (number, at least 0); norms and biases are spared."""

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
        _require(self.weight_decay >= 0, self, "weight_decay", "at least 0")
        _require(
            self.max_steps == -1 or self.max_steps >= 1,
            self,
            "max_steps",
            "at least 1, or -1 for whole epochs",
        )
        for option in ("--rank-pattern", "--alpha-pattern"):
            _read_patterns(option, getattr(self, _field(option)))
        for pattern in self.target_modules:
            _require_regex("--target-modules", pattern)
        if self.lora_parts and self.target_modules:
            raise UsageError(
                "--lora-parts and --target-modules both say what to tune; give one of "
                "them"
            )
        self._refuse_adapter_options()

    @property
    def is_four_bit(self) -> bool:
        """Whether the adapter sits on weights that are rounded to 4 bits."""
        return self.tune == "qlora"

    def rank(self, path: str) -> int:
        """Rank of the adapter on one module.

        >>> TuningSettings(rank_pattern=("q_proj=16",)).rank("layers.0.attn.q_proj")
        16
        """
        return self._of(path, "--rank-pattern", self.lora_r)

    def alpha(self, path: str) -> int:
        """Strength of the adapter on one module."""
        return self._of(path, "--alpha-pattern", self.lora_alpha)

    def unused_pattern(self, paths: Sequence[str]) -> str | None:
        """The first rank or alpha pattern that names none of the modules, as given."""
        for option in ("--rank-pattern", "--alpha-pattern"):
            for given in getattr(self, _field(option)):
                regex = given.rpartition("=")[0]
                if not any(matches(regex, path) for path in paths):
                    return f"{option} {given}"
        return None

    def _refuse_adapter_options(self) -> None:
        if self.tune != "full":
            return
        for field in fields(self):
            if (
                field.name in _OF_ADAPTERS
                and getattr(self, field.name) != field.default
            ):
                raise UsageError(
                    f"--{field.name.replace('_', '-')} is about adapters, and --tune "
                    "full trains the weights themselves; leave one of them out"
                )

    def _of(self, path: str, option: str, usual: int) -> int:
        patterns = _read_patterns(option, getattr(self, _field(option)))
        return next((n for regex, n in patterns if matches(regex, path)), usual)


def matches(regex: str, path: str) -> bool:
    """Whether a regex names a module by the end of its path, as PEFT reads patterns.

    >>> matches("q_proj", "layers.0.self_attn.q_proj"), matches("proj", "x.q_proj")
    (True, False)
    """
    return re.match(rf"(.*\.)?({regex})$", path) is not None


def _read_patterns(option: str, given: Sequence[str]) -> list[tuple[str, int]]:
    found = []
    for pair in given:
        regex, _, number = pair.rpartition("=")
        if not regex or not number.isdecimal() or int(number) < 1:
            raise UsageError(
                f"{option} {pair}: give a module and a number of at least 1, as in "
                "`q_proj=16`"
            )
        _require_regex(option, regex)
        found.append((regex, int(number)))
    return found


def _require_regex(option: str, regex: str) -> None:
    try:
        re.compile(regex)
    except re.error as error:
        raise UsageError(
            f"{option} {regex}: is no regular expression ({error}); give the last name "
            "of a module, such as `q_proj`"
        ) from error


def _field(option: str) -> str:
    return option.removeprefix("--").replace("-", "_")


def _require(holds: bool, settings: TuningSettings, name: str, rule: str) -> None:
    if not holds:
        flag = "--" + name.replace("_", "-")
        raise UsageError(f"{flag} is {getattr(settings, name)}: it must be {rule}")
