"""Which options do several questions share?

Each class is a block of flat options: the text under a field is the help of its
option, on the command line and in the reference.
"""

from dataclasses import dataclass
from typing import Literal

from driftmap.core.errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoringOptions:
    """How much each weight matters to the samples."""

    num_samples: int = 128
    """Samples drawn from each data set for scoring (count)."""

    positions: Literal["response", "labels", "all"] = "response"
    """Tokens whose loss counts: those of the response, or all but the first."""

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
        for name in ("share", "p", "q"):
            value = getattr(self, name)
            if not 0 <= value <= 1 or (value == 0 and name != "p"):
                raise UsageError(f"--{name} is {value}; give a share above 0, up to 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationOptions:
    """What the model does before tuning and at each checkpoint."""

    refusal_prompts: str | None = None
    """Requests that the model should refuse (file or name); by default rows of
    `--behaviour` that scoring did not draw."""

    held_out: tuple[str, ...] = ()
    """Samples that the model should get right (file or name, may be repeated); by
    default rows of `--utility` that scoring did not draw."""

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


def require_at_least(option: str, value: float, least: float) -> None:
    """Refuse a number that is too small to mean anything.

    Raises:
        UsageError: The value is below the least one.
    """
    if value < least:
        raise UsageError(f"{option} is {value}; give at least {least:g}")
