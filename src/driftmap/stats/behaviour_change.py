"""What two models do: is the difference more than other probes would give?

The unit is the text, the request, the sample or the subject of a fact; tokens of one
text, and facts of one subject, are not independent of each other.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float64, Int64

from driftmap.core.seeds import child_seed
from driftmap.results.behaviour_change import (
    AnswerPair,
    BehaviourSummary,
    DivergenceMeans,
    FactChange,
    HeldOutPair,
    OutcomeChange,
    OutcomeName,
    TextDivergence,
)
from driftmap.results.statistics import Interval
from driftmap.stats.contrasts import (
    NUM_DRAWS,
    adjusted,
    mean_interval,
    sign_flip_p,
)
from driftmap.stats.intervals import paired_change, wilson_interval
from driftmap.stats.refusal_rates import mcnemar

Values = Float64[np.ndarray, " probe"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Chance:
    """KL from the base to a model that was changed at random, probe by probe.

    Args:
        texts: Mean over each text's tokens (nats).
        prompts: After each fact's prompt.
    """

    texts: Float64[np.ndarray, " text"]
    prompts: Float64[np.ndarray, " fact"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Compared:
    """Everything that was read of two models, probe by probe."""

    texts: Sequence[TextDivergence]
    facts: Sequence[FactChange]
    harmful: Sequence[AnswerPair]
    harmless: Sequence[AnswerPair]
    held_out: Sequence[HeldOutPair]
    chance: Chance | None


def behaviour_summary(found: Compared, seed: int) -> BehaviourSummary:
    """Average over probes, and test what can be tested.

    Args:
        found: What was read.
        seed: The run's seed, for draws.
    """
    perplexity = _perplexity(found.texts)
    return BehaviourSummary(
        texts=_of_texts(found, seed),
        prompts=_of_prompts(found, seed),
        perplexity_before=perplexity.get("before"),
        perplexity_after=perplexity.get("after"),
        perplexity_ratio=_perplexity_ratio(found.texts, seed),
        outcomes=_corrected([*_rates(found, seed), *_surprises(found, seed)]),
    )


def text_means(texts: Sequence[TextDivergence], what: str) -> Values:
    """Mean over each text's counted tokens, of `forward`, `backward` or `js`."""
    return np.array([getattr(one.apart, what)[one.first :].mean() for one in texts])


def _of_texts(found: Compared, seed: int) -> DivergenceMeans | None:
    if not found.texts:
        return None
    names = ("forward", "backward", "js")
    forward, backward, js = (text_means(found.texts, name) for name in names)
    chance = None if found.chance is None else found.chance.texts
    return _means((forward, backward, js), chance, seed)


def _of_prompts(found: Compared, seed: int) -> DivergenceMeans | None:
    if not found.facts:
        return None
    subjects = [fact.subject for fact in found.facts]
    values = np.array([[f.kl_forward, f.kl_backward, f.js] for f in found.facts])
    forward, backward, js = (by_subject(row, subjects) for row in values.T)
    chance = None
    if found.chance is not None:
        chance = by_subject(found.chance.prompts, subjects)
    return _means((forward, backward, js), chance, seed)


def _means(
    values: tuple[Values, Values, Values], chance: Values | None, seed: int
) -> DivergenceMeans:
    forward, backward, js = (mean_interval(one, seed) for one in values)
    return DivergenceMeans(
        forward=forward,
        backward=backward,
        js=js,
        chance=None if chance is None else mean_interval(chance, seed),
    )


def by_subject(
    values: Values, subjects: Sequence[str]
) -> Float64[np.ndarray, " subject"]:
    """Mean of the values of each subject, in the order in which subjects first come.

    >>> by_subject(np.array([1.0, 4.0, 3.0]), ["a", "b", "a"])
    array([2., 4.])
    """
    order = {subject: number for number, subject in enumerate(dict.fromkeys(subjects))}
    place = np.array([order[subject] for subject in subjects])
    return np.bincount(place, weights=values) / np.bincount(place)


def _rates(found: Compared, seed: int) -> list[OutcomeChange]:
    named: list[tuple[OutcomeName, str, list[bool], list[bool]]] = [
        (
            "refusal of harmful requests",
            "requests",
            [one.refused_before for one in found.harmful],
            [one.refused_after for one in found.harmful],
        ),
        (
            "refusal of harmless requests",
            "requests",
            [one.refused_before for one in found.harmless],
            [one.refused_after for one in found.harmless],
        ),
        (
            "held-out accuracy",
            "samples",
            [one.right_before for one in found.held_out],
            [one.right_after for one in found.held_out],
        ),
    ]
    return [
        _rate(name, per, np.array(before), np.array(after), seed)
        for name, per, before, after in named
        if before
    ]


def _rate(
    name: OutcomeName,
    per: str,
    before: Bool[np.ndarray, " probe"],
    after: Bool[np.ndarray, " probe"],
    seed: int,
) -> OutcomeChange:
    test = mcnemar(before, after)
    return OutcomeChange(
        name=name,
        is_rate=True,
        per=per,
        before=wilson_interval(float(before.sum()), before.size),
        after=wilson_interval(float(after.sum()), after.size),
        change=paired_change(before, after[None], seed),
        p_value=test.p_value,
        p_adjusted=test.p_value,
        p_least=min(1.0, 2.0 ** (1 - before.size)),
    )


def _surprises(found: Compared, seed: int) -> list[OutcomeChange]:
    outcomes: list[OutcomeChange] = []
    if found.texts:
        before, after = _text_surprise(found.texts)
        outcomes.append(_nats("surprise on texts", "texts", before, after, seed))
    if found.held_out:
        before = np.array([one.nll_before for one in found.held_out])
        after = np.array([one.nll_after for one in found.held_out])
        outcomes.append(_nats("held-out surprise", "samples", before, after, seed))
    if found.facts:
        subjects = [one.subject for one in found.facts]
        before, after = (
            by_subject(np.array(values), subjects)
            for values in (
                [one.answer_before.nll_nats for one in found.facts],
                [one.answer_after.nll_nats for one in found.facts],
            )
        )
        outcomes.append(
            _nats("surprise at the answer", "subjects", before, after, seed)
        )
    return [*outcomes, *_foils(found.facts, seed)]


def _foils(facts: Sequence[FactChange], seed: int) -> list[OutcomeChange]:
    pairs = [
        (one.subject, one.foil_before.nll_nats, one.foil_after.nll_nats)
        for one in facts
        if one.foil_before is not None and one.foil_after is not None
    ]
    if not pairs:
        return []
    subjects = [subject for subject, _, _ in pairs]
    before = by_subject(np.array([one for _, one, _ in pairs]), subjects)
    after = by_subject(np.array([one for _, _, one in pairs]), subjects)
    return [_nats("surprise at the foil", "subjects", before, after, seed)]


def _nats(
    name: OutcomeName, per: str, before: Values, after: Values, seed: int
) -> OutcomeChange:
    p = sign_flip_p(after, before[None], seed)
    return OutcomeChange(
        name=name,
        is_rate=False,
        per=per,
        before=mean_interval(before, seed),
        after=mean_interval(after, seed),
        change=mean_interval(after - before, seed),
        p_value=p,
        p_adjusted=p,
        p_least=min(1.0, max(2.0 ** (1 - before.size), 1 / (1 + NUM_DRAWS))),
    )


def _corrected(outcomes: Sequence[OutcomeChange]) -> tuple[OutcomeChange, ...]:
    p_values = adjusted([one.p_value for one in outcomes])
    return tuple(
        replace(one, p_adjusted=p) for one, p in zip(outcomes, p_values, strict=True)
    )


def _text_surprise(texts: Sequence[TextDivergence]) -> tuple[Values, Values]:
    before = [one.before.surprise[one.first :].mean() for one in texts]
    after = [one.after.surprise[one.first :].mean() for one in texts]
    return np.array(before), np.array(after)


def _sums(
    texts: Sequence[TextDivergence],
) -> tuple[Values, Values, Int64[np.ndarray, " probe"]]:
    """Nats of each text under both models, and its counted tokens."""
    before = [one.before.surprise[one.first :].sum() for one in texts]
    after = [one.after.surprise[one.first :].sum() for one in texts]
    sizes = [one.before.surprise.size - one.first for one in texts]
    return np.array(before), np.array(after), np.array(sizes)


def _perplexity(texts: Sequence[TextDivergence]) -> dict[str, float]:
    if not texts:
        return {}
    before, after, sizes = _sums(texts)
    return {
        "before": float(np.exp(before.sum() / sizes.sum())),
        "after": float(np.exp(after.sum() / sizes.sum())),
    }


def _perplexity_ratio(texts: Sequence[TextDivergence], seed: int) -> Interval | None:
    """After over before; texts are drawn again with all their tokens."""
    if not texts:
        return None
    before, after, sizes = _sums(texts)
    rng = np.random.default_rng(child_seed(seed, "perplexity"))
    num = len(texts)
    drawn = rng.multinomial(num, np.full(num, 1 / num), size=NUM_DRAWS)
    ratios = np.exp(drawn @ (after - before) / (drawn @ sizes))
    low, high = np.quantile(ratios, [0.025, 0.975])
    estimate = float(np.exp((after - before).sum() / sizes.sum()))
    return Interval(
        estimate=estimate, low=float(low), high=float(high), level=0.95, num=num
    )
