"""Which options does the question of which experts must change have?"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from driftmap.core.errors import UsageError
from driftmap.recipes.options import require_at_least, section

ITEMS = section("Data", 2)
IDENTIFY = section("Which experts", 3)
TUNE = section("Tuning", 5)
CHECKS = section("Believe it or not", 6)
KEPT = section("What is kept", 9)

Method = Literal["gradient", "routing", "effect"]
METHODS: tuple[Method, ...] = ("gradient", "routing", "effect")

Statistic = Literal[
    "mean_example_abs", "mean_batch_abs", "abs_of_sum", "mean_example_norm",
    "mean_example_weight", "per_token",
]  # fmt: skip

FREE = ("out", "source.device", "source.device_map", "kept.no_final_model")
"""Settings that change where, or what is written down, but not what comes out."""

REDOES = {"kept.show_text": ("tokens", "report")}
"""Settings that may change within a run, and the steps that are then done again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemOptions:
    """Which requests are learned from, and what the wanted answer is."""

    held_out: str | None = None
    """Requests to judge by, in the same form as `--data` (file or hub name); by default
    the items behind the first `--max-samples`."""

    benign: Annotated[str | None, Parameter(name=("--benign", "--benign-path"))] = None
    """Ordinary requests with answers: the price of tuning is read on them, and
    `--contrast` compares with them (file, known name or hub name); by default none."""

    harmless: str | None = None
    """Harmless requests that sound harmful, to count those refused (file, known name
    such as xstest, or hub name); by default none."""

    max_samples: Annotated[int, Parameter(name=("--max-samples", "--num-samples"))] = (
        128
    )
    """Items to learn from, the first ones that are kept (count)."""

    safe_response: Literal["constant", "dataset", "file", "own"] = "constant"
    """The wanted answer: one `constant` sentence; that of the item's `response`
    (`dataset`); drawn from the lines of `--safe-response-file` (`file`); or the model's
    `own` answer to the plain request, where it refuses that: recommended, since with
    one sentence the ranking is partly about that sentence (name)."""

    safe_response_file: Path | None = None
    """Refusals, one a line, for `--safe-response file` (path); by default none."""

    loss_on: Literal["response", "sequence"] = "response"
    """Tokens whose loss is taken: those of the `response`, or the prompt's as well
    (`sequence`), to compare with published runs (kind of tokens)."""

    too_long: Literal["error", "drop", "cut_prompt"] = "error"
    """What becomes of items longer than `--max-length`: an `error` that lists them,
    `drop` them, or cut their prompts from the left (`cut_prompt`); a response is never
    cut (name)."""

    max_length: int = 2048
    """Longest item, prompt and response (tokens)."""

    def __post_init__(self) -> None:
        """Refuse what would be refused after long work."""
        require_at_least("--max-samples", self.max_samples, 1)
        require_at_least("--max-length", self.max_length, 2)
        if (self.safe_response == "file") != (self.safe_response_file is not None):
            raise UsageError(
                "--safe-response file and --safe-response-file go together; give both "
                "or neither"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentifyOptions:
    """How experts are ranked and chosen."""

    identify: str = "gradient"
    """What ranks experts: `gradient`, which weights the loss would move; `routing`,
    which experts serve unsafe text more than safe text; `effect`, without which experts
    the model would refuse more, as one backward foresees; or several, as in
    `gradient,routing`, side by side with equal tuning (names with commas)."""

    top_k_experts: int = 100
    """Experts to choose. Guides: 50-100 of the 1,024 of OLMoE-1B-7B, 100-200 of the
    6,144 of Qwen3-30B-A3B (count)."""

    statistic: Statistic = "mean_example_abs"
    """What gradients are reduced to (name); docs/explanation/expert-scores.md tells
    them apart."""

    selection: Literal["global", "per_layer", "top_p"] = "global"
    """The best of all layers, as many of each layer, or of each layer the fewest that
    hold `--top-p` of its scores (name)."""

    top_p: float | None = None
    """Share of a layer's scores that `--selection top_p` reaches (0 to 1), by default
    none; published are 0.2 of token shares and 0.1 of gates."""

    normalise: Literal["none", "layer"] = "none"
    """Rank scores as they are, or divided by their layer's mean (name)."""

    contrast: Literal["none", "benign", "refusal_text"] = "none"
    """Scores to take off: those of `--benign` as it is, or of its prompts with the same
    refusal (`refusal_text`), which isolates the sentence (name)."""

    texts: Literal["own", "same"] | None = None
    """Texts whose routing is compared: the unsafe answer against the refusal (`own`),
    or one refusal after both prompts (`same`) (name); by default `own` where every item
    has an `output`."""

    positions: Literal["response", "prompt", "all"] = "response"
    """Tokens whose routing counts (kind of tokens)."""

    pool: Literal["example", "token"] = "example"
    """Mean of each example's share of tokens, or share of all tokens (name)."""

    reidentify: Literal["every_round", "once"] = "every_round"
    """Choose experts anew each round, or keep those of the first (name)."""

    num_bootstrap: int = 1000
    """Resamples behind each interval (count)."""

    identify_only: bool = False
    """Choose experts and stop there (yes or no)."""

    def __post_init__(self) -> None:
        """Refuse unknown methods and shares that do not fit the selection."""
        require_at_least("--top-k-experts", self.top_k_experts, 1)
        require_at_least("--num-bootstrap", self.num_bootstrap, 1)
        for method in self.methods:
            if method not in METHODS:
                raise UsageError(
                    f"--identify: {method!r} is no way to rank experts; known are "
                    f"{', '.join(METHODS)}"
                )
        if (self.selection == "top_p") != (self.top_p is not None):
            raise UsageError(
                "--selection top_p and --top-p go together; give both or neither"
            )

    @property
    def methods(self) -> tuple[str, ...]:
        """Each once, in the order given."""
        return tuple(dict.fromkeys(one.strip() for one in self.identify.split(",")))


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpertTuningOptions:
    """How the chosen experts and the routers are tuned."""

    num_rounds: Annotated[int, Parameter(name=("--num-rounds", "--rounds"))] = 3
    """Rounds of choosing, tuning and aligning; 5 to 10 when refusal lags (count)."""

    batch_size: int = 8
    """Items that go through the model at once; fewer when memory is short (count)."""

    expert_lr: float = 5e-5
    """Learning rate of the experts, small so as not to overshoot (number above 0)."""

    router_lr: float = 1e-4
    """Learning rate of the routers, larger so that they adapt (number above 0)."""

    kl_type: Literal["forward", "reverse", "symmetric"] = "forward"
    """Divergence between the routing of safe prompts before tuning and of unsafe ones
    now, which aligning makes small (kind of divergence)."""

    skip_router_training: bool = False
    """Tune experts only (yes or no)."""

    skip_expert_training: bool = False
    """Align routers only (yes or no)."""

    expert_epochs_per_round: int = 1
    """How often a round sees all items (passes)."""

    router_epochs_per_round: int = 1
    """How often aligning sees all pairs (passes)."""

    weight_decay: float = 0.0
    """Share of every chosen weight, times the learning rate, that a step takes off
    (number, at least 0)."""

    router_positions: Literal["response", "last_prompt", "prompt_mean"] = "response"
    """Where the routing of two prompts is compared (kind of positions)."""

    router_loss: Literal["local", "full"] = "local"
    """Take what enters a router as given, or go back through the model (name)."""

    def __post_init__(self) -> None:
        """Refuse tuning of nothing."""
        require_at_least("--num-rounds", self.num_rounds, 1)
        require_at_least("--batch-size", self.batch_size, 1)
        if self.skip_router_training and self.skip_expert_training:
            raise UsageError(
                "--skip-router-training and --skip-expert-training leave nothing to "
                "tune; give one of them, or --identify-only"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpertCheckOptions:
    """What is tried to find out whether the chosen experts matter."""

    random_groups: int = 1
    """Matched random groups that are tuned alike, to compare with (count)."""

    full_tuning: bool = False
    """Tune every weight alike as well, to compare with (yes or no)."""

    full_lr: float | None = None
    """Learning rate of full tuning (number above 0); by default that of the experts."""

    ablation_draws: int = 20
    """Matched random groups beside each ablation (count)."""

    ablate_best: int | None = None
    """Best experts to take away one at a time (count); by default none is, only groups
    are."""

    trade_off: tuple[int, ...] = ()
    """Other numbers of experts to tune, one model each, for the trade-off curve (count;
    may be repeated)."""

    max_new_tokens: int = 32
    """Longest answer that is generated to count refusals (tokens)."""

    def __post_init__(self) -> None:
        """Refuse counts that mean nothing."""
        require_at_least("--random-groups", self.random_groups, 0)
        require_at_least("--ablation-draws", self.ablation_draws, 0)
        require_at_least("--max-new-tokens", self.max_new_tokens, 1)
        if self.ablate_best is not None:
            require_at_least("--ablate-best", self.ablate_best, 1)
        for k in self.trade_off:
            require_at_least("--trade-off", k, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpertKeptOptions:
    """What is written down."""

    no_final_model: bool = False
    """Write slices only, no whole model at the end (yes or no)."""

    show_text: bool = False
    """Show the items' own words in the report (yes or no)."""


Items = Annotated[ItemOptions, ITEMS]
Identify = Annotated[IdentifyOptions, IDENTIFY]
Tune = Annotated[ExpertTuningOptions, TUNE]
Checks = Annotated[ExpertCheckOptions, CHECKS]
Kept = Annotated[ExpertKeptOptions, KEPT]
