"""What is said of behaviour in a sentence, and how sure is it?"""

from collections.abc import Iterator, Sequence

from driftmap.results.behaviour_change import (
    BehaviourChange,
    DivergenceMeans,
    OutcomeChange,
)
from driftmap.results.claims import Claim, Standing
from driftmap.results.statistics import Interval

LEVEL = 0.05
"""Chance of a finding where there is none."""

LEAST_NATS = 0.001
"""Divergence per token below which two models count as alike (nats): what rounding to
16 bits alone can make."""


def behaviour_claims(found: BehaviourChange) -> tuple[Claim, ...]:
    """Put what was found into sentences, each with its number, the first one first.

    Args:
        found: What both models do.
    """
    if found.is_identical:
        return (_claim(identical_words(found), "not-found"),)
    return tuple(_claims(found))


def identical_words(found: BehaviourChange) -> str:
    """What is said where nothing differs."""
    counts = ", ".join(
        f"{num} {what}"
        for num, what in (
            (len(found.texts), "texts"),
            (len(found.facts), "facts"),
            (len(found.harmful) + len(found.harmless), "requests"),
            (len(found.held_out), "held-out samples"),
        )
        if num
    )
    return (
        "Both models are identical in what they do: every logit and every answer is "
        f"equal, bit for bit ({counts})."
    )


def standing_of(outcome: OutcomeChange) -> Standing:
    """Whether an outcome changed, once all of them are counted as tests."""
    return "found" if outcome.p_adjusted < LEVEL else "inconclusive"


def outcome_words(outcome: OutcomeChange) -> str:
    """One outcome with its numbers, before, after and between."""
    scale, unit, digits = _scale(outcome)
    return (
        f"{outcome.name} {scale * outcome.before.estimate:.{digits}f}{unit} to "
        f"{scale * outcome.after.estimate:.{digits}f}{unit} "
        f"({_change(outcome)}, corrected p {p_words(outcome.p_adjusted)})"
    )


def p_words(p: float) -> str:
    """A p-value in two digits.

    >>> p_words(0.0423), p_words(1e-9), p_words(1.0)
    ('0.042', '< 0.0001', '1')
    """
    return "< 0.0001" if p < 1e-4 else f"{p:.2g}"


def _claims(found: BehaviourChange) -> Iterator[Claim]:
    summary = found.summary
    if summary.texts is not None:
        yield _divergence(summary.texts, "on texts", "nats per token", "texts")
    changed = [one for one in summary.outcomes if standing_of(one) == "found"]
    for one in sorted(changed, key=lambda one: not one.is_rate):
        says = outcome_words(one)
        yield _claim(f"{says[0].upper()}{says[1:]}.", "found")
    if summary.prompts is not None:
        yield _divergence(summary.prompts, "after prompts of facts", "nats", "subjects")
    yield from _unsettled([one for one in summary.outcomes if one not in changed])


def _divergence(means: DivergenceMeans, where: str, unit: str, per: str) -> Claim:
    forward = means.forward
    standing: Standing = "inconclusive"
    if forward.num > 1 and forward.low > LEAST_NATS:
        standing = "found"
    elif forward.num > 1 and forward.high < LEAST_NATS:
        standing = "not-found"
    chance = "."
    if means.chance is not None:
        by_chance = _told(means.chance)
        chance = f"; a random change of the same size per matrix gives {by_chance}."
    told = {
        "found": "differ",
        "not-found": "are alike",
        "inconclusive": "differ by an amount that is open",
    }[standing]
    return _claim(
        f"Next-token distributions {where} {told}: KL from base to tuned "
        f"{_told(forward, unit)}, {forward.num} {per}{chance}",
        standing,
    )


def _told(value: Interval, unit: str = "nats") -> str:
    """A divergence with its interval; one probe alone has none."""
    if value.num == 1:
        return f"{value.estimate:.3g} {unit} (a single one, no interval)"
    return f"{value.estimate:.3g} {unit} ({value.low:.3g} to {value.high:.3g})"


def _unsettled(outcomes: Sequence[OutcomeChange]) -> Iterator[Claim]:
    """Everything that is not told apart from chance, in one sentence."""
    if outcomes:
        told = "; ".join(f"{one.name} ({_change(one)})" for one in outcomes)
        yield _claim(f"Not told apart from chance: {told}.", "inconclusive")


def _change(outcome: OutcomeChange) -> str:
    scale, _, digits = _scale(outcome)
    change = outcome.change
    unit = " points" if outcome.is_rate else " nats"
    if change.num == 1:
        alone = f"{scale * change.estimate:+.{digits}f}{unit}"
        return f"{alone}, a single one, no interval"
    return (
        f"{scale * change.estimate:+.{digits}f}{unit}, "
        f"{scale * change.low:+.{digits}f} to {scale * change.high:+.{digits}f}, "
        f"{change.num} {outcome.per}"
    )


def _scale(outcome: OutcomeChange) -> tuple[int, str, int]:
    """By what a number is multiplied, its unit, and its decimals."""
    return (100, " %", 0) if outcome.is_rate else (1, " nats", 3)


def _claim(says: str, standing: Standing) -> Claim:
    return Claim(topic="behaviour", says=says, standing=standing)
