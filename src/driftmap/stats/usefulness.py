"""How sure is what tasks and perplexity say, and does a model differ from another?

Items and windows are the sample. Two models are compared on the same ones: what is
hard for both cancels, so the difference is surer than the two scores.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import exp, isclose

import numpy as np
from jaxtyping import Float64
from scipy.stats import false_discovery_control

from driftmap.core.errors import MeasureError
from driftmap.results.evaluation import Which
from driftmap.results.perplexity import PerplexityReading
from driftmap.results.statistics import Interval
from driftmap.results.usefulness import (
    MeanScore,
    PerplexityRatio,
    PerplexityScore,
    TaskChange,
    TaskScore,
)
from driftmap.results.utility import TaskReading
from driftmap.stats.intervals import exponentiated, t_interval, wilson_interval
from driftmap.stats.refusal_rates import mcnemar

LEVEL = 0.95


def task_score(model: Which, reading: TaskReading) -> TaskScore:
    """Take the mean of a task's items, with standard error and 95 % interval.

    The interval is Wilson's where each item is right or wrong, else Student's.

    >>> reading = TaskReading(
    ...     task="t", metric="acc", num_shots=0, num_available=9, chance=0.5,
    ...     item_ids=("a", "b", "c", "d"), values=np.array([1.0, 0.0, 1.0, 1.0]),
    ... )
    >>> found = task_score("this", reading)
    >>> found.score.estimate, found.score.num, found.standard_error
    (0.75, 4, 0.25)
    """
    values = reading.values
    if reading.is_rate:
        score = wilson_interval(float(values.sum()), values.size, LEVEL)
    else:
        mean = float(values.mean())
        score = t_interval(values, LEVEL) or _point(mean)
    return TaskScore(
        model=model,
        task=reading.task,
        metric=reading.metric,
        num_shots=reading.num_shots,
        num_available=reading.num_available,
        score=score,
        standard_error=_standard_error(values),
        chance=reading.chance,
    )


def mean_score(model: Which, scores: Sequence[TaskScore]) -> MeanScore:
    """Take the mean over tasks, which counts a small task as much as a large one.

    Its variance is the sum of the tasks' own over the squared number of tasks.

    Args:
        model: Which.
        scores: Its scores, at least one.
    """
    errors = [score.standard_error for score in scores]
    known = [error for error in errors if error is not None]
    squares = float(np.square(known).sum()) if len(known) == len(errors) else None
    return MeanScore(
        model=model,
        num_tasks=len(scores),
        mean=float(np.mean([score.score.estimate for score in scores])),
        standard_error=None if squares is None else squares**0.5 / len(scores),
    )


def task_changes(
    this: Sequence[TaskReading], compared: Sequence[TaskReading]
) -> tuple[TaskChange, ...]:
    """Compare two models task by task, item by item.

    Args:
        this: Readings of the evaluated model.
        compared: Those of the other one, on the same tasks and items.

    Returns:
        One change per task; p-values are corrected for the number of tasks that have
        one (Benjamini and Hochberg 1995).

    Raises:
        MeasureError: Tasks or items differ.
    """
    if [r.task for r in this] != [r.task for r in compared]:
        raise MeasureError("two models are compared on other tasks")
    changes = [_change(*pair) for pair in zip(this, compared, strict=True)]
    raw = [c.p_value for c in changes if c.p_value is not None]
    corrected = iter(false_discovery_control(raw).tolist() if raw else [])
    return tuple(
        c if c.p_value is None else replace(c, p_adjusted=next(corrected))
        for c in changes
    )


def perplexity_score(model: Which, reading: PerplexityReading) -> PerplexityScore:
    """Give perplexity an interval: Student's over windows, of the mean NLL."""
    over_windows = t_interval(reading.nll_nats, LEVEL)
    return PerplexityScore(
        model=model,
        text=reading.text,
        window=reading.window,
        num_windows=reading.num_windows,
        num_predicted=reading.num_predicted,
        num_dropped=reading.num_dropped,
        perplexity=reading.perplexity,
        interval=None if over_windows is None else exponentiated(over_windows),
        bits_per_byte=reading.bits_per_byte,
    )


def perplexity_ratios(
    this: Mapping[str, PerplexityReading], compared: Mapping[str, PerplexityReading]
) -> tuple[PerplexityRatio, ...]:
    """Compare two models window by window, where their tokens are the same.

    Args:
        this: Text -> reading of the evaluated model.
        compared: The same of the other one.

    Returns:
        One ratio per text whose windows are the same; bits per byte are left for
        models with other tokenizers.
    """
    return tuple(
        _ratio(reading, compared[text])
        for text, reading in this.items()
        if text in compared and _are_same_windows(reading, compared[text])
    )


def _change(this: TaskReading, compared: TaskReading) -> TaskChange:
    if this.item_ids != compared.item_ids or this.metric != compared.metric:
        raise MeasureError(
            f"{this.task}: two models cannot be compared on other items; ask both the "
            "same ones"
        )
    difference = this.values - compared.values
    rates = None
    if this.is_rate and compared.is_rate:
        rates = mcnemar(compared.values == 1, this.values == 1)
    return TaskChange(
        task=this.task,
        num_items=difference.size,
        num_gained=None if rates is None else rates.num_gained,
        num_lost=None if rates is None else rates.num_lost,
        change=t_interval(difference, LEVEL),
        standard_error=_standard_error(difference),
        p_value=None if rates is None else rates.p_value,
        p_adjusted=None,
    )


def _are_same_windows(this: PerplexityReading, other: PerplexityReading) -> bool:
    return (this.window, this.num_windows, this.num_bytes) == (
        other.window,
        other.num_windows,
        other.num_bytes,
    )


def _ratio(this: PerplexityReading, compared: PerplexityReading) -> PerplexityRatio:
    difference = this.nll_nats - compared.nll_nats
    over_windows = t_interval(difference, LEVEL)
    ratio = exp(difference.mean())
    assert isclose(ratio, this.perplexity / compared.perplexity, rel_tol=1e-6)
    return PerplexityRatio(
        text=this.text,
        ratio=ratio,
        interval=None if over_windows is None else exponentiated(over_windows),
    )


def _standard_error(values: Float64[np.ndarray, " item"]) -> float | None:
    """Of the mean; one item has no spread."""
    if values.size < 2:
        return None
    return float(values.std(ddof=1)) / values.size**0.5


def _point(value: float) -> Interval:
    return Interval(estimate=value, low=value, high=value, level=LEVEL, num=1)
