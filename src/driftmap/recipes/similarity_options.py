"""Which options does the question of which samples move a model alike have?"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from driftmap.core.errors import UsageError
from driftmap.recipes.engine_options import FREE as ENGINE_FREE
from driftmap.recipes.options import require_at_least, section

SAMPLES = section("Data", 2)
MEASURES = section("What is compared", 3)
CANDIDATES = section("Candidates", 4)
ANALYSIS = section("Analysis", 6)

Of = Literal["gradients", "activations", "both"]
Pool = Literal["answer", "mean", "last", "prompt_last"]
Where = Literal["block", "attention", "mlp", "embed"]

FREE = (
    "out",
    "source.device",
    "source.device_map",
    "products.batch_tokens",
    "products.memory",
    "products.scratch",
    *ENGINE_FREE,
)
"""Settings that change where or how fast, but not what comes out."""

REDOES = {
    "analysis.beside": ("report",),
    "analysis.examples": ("report",),
}
"""Settings that may change within a run, and the steps that are then done again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleOptions:
    """Which samples are compared, and what of them counts."""

    num_samples: int | None = None
    """Originals that are drawn, each with all its versions (count); by default all."""

    too_long: Literal["error", "drop", "keep"] = "error"
    """What becomes of samples longer than the model's context: an `error` that lists
    them, `drop` them, or `keep` them whole (name)."""

    loss_on: Literal["answer", "all"] = "answer"
    """Tokens whose loss is taken: those of the `answer`, or `all` but the first, for
    conversations of several answers and running text (kind of tokens)."""

    template: Literal["tulu"] | None = None
    """Chat template to use (name); by default the tokenizer's own one."""

    def __post_init__(self) -> None:
        """Refuse counts that mean nothing."""
        if self.num_samples is not None:
            require_at_least("--num-samples", self.num_samples, 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProductOptions:
    """What two samples are compared by."""

    of: Of = "both"
    """Inner products of `gradients` of the loss, per tensor; of `activations`, hidden
    states per layer, which cost one forward pass; or `both` (name)."""

    products: Literal["auto", "ghost", "materialise"] = "auto"
    """How gradients are multiplied: through inner products of tokens (`ghost`), by
    forming each gradient (`materialise`), or whichever is cheaper for each tensor
    (`auto`); the numbers agree (name)."""

    schedule: Literal["auto", "streaming", "layer_major"] = "auto"
    """Order of the work: all tensors of one batch after another with the gradients of
    all queries held (`streaming`), one layer after another for all samples
    (`layer_major`), or the former where it fits into `--memory` (`auto`); the numbers
    agree (name)."""

    projection: Literal["none", "fold", "two-sided", "legacy"] = "none"
    """Estimate products from random projections instead: `fold`, a count-sketch that is
    unbiased; `two-sided`, faster and less exact; `legacy`, as published, which weights
    tensors by size; `none` for exact products (name)."""

    projection_size: int = 1024
    """Numbers kept of each tensor's gradient, a power of 2 (count)."""

    projection_share: float = 0.01
    """Numbers that `--projection legacy` keeps, as a share of all weights; published
    were 0.01 and 0.05 (0 to 1)."""

    only: tuple[str, ...] = ()
    """Tensors to measure, by part (`q`, `down`, `norm`) or by a piece of their name;
    may be repeated (text); by default all of them."""

    pool: Pool = "answer"
    """Tokens whose hidden states are averaged: the answer's, all (`mean`), the `last`
    one, or the last one of the prompt (`prompt_last`) (kind of tokens)."""

    hidden: tuple[Where, ...] = ("block",)
    """Hidden states to compare: what each `block` gives, what its `attention` or `mlp`
    adds, or the token embedding, `embed`; may be repeated (name)."""

    batch_tokens: int = 4096
    """Tokens of one pass, padding included; changes speed and memory (count)."""

    memory: float | None = None
    """Memory that gradients may take (GiB); by default most of what is free."""

    scratch: Path | None = None
    """Folder for large temporary files (path); by default `/dev/shm` where it has
    room, else the system's temporary folder."""

    def __post_init__(self) -> None:
        """Refuse numbers that mean nothing."""
        require_at_least("--batch-tokens", self.batch_tokens, 1)
        if self.memory is not None:
            require_at_least("--memory", self.memory, 1e-6)
        size = self.projection_size
        if size < 16 or size > 2**14 or size & (size - 1):
            raise UsageError(
                f"--projection-size is {size}; give a power of 2 from 16 to 16384"
            )
        if not 0 < self.projection_share < 1:
            raise UsageError(
                f"--projection-share is {self.projection_share}; give a share between "
                "0 and 1"
            )
        if not self.hidden:
            raise UsageError("--hidden names no place; give `block` or another one")

    @property
    def has_gradients(self) -> bool:
        """Whether gradients are compared."""
        return self.of != "activations"

    @property
    def has_activations(self) -> bool:
        """Whether hidden states are compared."""
        return self.of != "gradients"


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateOptions:
    """Which originals each query is compared with."""

    candidates: str = "auto"
    """Originals that each query is compared with: `all`, the `--top-k` that share most
    words with it (`bm25`), a JSON file of original ids by query id, or `auto`, all
    where the products fit into 4 GiB and else `bm25` (name or path)."""

    top_k: int = 50
    """Candidates that `bm25` keeps for each query (count)."""

    force_truth: bool = False
    """Put the true original among the candidates of `bm25` where it is missing, in
    place of the last one (yes or no)."""

    lexical: Literal["lucene", "okapi"] = "lucene"
    """Variant of BM25: Lucene's on lower-case words, or Okapi's on words as they stand
    (name)."""

    embeddings: str | None = None
    """Model whose text embeddings are a baseline (folder or hub id of an encoder, or
    with `--embeddings-endpoint` the server's name for it); by default none."""

    embeddings_endpoint: str | None = None
    """Address of a server that speaks OpenAI's protocol and embeds texts (URL); by
    default texts are embedded here."""

    def __post_init__(self) -> None:
        """Refuse counts that mean nothing."""
        require_at_least("--top-k", self.top_k, 1)
        if self.force_truth and self.top_k < 2:
            raise UsageError(
                "--force-truth with --top-k 1 leaves the true original alone; give 2 "
                "or more"
            )
        if self.embeddings_endpoint is not None and self.embeddings is None:
            raise UsageError(
                "--embeddings-endpoint: no model is named; give the server's name for "
                "its model with --embeddings"
            )
        if self.force_truth and self.candidates == "all":
            raise UsageError(
                "--force-truth adds nothing where every original is a candidate; give "
                "--candidates bm25, or leave it out"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class AnalysisOptions:
    """What is made of the products."""

    resamples: int = 2000
    """Bootstrap draws of original ids behind each interval (count)."""

    holdout: float = 0.5
    """Share of ids that tensors are not chosen on, but judged on; 0 chooses and judges
    on all, as published (0 to below 1)."""

    ties: Literal["share", "first"] = "share"
    """What a query is worth whose best candidates tie: its share of them, or all where
    the true one stands first, as published (name)."""

    examples: int = 3
    """Odd and wrong queries that the report shows in full (count)."""

    beside: tuple[Path, ...] = ()
    """Runs of this command on other models, to be shown in the same report (run folder;
    may be repeated)."""

    export_json: bool = False
    """Write all products as JSON as well, in the published shapes (yes or no)."""

    def __post_init__(self) -> None:
        """Refuse numbers that mean nothing."""
        require_at_least("--resamples", self.resamples, 100)
        require_at_least("--examples", self.examples, 0)
        if not 0 <= self.holdout < 1:
            raise UsageError(
                f"--holdout is {self.holdout}; give a share from 0 to below 1"
            )


Samples = Annotated[SampleOptions, SAMPLES]
Products = Annotated[ProductOptions, MEASURES]
Candidates = Annotated[CandidateOptions, CANDIDATES]
Analysis = Annotated[AnalysisOptions, ANALYSIS]
