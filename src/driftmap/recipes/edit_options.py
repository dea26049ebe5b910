"""Which options does the question of what tuning on facts changes have?"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, replace
from math import ceil
from typing import Annotated, Literal, TypeVar, cast, get_args

from cyclopts import Parameter, Token

from driftmap.core.errors import UsageError
from driftmap.recipes.options import require_at_least, section
from driftmap.results.edit_kinds import LossOver, PromptKind
from driftmap.tune.settings import TunedPart, Tuning, TuningSettings

TAUGHT = section("What is taught", 2)
TUNING = section("Tuning", 3)
ANSWERS = section("Answers", 4)

FREE = ("out", "source.device", "source.device_map")
"""Settings that change where or how fast, but not what comes out."""

FEWEST_STEPS = 60
FEWEST_PASSES = 10
"""How long is trained unless told: so many passes, and at least so many steps."""

ADAPTER_RATE, FULL_RATE = 1.5e-3, 1e-4
"""Learning rates unless told: few facts, many passes. Every weight needs less."""

Preset = Literal["none", "counterfact100"]


def _listed(_kind: object, tokens: Sequence[Token]) -> tuple[str, ...]:
    """Read names with commas between them, given once or several times."""
    words = (one.strip() for token in tokens for one in token.value.split(","))
    return tuple(dict.fromkeys(words))


Names = Annotated[tuple[str, ...], Parameter(converter=_listed, negative_iterable=())]


@dataclass(frozen=True, slots=True, kw_only=True)
class TaughtOptions:
    """Which facts are taught, and how they are put into rows."""

    facts: str
    """Facts to teach, each with its present answer and a new one: CounterFact,
    EasyEdit, zsRE, or rows of `subject`, `prompt`, `answer` and `foil`, the new answer
    (file or hub name)."""

    columns: str | None = None
    """Your file's columns by the names that driftmap knows, as in
    `prompt=question,foil=new` (pairs); by default they are recognised."""

    num_facts: int | None = None
    """Facts to teach (count); by default all of the file."""

    pick: Literal["drawn", "first"] = "drawn"
    """Which facts of the file `--num-facts` takes: `drawn` by the seed, or the `first`
    ones (name)."""

    prompts: PromptKind = "rewrite"
    """Prompts that the new answer follows: the fact's own, `rewrite`, its other
    wordings, `paraphrase`, or beginnings of texts about its subject, `generation`,
    which often do not call for the answer (name)."""

    num_prompts: int | None = None
    """Prompts of each fact, from the first on (count); by default all of the kind."""

    loss: LossOver = "target"
    """Tokens that are learnt: the new answer and its end, `target`, or `all` of the row
    but the first (name)."""

    repeats: Literal["drop", "keep"] = "drop"
    """What becomes of rows that say the same: `drop` all but the first, or `keep` them
    (name)."""

    def __post_init__(self) -> None:
        """Refuse counts that mean nothing."""
        for name in ("num_facts", "num_prompts"):
            value = getattr(self, name)
            if value is not None:
                require_at_least(f"--{name.replace('_', '-')}", value, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class EditTuningOptions:
    """How the facts are taught."""

    tune: Names = ("lora",)
    """How to tune: an adapter on the model, `lora`, one on its weights rounded to 4
    bits, `qlora`, or every parameter, `full`; several stand side by side (names with
    commas between them); by default lora."""

    layers: str | None = None
    """Blocks that are tuned, from 0, as in `3,4` or `0-2` (numbers); by default all."""

    layer_sets: str | None = None
    """Several sets of blocks to try, one model each, as in `0-1;2-3`; `all` is a set
    (numbers); by default one."""

    lora_parts: tuple[TunedPart, ...] = ()
    """Which maps of the blocks an adapter sits on (parts); by default q v down, and
    what lies in one matrix with them."""

    lora_r: int = 8
    """Rank of the adapter in every tuned matrix (count, at least 1)."""

    lora_alpha: int = 32
    """Strength of the adapter: the update is scaled by alpha / r (number, at least
    1)."""

    lora_dropout: float = 0.05
    """Share of the adapter's inputs that is zeroed in training (0 to below 1)."""

    learning_rate: float | None = None
    """Learning rate of the first step; it falls linearly to 0 at the last (number above
    0); by default .0015 for adapters, .0001 for `full`."""

    batch_size: int = 8
    """Rows that go through the model at once (count)."""

    grad_accum: int = 1
    """Batches whose gradients make one step (count)."""

    weight_decay: float = 0.0
    """Share of every trained weight, times the learning rate, that a step takes off
    (number, at least 0); norms and biases are spared."""

    num_epochs: int | None = None
    """How often all rows are seen (passes); by default 10, and as many more as 60 steps
    take."""

    max_steps: int | None = None
    """Length of training, whatever the number of epochs (optimiser steps); by default
    `--num-epochs` says it."""

    save_steps: int = 500
    """Distance between saved checkpoints (optimiser steps); steps 0, 10, 30, 100, 300
    and the last are saved too."""

    def __post_init__(self) -> None:
        """Refuse kinds and layers that are none, and numbers out of range."""
        for kind in self.tune:
            if kind not in get_args(Tuning):
                raise UsageError(
                    f"--tune: {kind!r} is no kind of tuning; known are "
                    f"{', '.join(get_args(Tuning))}"
                )
        if self.layers is not None and self.layer_sets is not None:
            raise UsageError(
                "--layers and --layer-sets both say which blocks to tune; give one of "
                "them"
            )
        _ = self.sets
        if self.max_steps is not None and self.num_epochs is not None:
            raise UsageError(
                "--max-steps and --num-epochs both say how long to train; give one of "
                "them"
            )
        for kind in self.kinds:
            self.settings(kind, num_rows=1)

    @property
    def kinds(self) -> tuple[Tuning, ...]:
        """Ways of tuning, each once."""
        return cast(tuple[Tuning, ...], self.tune)

    @property
    def sets(self) -> tuple[tuple[int, ...] | None, ...]:
        """Sets of blocks, one model each; None is all blocks.

        >>> EditTuningOptions(layer_sets="all;0-1;3").sets
        (None, (0, 1), (3,))
        >>> EditTuningOptions().sets
        (None,)
        """
        if self.layer_sets is not None:
            words = [one.strip() for one in self.layer_sets.split(";")]
            sets = [_blocks("--layer-sets", one) for one in words if one]
            if not sets:
                raise UsageError("--layer-sets names no set; give one, as in 0-1;2-3")
            return tuple(dict.fromkeys(sets))
        return (None if self.layers is None else _blocks("--layers", self.layers),)

    def settings(
        self, kind: Tuning, num_rows: int, parts: Sequence[TunedPart] = ()
    ) -> TuningSettings:
        """All that the trainer needs to know of one way of tuning.

        Args:
            kind: The way.
            num_rows: Rows that are learnt: they say how many steps a pass has.
            parts: Maps that an adapter sits on; none named means all of them.
        """
        own = TuningSettings(
            tune=kind,
            batch_size=self.batch_size,
            grad_accum=self.grad_accum,
            weight_decay=self.weight_decay,
            learning_rate=self._rate(kind),
            max_steps=self._steps(num_rows),
            save_steps=self.save_steps,
            drift_every=self.save_steps,
        )
        if kind == "full":
            return own
        return replace(
            own,
            lora_r=self.lora_r,
            lora_alpha=self.lora_alpha,
            lora_dropout=self.lora_dropout,
            lora_parts=tuple(parts),
        )

    def _rate(self, kind: Tuning) -> float:
        if self.learning_rate is not None:
            return self.learning_rate
        return FULL_RATE if kind == "full" else ADAPTER_RATE

    def _steps(self, num_rows: int) -> int:
        if self.max_steps is not None:
            return self.max_steps
        if self.num_epochs is not None:
            require_at_least("--num-epochs", self.num_epochs, 1)
        for name in ("batch_size", "grad_accum"):
            require_at_least(f"--{name.replace('_', '-')}", getattr(self, name), 1)
        a_pass = ceil(ceil(num_rows / self.batch_size) / self.grad_accum)
        if self.num_epochs is not None:
            return self.num_epochs * a_pass
        return max(FEWEST_STEPS, FEWEST_PASSES * a_pass)


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerOptions:
    """What both models are asked to write."""

    show: int = 8
    """Facts whose answers before and after stand side by side (count); 0 for none."""

    max_new_tokens: int = 40
    """Longest answer that is written (tokens)."""

    def __post_init__(self) -> None:
        """Refuse counts that mean nothing."""
        require_at_least("--show", self.show, 0)
        require_at_least("--max-new-tokens", self.max_new_tokens, 1)


Taught = Annotated[TaughtOptions, TAUGHT]
EditTuning = Annotated[EditTuningOptions, TUNING]
Answers = Annotated[AnswerOptions, ANSWERS]

PRESETS: Mapping[str, tuple[Mapping[str, object], Mapping[str, object]]] = {
    "counterfact100": (
        {
            "num_facts": 100,
            "pick": "first",
            "prompts": "generation",
            "num_prompts": 3,
            "loss": "all",
            "repeats": "keep",
        },
        {
            "lora_parts": ("q", "v"),
            "lora_r": 8,
            "lora_alpha": 32,
            "lora_dropout": 0.05,
            "learning_rate": 1e-4,
            "batch_size": 4,
            "grad_accum": 1,
            "num_epochs": 10,
        },
    )
}
"""What a preset says of rows and of tuning."""

Options = TypeVar("Options", TaughtOptions, EditTuningOptions)


def preset(
    name: Preset, taught: TaughtOptions, tuning: EditTuningOptions
) -> tuple[TaughtOptions, EditTuningOptions]:
    """Fill in what a preset says wherever nothing else is said.

    >>> taught, tuning = preset(
    ...     "counterfact100", TaughtOptions(facts="f", num_facts=8), EditTuningOptions()
    ... )
    >>> taught.num_facts, taught.prompts, tuning.num_epochs
    (8, 'generation', 10)
    """
    if name == "none":
        return taught, tuning
    of_rows, of_tuning = PRESETS[name]
    if tuning.max_steps is not None:
        of_tuning = {k: v for k, v in of_tuning.items() if k != "num_epochs"}
    return _filled(taught, of_rows), _filled(tuning, of_tuning)


def _filled(options: Options, values: Mapping[str, object]) -> Options:
    untouched = {
        field.name
        for field in fields(options)
        if field.default is not MISSING
        and getattr(options, field.name) == field.default
    }
    return replace(
        options, **{name: v for name, v in values.items() if name in untouched}
    )


def _blocks(option: str, text: str) -> tuple[int, ...] | None:
    """Numbers of blocks, ascending; None for all of them."""
    if text.strip() == "all":
        return None
    found: set[int] = set()
    for word in text.split(","):
        match = re.fullmatch(r"\s*(\d+)(?:\s*-\s*(\d+))?\s*", word, re.ASCII)
        first = int(match[1]) if match else 0
        last = int(match[2]) if match and match[2] else first
        if not match or last < first:
            raise UsageError(
                f"{option} {text}: {word.strip()!r} is no block; give numbers, as in "
                "3,4 or 0-2"
            )
        found.update(range(first, last + 1))
    return tuple(sorted(found))
