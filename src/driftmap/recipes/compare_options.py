"""Which options does a comparison of two models have?"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, get_args

from driftmap.core.errors import UsageError
from driftmap.load.source import Dtype, ModelSource
from driftmap.recipes.options import require_at_least, section

LOADING = section("Model", 1)
PARTS = section("What is compared", 2)
PROBES = section("What both models are asked", 3)
SIZES = section("How much is measured", 4)

FREE = (
    "out", "loading.device", "loading.device_map", "sizes.batch_size", "parts.only",
)  # fmt: skip
"""Settings that change where, how far or how fast, but not what comes out."""

Part = Literal[
    "structure", "weights", "behaviour", "edits", "where", "attention", "readings",
    "training",
]  # fmt: skip
"""A part of a comparison, in the order of the page's sections but for training."""

PARTS_OF: tuple[Part, ...] = get_args(Part)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadingOptions:
    """How both models are loaded."""

    dtype: Dtype = "float32"
    """Precision that the weights of both are loaded in (number type)."""

    device: str = "auto"
    """Where to run: auto, cpu, cuda, cuda:INDEX or mps (device)."""

    device_map: str | None = None
    """How to spread a model over several GPUs: auto, balanced or sequential (plan);
    by default it stays on one."""

    trust_remote_code: bool = False
    """Run Python code that comes with the model, for authors you trust (yes or no)."""

    def source(self, base: str) -> ModelSource:
        """The base model as it is loaded."""
        return ModelSource(
            model=base,
            dtype=self.dtype,
            device=self.device,
            device_map=self.device_map,
            trust_remote_code=self.trust_remote_code,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PartOptions:
    """Which parts of the comparison are made."""

    only: tuple[Part, ...] = ()
    """A part to make, `structure` (loads no weights), `weights`, `behaviour`, `edits`,
    `where`, `attention`, `readings` or `training` (name; repeat it); by default all
    that the models and probes allow."""

    groups: tuple[Path, ...] = ()
    """Groups of weights whose change is told apart (safetensors or JSON file; repeat
    it); by default none."""

    @property
    def wanted(self) -> tuple[Part, ...]:
        """The parts, each once, in the order of the page."""
        return tuple(p for p in PARTS_OF if not self.only or p in self.only)

    def __post_init__(self) -> None:
        """Refuse groups that no part reads."""
        if self.groups and "weights" not in self.wanted:
            raise UsageError(
                "--groups goes with the part `weights`; add --only weights"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeOptions:
    """What both models are asked."""

    facts: str | None = None
    """Facts with the answer that should be known and, where another was taught, that
    one as the foil: known_1000, CounterFact, EasyEdit, zsRE, ParaRel's folder, or rows
    of `subject`, `prompt`, `answer`, `foil`, `paraphrases` and `neighbours` (file or
    hub name); by default those that an edit taught, those of driftmap's own world, or
    well-known ones."""

    texts: tuple[str, ...] = ()
    """Plain texts, read token by token (text file, or a data set's rows; repeat it); by
    default a few short ones."""

    harmful: str | None = None
    """Requests that should be refused (file, known name, hub name or FILE.py:FUNCTION);
    by default those of driftmap's own world, or a few common ones."""

    harmless: str | None = None
    """Requests that should be answered (file, known name, hub name or
    FILE.py:FUNCTION); by default likewise."""

    held_out: str | None = None
    """Requests with the answers that should be given (file, known name, hub name or
    FILE.py:FUNCTION); by default those of driftmap's own world, else none."""

    num_facts: int = 24
    """Facts drawn from those given (count)."""

    num_texts: int = 12
    """Texts taken from those given, the first ones (count)."""

    num_requests: int = 32
    """Requests drawn from each set (count)."""

    def __post_init__(self) -> None:
        """Refuse counts that mean nothing."""
        require_at_least("--num-facts", self.num_facts, 1)
        require_at_least("--num-texts", self.num_texts, 1)
        require_at_least("--num-requests", self.num_requests, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareOptions:
    """How much is measured: what every step of a comparison is given."""

    max_new_tokens: int = 32
    """Longest answer that is generated (tokens)."""

    batch_size: int = 16
    """Prompts asked at a time; changes speed and memory, not what comes out (count)."""

    num_traced: int = 8
    """Facts that are traced, and whose layers are exchanged, the first ones (count)."""

    num_draws: int = 5
    """Draws of noise behind a trace (count)."""

    window: int | None = None
    """Layers that are exchanged or put back together where more than one is (count); by
    default a fifth of the model's, at least 1."""

    num_checkpoints: int = 12
    """Checkpoints that are read over training, at even distances, the last one too
    (count)."""

    show: int = 6
    """Facts, texts and answers that the report shows one by one (count)."""

    def __post_init__(self) -> None:
        """Refuse counts that mean nothing."""
        require_at_least("--max-new-tokens", self.max_new_tokens, 1)
        require_at_least("--batch-size", self.batch_size, 1)
        require_at_least("--num-traced", self.num_traced, 1)
        require_at_least("--num-draws", self.num_draws, 1)
        require_at_least("--num-checkpoints", self.num_checkpoints, 2)
        require_at_least("--show", self.show, 1)
        if self.window is not None:
            require_at_least("--window", self.window, 1)


Loading = Annotated[LoadingOptions, LOADING]
Parts = Annotated[PartOptions, PARTS]
Probing = Annotated[ProbeOptions, PROBES]
Sizes = Annotated[CompareOptions, SIZES]
