"""Which options do several questions share?

Each class is a block of flat options: the text under a field is the help of its
option, on the command line and in the reference.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from cyclopts import Group, Parameter

from driftmap.core.errors import UsageError
from driftmap.load.source import ModelSource


def section(title: str, order: int) -> Parameter:
    """A block of options under a title of its own in the help, flat in the words."""
    return Parameter(name="*", group=Group(title, sort_key=order))


def options(title: str, order: int) -> Parameter:
    """A single option under a title."""
    return Parameter(group=Group(title, sort_key=order))


MODEL = section("Model", 1)
DATA = options("Data", 2)
SCORING = section("Scoring", 3)
GROUPS = section("Groups", 4)
TUNING = section("Tuning", 5)
EVALUATION = section("Evaluation", 6)
TESTING = section("Testing", 7)
ELSEWHERE = section("Made elsewhere", 8)
OUTPUT = section("What is kept", 9)
RUN = options("Run", 10)

FREE = (
    "until",
    "out",
    "output",
    "source.device",
    "source.device_map",
    "scoring.score_batch_size",
    "scoring.memory",
    "evaluation.eval_batch_size",
)
"""Settings that change where, how far or how fast, but not what comes out.

Another device or batch size changes the last digits of logits and scores: near ties
may flip, in a generated answer where two tokens are all but equally likely, and among
weights at the border of a group.
"""

REDOES: Mapping[str, tuple[str, ...]] = dict.fromkeys(
    ("groups", "elsewhere.groups"),
    ("groups", "drift", "statistics", "export", "report"),
)
"""Settings that may change within a run, and the steps that are then done again.

Tuning and the evaluation of what was tuned know nothing of groups.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoringOptions:
    """How much each weight matters to the samples."""

    num_samples: int = 128
    """Samples drawn from each data set for scoring (count)."""

    positions: Literal["response", "labels", "all"] = "response"
    """Tokens whose loss counts: those of the response, or all but the first (kind of
    tokens); for SNIP `labels` equals `response`."""

    score_batch_size: int = 8
    """Samples per forward and backward pass; changes speed and memory, not scores
    (count)."""

    memory: float | None = None
    """Memory that scores may take before the matrices are split over several passes
    (GiB); by default most of what is free."""

    def __post_init__(self) -> None:
        """Refuse counts that mean nothing."""
        require_at_least("--num-samples", self.num_samples, 1)
        require_at_least("--score-batch-size", self.score_batch_size, 1)
        if self.memory is not None:
            require_at_least("--memory", self.memory, 1e-6)


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupOptions:
    """Which weights make a group."""

    share: float = 0.01
    """Share of each matrix in the groups `top`, `utility` and `random` (0 to 1)."""

    p: float = 0.1
    """Share of each matrix, highest by utility score, that `difference` leaves out
    (0 to 1)."""

    q: float = 0.1
    """Share of each matrix, highest by behaviour score, that `difference` draws from
    (0 to 1)."""

    def __post_init__(self) -> None:
        """Refuse shares that are no shares."""
        require_share("--share", self.share)
        require_share("--q", self.q)
        if not 0 <= self.p < 1:
            raise UsageError(f"--p is {self.p}; give a share from 0 to below 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationOptions:
    """What the model does before tuning and at each checkpoint."""

    refusal_prompts: str | None = None
    """Requests that the model should refuse (file or hub name); by default rows
    of `--behaviour` that scoring did not draw."""

    held_out: tuple[str, ...] = ()
    """Samples that the model should get right (file or hub name, may be
    repeated); by default rows of `--utility` that scoring did not draw."""

    num_eval_samples: int = 100
    """Rows of each of the two that are used (count)."""

    max_new_tokens: int = 64
    """Longest answer that is generated to judge refusal (tokens)."""

    eval_batch_size: int = 16
    """Prompts answered at a time (count)."""

    def __post_init__(self) -> None:
        """Refuse counts that mean nothing."""
        require_at_least("--num-eval-samples", self.num_eval_samples, 1)
        require_at_least("--max-new-tokens", self.max_new_tokens, 1)
        require_at_least("--eval-batch-size", self.eval_batch_size, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class TestingOptions:
    """How chance is measured and what counts as more."""

    seeds: int = 3
    """Training runs with different seeds; fewer than 3 allow no verdict (count)."""

    margin: float = 1.25
    """Ratio of drift to the matched control that counts as more, declared before
    training (ratio, above 1)."""

    permutations: int | None = None
    """Draws of the permutation test (count); by default as many as the corrected
    tests need, at least 999."""

    def __post_init__(self) -> None:
        """Refuse tests that cannot say anything."""
        require_at_least("--seeds", self.seeds, 1)
        if self.permutations is not None:
            require_at_least("--permutations", self.permutations, 19)
        if self.margin <= 1:
            raise UsageError(f"--margin is {self.margin}; give a ratio above 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class ElsewhereOptions:
    """What was made elsewhere and is not made again."""

    groups: Path | None = None
    """Groups chosen elsewhere, instead of scoring (safetensors or JSON file, or a
    folder of them); the one to test is called `difference`, or is the only one."""

    checkpoints: tuple[Path, ...] = ()
    """Adapters trained elsewhere, instead of tuning (folder of a training run with its
    checkpoints, or one adapter; give it once per run)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputOptions:
    """What a run leaves behind, beside groups, adapters, tables and report."""

    keep: bool = False
    """Keep the scores of every weight in `scores/`, 16 bytes each, so that another
    share, p or q needs no scoring (yes or no)."""

    merged: bool = False
    """Write each tuned model as one folder as well, adapter merged in (yes or no)."""

    export_json: bool = False
    """Write groups and drift as JSON as well, in the published shapes (yes or no)."""

    scratch: Path | None = None
    """Folder for large temporary files (path); by default `/dev/shm` where it has
    room, else the system's temporary folder."""


TRIAL_SAMPLES = 16
TRIAL_TOKENS = 16
TRIAL_STEPS = 20
"""What a trial run is capped to."""


def trial_scoring(scoring: ScoringOptions) -> ScoringOptions:
    """Score on few samples.

    >>> trial_scoring(ScoringOptions()).num_samples
    16
    """
    return replace(scoring, num_samples=min(scoring.num_samples, TRIAL_SAMPLES))


def trial_evaluation(evaluation: EvaluationOptions) -> EvaluationOptions:
    """Ask few prompts, for short answers."""
    return replace(
        evaluation,
        num_eval_samples=min(evaluation.num_eval_samples, TRIAL_SAMPLES),
        max_new_tokens=min(evaluation.max_new_tokens, TRIAL_TOKENS),
    )


def require_tunable(source: ModelSource) -> None:
    """Refuse at once what fine-tuning would refuse after long work.

    Raises:
        UsageError: The model has an adapter, or a number type that cannot learn.
    """
    if source.adapter is not None:
        raise UsageError(
            f"--adapter {source.adapter}: a drift study tunes an adapter of its own; "
            "merge this one into its model (`merge_and_unload` in peft), save that, "
            "and give it as --model"
        )
    if source.dtype == "float16":
        raise UsageError(
            "--dtype float16 loses the small gradients of tuning; use float32 or "
            "bfloat16"
        )


def require_at_least(option: str, value: float, least: float) -> None:
    """Refuse a number that is too small to mean anything.

    Raises:
        UsageError: The value is below the least one.
    """
    if value < least:
        raise UsageError(f"{option} is {value}; give at least {least:g}")


def require_share(option: str, value: float) -> None:
    """Refuse what is no share of a matrix.

    Raises:
        UsageError: The value is not above 0 and up to 1.
    """
    if not 0 < value <= 1:
        raise UsageError(f"{option} is {value}; give a share above 0, up to 1")
