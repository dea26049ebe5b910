"""What do facts say together before and after tuning, and how sure is that?

Of every prompt there is the mean of -ln p over the tokens of the true answer (NLL_true)
and of the new one (NLL_new), as Meng et al. 2022 (arXiv:2202.05262) count them:

    took      NLL_new < NLL_true      at the fact's own prompt and its paraphrases
    stayed    NLL_true < NLL_new      at prompts of others with the same true answer
    margin    e^-NLL_new - e^-NLL_true, or the other way round at those others
    score     harmonic mean of the three shares, times 100

Prompts are averaged inside a fact, then facts. Intervals draw facts anew, before and
after together; known facts are drawn by subject, texts one by one. A share that is 0
or 1 on every fact has Wilson's interval, and its change Newcombe's: resampling cannot
see what did not happen.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np
from jaxtyping import Bool, Float64, Int64

from driftmap.core.seeds import child_seed
from driftmap.results.edits import (
    SHARES,
    EditMeasure,
    EditMeasureName,
    EditPrompt,
    EditPromptKind,
    EditReadings,
    EditReport,
    KnownPrompt,
    LensMean,
    ShiftMeasure,
)
from driftmap.results.statistics import Interval
from driftmap.stats.intervals import wilson_interval

NUM_RESAMPLES = 2000
LEVEL = 0.95

_SHARE_OF: Mapping[EditPromptKind, EditMeasureName] = {
    "rewrite": "efficacy",
    "paraphrase": "paraphrase",
    "neighbour": "neighbourhood",
    "attribute": "attribute",
}
_MARGIN_OF: Mapping[EditPromptKind, EditMeasureName] = {
    "rewrite": "efficacy magnitude",
    "paraphrase": "paraphrase magnitude",
    "neighbour": "neighbourhood magnitude",
}
_SCORED: tuple[EditMeasureName, ...] = ("efficacy", "paraphrase", "neighbourhood")

_Columns = dict[EditMeasureName, Float64[np.ndarray, " record"]]
"""A number of each record by measure; NaN where a record has none."""


def edit_measures(report: EditReport, seed: int) -> tuple[EditMeasure, ...]:
    """Average every measure that there is data for.

    Args:
        report: With what both models say; its own measures are not read.
        seed: The run's seed.

    Returns:
        Means with 95 % intervals, in the order of `EditMeasureName`.
    """
    before = _columns(report, report.before)
    after = _columns(report, report.after)
    found: dict[EditMeasureName, EditMeasure] = {}
    for name, first in before.items():
        second = after[name]
        there = np.isfinite(first) & np.isfinite(second)
        if there.any():
            found[name] = _measure(name, first[there], second[there], seed)
    score = _score(before, after, seed)
    if score is not None:
        found["score"] = score
    return tuple(found[name] for name in get_args(EditMeasureName) if name in found)


def shift_measures(report: EditReport, seed: int) -> tuple[ShiftMeasure, ...]:
    """Average the distances between both models' distributions."""
    found = []
    for shift in report.shifts:
        records = _record_of_shift(report, shift.kind, shift.fact)
        means = [
            _resampled(_by_record(values, records), seed)
            for values in (shift.kl_forward, shift.kl_backward, shift.js)
        ]
        forward, backward, js = means
        found.append(
            ShiftMeasure(
                kind=shift.kind, kl_forward=forward, kl_backward=backward, js=js
            )
        )
    return tuple(found)


def lens_means(report: EditReport, seed: int) -> tuple[LensMean, ...]:
    """Average what each block says of both answers."""
    found = []
    for is_after, side in enumerate((report.before, report.after)):
        if side.lens is None:
            continue
        for is_new, p in enumerate((side.lens.p_true, side.lens.p_new)):
            layers = tuple(_resampled(column, seed) for column in p.T)
            found.append(
                LensMean(is_after=bool(is_after), is_new=bool(is_new), layers=layers)
            )
    return tuple(found)


def point_measures(
    prompts: Sequence[EditPrompt],
    nll_true: Float64[np.ndarray, " prompt"],
    nll_new: Float64[np.ndarray, " prompt"],
    seed: int,
) -> Mapping[EditMeasureName, Interval]:
    """Average what one model says, for a point of a curve.

    Args:
        prompts: Where both answers are weighed.
        nll_true: Of the true answer, by prompt.
        nll_new: Of the new one.
        seed: The run's seed.
    """
    columns = _answer_columns(prompts, nll_true, nll_new)
    found: dict[EditMeasureName, Interval] = {
        name: _interval(name, values[np.isfinite(values)], seed)
        for name, values in columns.items()
        if np.isfinite(values).any()
    }
    score = _score(columns, columns, seed)
    if score is not None:
        found["score"] = score.before
    return found


def succeeded(
    nll_true: Float64[np.ndarray, " prompt"],
    nll_new: Float64[np.ndarray, " prompt"],
    kind: EditPromptKind,
) -> Bool[np.ndarray, " prompt"]:
    """Whether the answer that should be the likelier one is.

    >>> succeeded(np.array([2.0, 1.0]), np.array([1.0, 1.0]), "rewrite").tolist()
    [True, False]
    >>> succeeded(np.array([2.0, 1.0]), np.array([1.0, 3.0]), "neighbour").tolist()
    [False, True]
    """
    return nll_true < nll_new if kind == "neighbour" else nll_new < nll_true


def margin(
    nll_true: Float64[np.ndarray, " prompt"],
    nll_new: Float64[np.ndarray, " prompt"],
    kind: EditPromptKind,
) -> Float64[np.ndarray, " prompt"]:
    """By how much probability a token, in the geometric mean, it is ahead.

    >>> half, quarter = np.log([2.0]), np.log([4.0])
    >>> margin(quarter, half, "rewrite").round(2).tolist()
    [0.25]
    """
    ahead = np.exp(-nll_new) - np.exp(-nll_true)
    return -ahead if kind == "neighbour" else ahead


def harmonic_mean(shares: Float64[np.ndarray, "share _"]) -> Float64[np.ndarray, " _"]:
    """Harmonic mean down the columns; 0 where a share is 0.

    >>> harmonic_mean(np.array([[1.0, 1.0], [1.0, 0.0], [0.25, 1.0]])).tolist()
    [0.5, 0.0]
    """
    with np.errstate(divide="ignore"):
        return len(shares) / (1 / shares).sum(axis=0)


def _columns(report: EditReport, readings: EditReadings) -> _Columns:
    """All numbers of one model, by record of each measure."""
    found = _answer_columns(report.prompts, readings.nll_true, readings.nll_new)
    found |= _known_columns(report.known, readings)
    found["text surprise"] = readings.text_surprise
    if readings.essence is not None:
        found["essence"] = readings.essence
    if readings.first is not None:
        first = readings.first
        found |= {
            "logit true": first.logit_true,
            "logit new": first.logit_new,
            "log p true": first.log_p_true,
            "log p new": first.log_p_new,
            "rank true": first.rank_true.astype(np.float64),
            "rank new": first.rank_new.astype(np.float64),
        }
    if readings.written is not None:
        written = readings.written
        records = np.array([one.fact for one in report.writing])
        found["fluency"] = _by_record(written.fluency, records)
        found["variety"] = _by_record(written.variety, records)
        found["words written"] = _by_record(written.num_words.astype(float), records)
        if written.consistency is not None:
            found["consistency"] = written.consistency
    return found


def _answer_columns(
    prompts: Sequence[EditPrompt],
    nll_true: Float64[np.ndarray, " prompt"],
    nll_new: Float64[np.ndarray, " prompt"],
) -> _Columns:
    """By fact: what both answers' NLL say."""
    fact = np.array([one.fact for one in prompts])
    kinds = np.array([one.kind for one in prompts])
    num = int(fact.max()) + 1
    found: _Columns = {}
    for kind, name in _SHARE_OF.items():
        here = np.flatnonzero(kinds == kind)
        values = nll_true[here], nll_new[here]
        success = succeeded(*values, kind).astype(np.float64)
        found[name] = _means(success, fact[here], num)
        if kind in _MARGIN_OF:
            ahead = margin(*values, kind)
            found[_MARGIN_OF[kind]] = _means(ahead, fact[here], num)
    own = np.flatnonzero(kinds == "rewrite")
    found["nll true"] = _means(nll_true[own], fact[own], num)
    found["nll new"] = _means(nll_new[own], fact[own], num)
    return found


def _known_columns(known: Sequence[KnownPrompt], readings: EditReadings) -> _Columns:
    """By subject: what is still said of facts that were not taught."""
    found: _Columns = {}
    subjects = np.array([one.subject for one in known])
    same = np.array([one.kind == "same subject" for one in known], bool)
    first = readings.known_first.astype(np.float64)
    if same.any():
        p = readings.known_p[same]
        found["same subject p"] = _by_record(p, subjects[same])
        found["same subject first"] = _by_record(first[same], subjects[same])
    if (~same).any():
        p = readings.known_p[~same]
        found["unrelated p"] = _by_record(p, subjects[~same])
        found["unrelated first"] = _by_record(first[~same], subjects[~same])
    return found


def _record_of_shift(
    report: EditReport, kind: str, fact: Int64[np.ndarray, " prompt"]
) -> np.ndarray:
    if kind in ("rewrite", "neighbour"):
        return fact
    return np.array([report.known[number].subject for number in fact.tolist()])


def _by_record(
    values: Float64[np.ndarray, " prompt"], records: np.ndarray
) -> Float64[np.ndarray, " record"]:
    """Means inside each record over what there is, in the order of their names."""
    names, place = np.unique(records, return_inverse=True)
    there = np.isfinite(values)
    return _means(values[there], place[there], len(names))


def _means(
    values: Float64[np.ndarray, " prompt"], place: np.ndarray, num: int
) -> Float64[np.ndarray, " record"]:
    total = np.bincount(place, weights=values, minlength=num)
    count = np.bincount(place, minlength=num)
    return np.divide(total, count, out=np.full(num, np.nan), where=count > 0)


def _measure(
    name: EditMeasureName,
    before: Float64[np.ndarray, " record"],
    after: Float64[np.ndarray, " record"],
    seed: int,
) -> EditMeasure:
    first, second = _interval(name, before, seed), _interval(name, after, seed)
    change = _resampled(after - before, seed)
    is_alike = change.low == change.high != 0
    if name in SHARES and is_alike and before.size > 1:
        change = _newcombe(before, after)
    return EditMeasure(name=name, before=first, after=second, change=change)


def _interval(
    name: EditMeasureName, values: Float64[np.ndarray, " record"], seed: int
) -> Interval:
    all_alike = name in SHARES and values.min() == values.max()
    if all_alike and values[0] in (0, 1) and values.size > 1:
        return wilson_interval(float(values.sum()), values.size, LEVEL)
    return _resampled(values, seed)


def _newcombe(
    before: Float64[np.ndarray, " record"], after: Float64[np.ndarray, " record"]
) -> Interval:
    """Hybrid score interval of a difference of shares (Newcombe 1998, method 10)."""
    first = wilson_interval(float(before.sum()), before.size, LEVEL)
    second = wilson_interval(float(after.sum()), after.size, LEVEL)
    change = second.estimate - first.estimate
    below = np.hypot(second.estimate - second.low, first.high - first.estimate)
    above = np.hypot(second.high - second.estimate, first.estimate - first.low)
    return Interval(
        estimate=change,
        low=max(-1.0, change - float(below)),
        high=min(1.0, change + float(above)),
        level=LEVEL,
        num=before.size,
    )


def _resampled(values: Float64[np.ndarray, " record"], seed: int) -> Interval:
    """Percentile interval of the mean; without width for a single record."""
    mean = float(values.mean())
    low = high = mean
    if values.min() != values.max():
        means = _draws(values.size, seed) @ values / values.size
        low, high = _quantiles(means)
    return Interval(estimate=mean, low=low, high=high, level=LEVEL, num=values.size)


def _draws(num: int, seed: int) -> Int64[np.ndarray, "draw record"]:
    """How often each record comes in each resample."""
    rng = np.random.default_rng(child_seed(seed, "edits"))
    return rng.multinomial(num, np.full(num, 1 / num), NUM_RESAMPLES)


def _quantiles(means: Float64[np.ndarray, " draw"]) -> tuple[float, float]:
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(low), float(high)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Scores:
    """The score of all facts, and of each resample of them."""

    whole: float
    resampled: Float64[np.ndarray, " draw"]

    def interval(self, num: int) -> Interval:
        low, high = _quantiles(self.resampled)
        return Interval(estimate=self.whole, low=low, high=high, level=LEVEL, num=num)


def _score(before: _Columns, after: _Columns, seed: int) -> EditMeasure | None:
    """Harmonic mean of the mean shares; None where one of them has no fact."""
    has = np.isfinite([before[name] for name in _SCORED])
    if not has.any(axis=1).all():
        return None
    draws = _draws(has.shape[1], seed)
    # A resample may leave out every fact that has neighbours: it says nothing.
    draws = draws[((draws @ has.T) > 0).all(axis=1)]
    first, second = _scores(before, draws), _scores(after, draws)
    change = _Scores(
        whole=second.whole - first.whole,
        resampled=second.resampled - first.resampled,
    )
    num = int(has.all(axis=0).sum())
    return EditMeasure(
        name="score",
        before=first.interval(num),
        after=second.interval(num),
        change=change.interval(num),
    )


def _scores(columns: _Columns, draws: Int64[np.ndarray, "draw fact"]) -> _Scores:
    values = np.stack([columns[name] for name in _SCORED])
    has = np.isfinite(values)
    filled = np.where(has, values, 0)
    shares = (filled @ draws.T) / (has @ draws.T)
    whole = filled.sum(axis=1, keepdims=True) / has.sum(axis=1, keepdims=True)
    return _Scores(
        whole=100 * float(harmonic_mean(whole)[0]),
        resampled=100 * harmonic_mean(shares),
    )
