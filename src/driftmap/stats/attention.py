"""Which layers serve best, by which criterion, and how sure is that?

Where heads look (subject mass, sharpness) only describes. That a row agrees with the
causal effect of tokens, and that the answer needs the edges, say something of effects.
Intervals draw subjects anew, each with all its prompts.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, Float64, Int64
from scipy.stats import rankdata

from driftmap.core.seeds import child_seed
from driftmap.results.attention import (
    CRITERIA,
    THIRDS,
    AttentionNumbers,
    AttentionPlace,
    AttentionPrompt,
    BestThird,
    Criterion,
    HeadScore,
    KnockOuts,
    LayerScore,
    QueryFindings,
    Third,
    ThirdScore,
    without_first,
)
from driftmap.results.statistics import Interval

NUM_RESAMPLES = 2000
LEVEL = 0.95


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PromptNumbers:
    """All that one prompt says of one query.

    Args:
        prompt: Which.
        numbers: Of its rows.
        agreement: From `token_agreement`, by place; None where it was not traced.
        knock_outs: What the answer loses without edges; None likewise.
    """

    prompt: AttentionPrompt
    numbers: AttentionNumbers
    agreement: Float64[np.ndarray, " place"] | None = None
    knock_outs: KnockOuts | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Values:
    """One criterion: a number per prompt and layer, and per prompt and third."""

    by_layer: Float64[np.ndarray, "prompt layer"]
    by_third: Float64[np.ndarray, "prompt third"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Subjects:
    """Whose each prompt is, and how often it comes in each resample of subjects."""

    names: Sequence[str]
    draws: Int64[np.ndarray, "draw prompt"]


def query_findings(
    found: Sequence[PromptNumbers],
    places: Sequence[AttentionPlace],
    num_layers: int,
    seed: int,
) -> QueryFindings:
    """Average every criterion over prompts, by layer and by third.

    Args:
        found: One for each prompt, of one kind of query.
        places: Where attention was read.
        num_layers: Blocks of the model, with those that do not attend (count).
        seed: The run's seed.

    Returns:
        Means with 95 % percentile intervals over subjects; with fewer than two of them
        an interval has no width. Criteria that no prompt has are left out.
    """
    layers = sorted({place.layer for place in places})
    draws = _drawn([one.prompt.cluster for one in found], seed)
    values = _criteria(found, places, layers, num_layers)
    scores = [
        LayerScore(criterion=name, layer=layer, value=_interval(own, draws))
        for name, of in values.items()
        for layer, own in zip(layers, of.by_layer.T, strict=True)
        if np.isfinite(own).any()
    ]
    thirds = [
        ThirdScore(criterion=name, third=third, value=_interval(own, draws))
        for name, of in values.items()
        for third, own in zip(THIRDS, of.by_third.T, strict=True)
        if np.isfinite(own).any()
    ]
    clusters = [one.prompt.cluster for one in found]
    best = [
        _best(name, of, layers, _Subjects(names=clusters, draws=draws))
        for name, of in values.items()
    ]
    return QueryFindings(
        query=found[0].numbers.query,
        layers=tuple(scores),
        thirds=tuple(thirds),
        best=tuple(one for one in best if one is not None),
        heads=tuple(_heads(found, places)),
        num_prompts=len(found),
        num_without_subject=sum(one.prompt.subject is None for one in found),
        num_without_control=sum(one.prompt.control is None for one in found),
    )


def token_agreement(
    weights: Float32[np.ndarray, "place key"],
    effects: Float[np.ndarray, " token"],
) -> Float64[np.ndarray, " place"]:
    """Spearman's correlation of each place's row with the causal effect of tokens.

    The first token is left out. NaN where all tokens are alike.

    Args:
        weights: Of one query, heads averaged.
        effects: Of each token of the prompt: the most that any layer brings back.

    >>> weights = np.array([[0.9, 0.0, 0.1, 0.0], [0.7, 0.2, 0.1, 0.0]], np.float32)
    >>> token_agreement(weights, np.array([0.0, 0.1, 0.5, 0.0])).round(2).tolist()
    [0.87, 0.5]
    """
    means = without_first(weights)[:, 1 : len(effects)]
    if means.shape[1] < 2:
        return np.full(len(means), np.nan)
    ranks = rankdata(means, axis=1)
    wanted = rankdata(effects[1:])
    ranks, wanted = ranks - ranks.mean(axis=1, keepdims=True), wanted - wanted.mean()
    sizes = np.sqrt((ranks**2).sum(axis=1) * (wanted**2).sum())
    found = np.full(len(ranks), np.nan)
    return np.divide(ranks @ wanted, sizes, out=found, where=sizes > 0)


def third_of(layer: int, num_layers: int) -> Third:
    """Whether a layer is early, middle or late.

    >>> [third_of(layer, 4) for layer in range(4)]
    ['early', 'early', 'middle', 'late']
    """
    return THIRDS[layer * 3 // num_layers]


def _criteria(
    found: Sequence[PromptNumbers],
    places: Sequence[AttentionPlace],
    layers: Sequence[int],
    num_layers: int,
) -> dict[Criterion, _Values]:
    """Every criterion that some prompt has."""
    nothing = np.full(len(places), np.nan)
    by_place: dict[Criterion, list[np.ndarray]] = {
        "subject mass": [_over_heads(subject_lead(one.numbers)) for one in found],
        "sharpness": [_over_heads(one.numbers.sharpness) for one in found],
        "agreement": [
            nothing if one.agreement is None else one.agreement for one in found
        ],
    }
    values: dict[Criterion, _Values] = {}
    for name, rows in by_place.items():
        by_layer = _by_layer(np.stack(rows), places, layers)
        by_third = _by_third(by_layer, layers, num_layers)
        values[name] = _Values(by_layer=by_layer, by_third=by_third)
    cut = [one.knock_outs for one in found]
    values["loss"] = _Values(
        by_layer=_lost(cut, len(layers), lambda k: -k.by_layer),
        by_third=_lost(cut, len(THIRDS), lambda k: -k.by_third),
    )
    values["knock-out"] = _Values(
        by_layer=_lost(cut, len(layers), lambda k: k.control_by_layer - k.by_layer),
        by_third=_lost(cut, len(THIRDS), lambda k: k.control_by_third - k.by_third),
    )
    has = {name for name, of in values.items() if np.isfinite(of.by_layer).any()}
    return {name: values[name] for name in CRITERIA if name in has}


def subject_lead(numbers: AttentionNumbers) -> Float32[np.ndarray, "place head"]:
    """Share of the subject minus that of the control, without first token and sink."""
    rest = 1 - numbers.first_mass - numbers.sink_mass
    lead = numbers.subject_mass - numbers.control_mass
    return np.divide(lead, rest, out=np.zeros_like(lead), where=rest > 1e-9)


def _over_heads(values: np.ndarray) -> np.ndarray:
    """Mean over the heads that there are; NaN without any."""
    there = np.isfinite(values)
    total = np.where(there, values, 0).sum(axis=1)
    num = there.sum(axis=1)
    found = np.full(len(values), np.nan)
    return np.divide(total, num, out=found, where=num > 0)


def _by_layer(
    values: np.ndarray, places: Sequence[AttentionPlace], layers: Sequence[int]
) -> np.ndarray:
    """Mean over the places of each layer."""
    own = np.array([place.layer for place in places])
    return np.stack([values[:, own == layer].mean(axis=1) for layer in layers], axis=1)


def _by_third(values: np.ndarray, layers: Sequence[int], num_layers: int) -> np.ndarray:
    """Mean over the layers of each third; NaN where none of it attends."""
    own = np.array([THIRDS.index(third_of(layer, num_layers)) for layer in layers])
    return np.stack([_over_heads(values[:, own == n]) for n in range(3)], axis=1)


def _lost(
    cut: Sequence[KnockOuts | None],
    size: int,
    of: Callable[[KnockOuts], np.ndarray],
) -> np.ndarray:
    nothing = np.full(size, np.nan)
    return np.stack([nothing if one is None else of(one) for one in cut])


def _drawn(clusters: Sequence[str], seed: int) -> Int64[np.ndarray, "draw prompt"]:
    """How often each prompt comes in each resample of subjects."""
    names, cluster = np.unique(np.array(clusters), return_inverse=True)
    rng = np.random.default_rng(child_seed(seed, "attention"))
    drawn = rng.multinomial(
        len(names), np.full(len(names), 1 / len(names)), NUM_RESAMPLES
    )
    return drawn[:, cluster].astype(np.int64)


def _means(
    values: Float64[np.ndarray, "prompt _"], draws: Int64[np.ndarray, "draw prompt"]
) -> Float64[np.ndarray, "draw _"]:
    """Means of every resample over the prompts that have a value; NaN without one."""
    there = np.isfinite(values)
    total = draws @ np.where(there, values, 0)
    num = draws @ there.astype(np.int64)
    return np.divide(total, num, out=np.full(total.shape, np.nan), where=num > 0)


def _interval(
    values: Float64[np.ndarray, " prompt"], draws: Int64[np.ndarray, "draw prompt"]
) -> Interval:
    tail = (1 - LEVEL) / 2
    low, high = np.nanquantile(_means(values[:, None], draws), [tail, 1 - tail])
    return Interval(
        estimate=float(np.nanmean(values)),
        low=float(low),
        high=float(high),
        level=LEVEL,
        num=int(np.isfinite(values).sum()),
    )


def _best(
    name: Criterion,
    values: _Values,
    layers: Sequence[int],
    subjects: _Subjects,
) -> BestThird | None:
    """The third of the largest mean, and how far it leads; None with a single third."""
    draws = subjects.draws
    once = np.ones((1, draws.shape[1]), dtype=np.int64)
    means = _means(values.by_third, once)[0]
    there = np.flatnonzero(np.isfinite(means))
    if len(there) < 2:
        return None
    first, second = there[np.argsort(-means[there], kind="stable")[:2]]
    resampled = _means(values.by_third, draws)[:, there]
    usable = resampled[np.isfinite(resampled).all(axis=1)]
    share = float((there[usable.argmax(axis=1)] == first).mean())
    by_layer = _means(values.by_layer, draws)
    tops = np.array(layers)[
        np.where(np.isfinite(by_layer), by_layer, -np.inf).argmax(1)
    ]
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(tops, [tail, 1 - tail], method="nearest")
    mean_layers = _means(values.by_layer, once)[0]
    lead = values.by_third[:, first] - values.by_third[:, second]
    return BestThird(
        criterion=name,
        third=THIRDS[first],
        share_of_resamples=share,
        lead=_interval(lead, draws),
        num_subjects=len(
            {c for c, v in zip(subjects.names, lead, strict=True) if np.isfinite(v)}
        ),
        layer=layers[int(np.nanargmax(mean_layers))],
        layer_low=int(low),
        layer_high=int(high),
    )


def _heads(
    found: Sequence[PromptNumbers], places: Sequence[AttentionPlace]
) -> Iterator[HeadScore]:
    """Every head's means over prompts; NaN where no prompt has them."""
    lead = _over_prompts([subject_lead(one.numbers) for one in found])
    first = _over_prompts([one.numbers.first_mass for one in found])
    sharp = _over_prompts([one.numbers.sharpness for one in found])
    for number, place in enumerate(places):
        for head in range(place.num_heads):
            yield HeadScore(
                place=number,
                layer=place.layer,
                head=head,
                subject_mass=_or_none(lead[number, head]),
                first_mass=float(first[number, head]),
                sharpness=float(sharp[number, head]),
            )


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _over_prompts(values: Sequence[np.ndarray]) -> np.ndarray:
    whole = np.stack(values)
    flat = whole.reshape(len(whole), -1).T
    return _over_heads(flat).reshape(whole.shape[1:])
