"""Which options do several questions share?

Each class is a block of flat options: the text under a field is the help of its
option, on the command line and in the reference.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Group, Parameter, Token

from driftmap.core.errors import UsageError
from driftmap.recipes.freeze_options import FreezeOptions
from driftmap.results.rules import Per
from driftmap.tune.settings import TuningSettings


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

Phase = Literal["groups", "tune", "report"]

FREE = (
    "until",
    "out",
    "output",
    "engine",
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
    ("groups", "freeze", "drift", "statistics", "export", "report"),
)
"""Settings that may change within a run, and the steps that are then done again.

Tuning and the evaluation of what was tuned know nothing of groups, unless one of them
is frozen; they are then done again by themselves.
"""

MAY_CHANGE = (*FREE, *REDOES)
"""All settings that may differ from those a run was begun with."""


Score = Literal["snip", "snip_batch", "wanda", "magnitude", "difference", "random"]

WITHOUT_SAMPLES = ("magnitude", "difference", "random")
"""Scores that are the same whatever the samples are."""

WITH_FACTOR = ("snip", "snip_batch")
"""Scores that multiply a gradient by a factor."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoringOptions:
    """How much each weight matters to the samples."""

    score: Score = "snip"
    """What a weight is scored by: `snip` (weight times mean size of its gradient),
    `snip_batch` (weight times size of its mean gradient), `wanda` (weight times size of
    its inputs), `magnitude`, `difference` to `--base`, or `random` (name)."""

    factor: Literal["weight", "difference", "none"] = "weight"
    """What `snip` and `snip_batch` multiply the gradient by: the size of the weight, of
    its difference to `--base`, or nothing (name)."""

    base: str | None = None
    """Model that differences are taken to, such as the one before alignment (folder or
    hub id); by default none."""

    num_samples: int = 128
    """Samples drawn from each data set for scoring (count)."""

    positions: Literal["response", "labels", "all"] = "response"
    """Tokens that count: the loss of the response's tokens, or of all but the first;
    `wanda` reads the inputs at tokens that predict the response (`response`), that hold
    it (`labels`, as published), or at every token (`all`) (kind of tokens)."""

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
        self._require_base()

    @property
    def score_name(self) -> str:
        """The score with its factor, as in file names: `wanda`, `snip-difference`."""
        suffix = "" if self.factor == "weight" else f"-{self.factor}"
        return f"{self.score}{suffix}"

    @property
    def reads_samples(self) -> bool:
        """Whether other samples would give other scores."""
        return self.score not in WITHOUT_SAMPLES

    def _require_base(self) -> None:
        if self.factor != "weight" and self.score not in WITH_FACTOR:
            raise UsageError(
                f"--factor {self.factor} goes with a gradient; use --score snip or "
                f"snip_batch, or leave it out for {self.score}"
            )
        wants_base = "difference" in (self.score, self.factor)
        if wants_base and self.base is None:
            raise UsageError(
                "a difference needs a model to differ from; give it as --base"
            )
        if self.base is not None and not wants_base:
            raise UsageError(
                f"--base {self.base} is read by --score difference and --factor "
                "difference alone; give one of them, or leave it out"
            )


def _listed(_kind: object, tokens: Sequence[Token]) -> tuple[float, ...]:
    """Read numbers with commas between them, given once or several times."""
    return tuple(float(one) for token in tokens for one in token.value.split(","))


Shares = Annotated[tuple[float, ...], Parameter(converter=_listed)]

MOST_IN_GRID = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupOptions:
    """Which weights make a group."""

    share: float = 0.01
    """Share in the groups `top` and `utility`, highest by either score, and in `random`
    (0 to 1)."""

    p: float = 0.1
    """Share, highest by utility score, that `difference` leaves out (0 to 1)."""

    q: float = 0.1
    """Share, highest by behaviour score, that `difference` draws from (0 to 1)."""

    per: Per = "matrix"
    """What a share by score is of: each matrix, each row, the matrices of each layer
    together, or all matrices together (kind of place)."""

    p_grid: Shares = ()
    """Further values of `--p` for a table of what `difference` would be (shares as in
    `.01,.03`, may be repeated); by default none."""

    q_grid: Shares = ()
    """Further values of `--q` for the same table (shares as in `.01,.03`, may be
    repeated); by default none."""

    def __post_init__(self) -> None:
        """Refuse shares that are no shares."""
        require_share("--share", self.share)
        for q in (self.q, *self.q_grid):
            require_share("--q-grid" if q in self.q_grid else "--q", q)
        for p in (self.p, *self.p_grid):
            if not 0 <= p < 1:
                option = "--p-grid" if p in self.p_grid else "--p"
                raise UsageError(f"{option} is {p}; give a share from 0 to below 1")
        for option, grid in (("--p-grid", self.p_grid), ("--q-grid", self.q_grid)):
            if len(grid) > MOST_IN_GRID:
                raise UsageError(
                    f"{option} has {len(grid)} values; give at most {MOST_IN_GRID}"
                )

    @property
    def grid(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Values of p and of q in the table, ascending; none where none was asked for.

        >>> GroupOptions(p_grid=(0.3, 0.01)).grid
        ((0.01, 0.1, 0.3), (0.1,))
        """
        if not self.p_grid and not self.q_grid:
            return (), ()
        return (
            tuple(sorted({self.p, *self.p_grid})),
            tuple(sorted({self.q, *self.q_grid})),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationOptions:
    """What the model does before tuning and at each checkpoint."""

    refusal_prompts: str | None = None
    """Requests that the model should refuse (file, known name, hub name or
    FILE.py:FUNCTION); by default rows of `--behaviour` that scoring did not draw."""

    held_out: tuple[str, ...] = ()
    """Samples that the model should get right (file, known name, hub name or
    FILE.py:FUNCTION; may be repeated); by default rows of `--utility` that scoring did
    not draw."""

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
    """Groups chosen elsewhere, the one to test being the only one or called
    `difference` (safetensors or JSON file, or folder of them); by default they are
    scored for."""

    checkpoints: tuple[Path, ...] = ()
    """Adapters or whole models trained elsewhere (folder of a training run with its
    checkpoints, or one of them; may be repeated, once per run); by default the model is
    tuned."""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyPlan:
    """What is done in a drift study, and how far.

    Args:
        scoring: How weights are scored.
        groups: Which of them make a group.
        lora: How the model is tuned.
        freezing: What of it may not move.
        evaluation: What it is asked.
        testing: How chance is measured.
        elsewhere: What was made elsewhere and is not made again.
        output: What is left behind beside the report.
        is_trial: Whether samples and steps are capped.
        until: The last phase.
    """

    scoring: ScoringOptions
    groups: GroupOptions
    lora: TuningSettings
    freezing: FreezeOptions
    evaluation: EvaluationOptions
    testing: TestingOptions
    elsewhere: ElsewhereOptions
    output: OutputOptions
    is_trial: bool
    until: Phase


Scoring = Annotated[ScoringOptions, SCORING]
Groups = Annotated[GroupOptions, GROUPS]
Tuning = Annotated[TuningSettings, TUNING]
Freezing = Annotated[FreezeOptions, TUNING]
Evaluation = Annotated[EvaluationOptions, EVALUATION]
Testing = Annotated[TestingOptions, TESTING]
Elsewhere = Annotated[ElsewhereOptions, ELSEWHERE]
Output = Annotated[OutputOptions, OUTPUT]


def renamed(columns: str | None) -> Mapping[str, str]:
    """Read what `--columns` says; nothing is renamed where it is not given.

    Raises:
        UsageError: It is no list of pairs, or names what no shape knows.
    """
    if columns is None:
        return {}
    # Not at the top: `--help` need not wait for what reads rows.
    from driftmap.load.columns import parse_columns

    return parse_columns(columns)


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
