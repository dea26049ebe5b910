"""Which options do the commands on an index share?"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from driftmap.core.errors import UsageError
from driftmap.load.source import ModelSource
from driftmap.recipes.options import require_at_least, section

if TYPE_CHECKING:
    from driftmap.results.index import IndexSettings

ROWS = section("What is kept of a gradient", 3)
TOKENS = section("From text to tokens", 4)
SEARCH = section("Search", 5)

TooLong = Literal["error", "drop", "keep"]
Weighting = Literal["plain", "equal", "per_weight"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RowOptions:
    """How gradients are made short and kept."""

    projection: Literal["fold", "two-sided"] = "fold"
    """How a gradient is made short: `fold`, a count-sketch of least error for its size,
    or `two-sided`, which never forms the gradient and errs more (name)."""

    projection_size: int = 1024
    """Numbers kept of each tensor's gradient, a power of 2 (count)."""

    keep: Literal["fp16", "int8"] = "fp16"
    """Number type of what is kept: 2 bytes a number, or 1 with a scale per row (number
    type)."""

    only: tuple[str, ...] = ()
    """Tensors to keep, by part (`q`, `down`, `norm`) or by a piece of their name; may
    be repeated (text); by default all of them."""

    shard_size: int = 1024
    """Samples of a shard, which is made and checked as one (count)."""

    def __post_init__(self) -> None:
        """Refuse numbers that mean nothing."""
        require_at_least("--shard-size", self.shard_size, 1)
        size = self.projection_size
        if size < 16 or size > 2**14 or size & (size - 1):
            raise UsageError(
                f"--projection-size is {size}; give a power of 2 from 16 to 16384"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenOptions:
    """How samples become tokens."""

    template: Literal["tulu"] | None = None
    """Chat template to use (name); by default the tokenizer's own one."""

    loss_on: Literal["answer", "all"] = "answer"
    """Tokens whose loss counts: the answer's, or all but the first (kind of tokens)."""

    too_long: TooLong = "error"
    """What becomes of samples longer than the model reads at once: an error that lists
    them, left out, or kept whole (name)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexModel:
    """The model of an index; it must be the very one."""

    model: str | None = None
    """The model that the index was built with, where it lies elsewhere now (folder or
    hub id); by default where it lay then."""

    adapter: str | None = None
    """The adapter that the index was built with, where it lies elsewhere now (folder or
    hub id); by default where it lay then."""

    device: str = "auto"
    """Where to run: auto, cpu, cuda, cuda:INDEX or mps (device)."""

    device_map: str | None = None
    """How to spread a model over several GPUs: auto, balanced or sequential (plan);
    by default it stays on one."""

    trust_remote_code: bool = False
    """Run Python code that comes with the model, for authors you trust (yes or no)."""

    def source(self, settings: "IndexSettings") -> ModelSource:
        """The model to load.

        Args:
            settings: What the index says of it.
        """
        return ModelSource(
            model=self.model or settings.model,
            adapter=self.adapter or settings.adapter,
            dtype=settings.dtype,
            device=self.device,
            device_map=self.device_map,
            trust_remote_code=self.trust_remote_code,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchOptions:
    """What is looked for, and how exactly."""

    top: int = 10
    """Samples shown for each query (count)."""

    tensors: tuple[str, ...] = ()
    """Tensors to compare, by part (`q`, `down`, `norm`) or by a piece of their name;
    may be repeated (text); by default all of the index."""

    weighting: Weighting = "plain"
    """How tensors weigh: by their energy (`plain`), all alike (`equal`), or by energy
    per weight (`per_weight`) (name)."""

    exact: bool = True
    """Measure the exact cosines of the best samples, until no other one may belong
    among them (yes or no)."""

    max_rerank: int = 200
    """Samples per query whose cosines are measured exactly at most (count)."""

    def __post_init__(self) -> None:
        """Refuse numbers that mean nothing."""
        require_at_least("--top", self.top, 1)
        if self.exact and self.max_rerank < self.top:
            raise UsageError(
                f"--max-rerank {self.max_rerank} is below --top {self.top}; raise it, "
                "or give --no-exact"
            )


Rows = Annotated[RowOptions, ROWS]
Tokens = Annotated[TokenOptions, TOKENS]
Search = Annotated[SearchOptions, SEARCH]
