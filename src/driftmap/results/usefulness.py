"""What do perplexity and tasks say of one model, and of two?"""

from collections.abc import Mapping
from dataclasses import dataclass

from driftmap.results.evaluation import Which
from driftmap.results.statistics import Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskScore:
    """What one model reaches on one task.

    Args:
        model: Which.
        task: The task.
        metric: What is read per item.
        num_shots: Solved examples before each item.
        num_available: Items that the task has; fewer may have been read.
        score: Mean over the items that were read, with its interval.
        standard_error: Of that mean; None where there is one item.
        chance: What guessing gives; None where that is not known.
    """

    model: Which
    task: str
    metric: str
    num_shots: int
    num_available: int
    score: Interval
    standard_error: float | None
    chance: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class MeanScore:
    """The mean of one model's tasks, each task counting once.

    Args:
        model: Which.
        num_tasks: Tasks.
        mean: Their mean.
        standard_error: Of it; None where a task's own is not known.
    """

    model: Which
    num_tasks: int
    mean: float
    standard_error: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskChange:
    """This model minus the compared one, on the same items.

    Args:
        task: The task.
        num_items: Items of both.
        num_gained: Items that only this model has right; None where items are not
            simply right or wrong.
        num_lost: Items that only the compared one has right; None likewise.
        change: Mean difference per item, with its interval; None with one item.
        standard_error: Of the mean difference; None likewise.
        p_value: McNemar's exact test; None where items are not right or wrong.
        p_adjusted: Corrected for all tasks of the run; None likewise.
    """

    task: str
    num_items: int
    num_gained: int | None
    num_lost: int | None
    change: Interval | None
    standard_error: float | None
    p_value: float | None
    p_adjusted: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PerplexityScore:
    """How well one model foresees one text.

    Args:
        model: Which.
        text: The text.
        window: Tokens per window.
        num_windows: Windows.
        num_predicted: Predicted tokens.
        num_dropped: Tokens after the last whole window.
        perplexity: exp(mean NLL per predicted token).
        interval: Its interval over windows; None with one window.
        bits_per_byte: The same per byte of text, which other tokenizers share.
    """

    model: Which
    text: str
    window: int
    num_windows: int
    num_predicted: int
    num_dropped: int
    perplexity: float
    interval: Interval | None
    bits_per_byte: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PerplexityRatio:
    """Perplexity of this model over that of the compared one, on the same windows.

    Args:
        text: The text.
        ratio: Above 1 where this model foresees it worse.
        interval: Its interval over windows; None with one window.
    """

    text: str
    ratio: float
    interval: Interval | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Usefulness:
    """All of it.

    Args:
        models: Which -> what it is.
        limit: First items of each task that were asked for; None for all.
        read_by: Who read the tasks: `lm-eval VERSION` or `driftmap`; empty without.
        scores: Each model on each task.
        means: Each model's mean over tasks.
        changes: Differences on the same items.
        perplexities: Each model on each text.
        ratios: Of the two models' perplexities.
    """

    models: Mapping[str, str]
    limit: int | None = None
    read_by: str = ""
    scores: tuple[TaskScore, ...] = ()
    means: tuple[MeanScore, ...] = ()
    changes: tuple[TaskChange, ...] = ()
    perplexities: tuple[PerplexityScore, ...] = ()
    ratios: tuple[PerplexityRatio, ...] = ()
