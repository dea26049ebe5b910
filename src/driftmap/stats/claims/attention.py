"""What do two models' shifts of attention say in a sentence, and what do they not say?

Attention is context: no claim of it stands as found. Where it disagrees with the
logits, that is said, and the logits are believed.
"""

from collections.abc import Iterator, Sequence

from driftmap.results.attention import LEAST_SUBJECTS
from driftmap.results.attention_change import (
    SUBJECT,
    AnswerShift,
    AttentionChange,
    LayerShift,
    WordsShift,
)
from driftmap.results.claims import Claim
from driftmap.results.statistics import Interval

CONTEXT = "Attention is context, not evidence"

MOST_NAMED = 4
"""Layers that one sentence names."""


def attention_claims(found: AttentionChange) -> tuple[Claim, ...]:
    """Say what became of attention, the subject's first.

    Args:
        found: What both models look at.
    """
    if found.is_identical:
        read = found.num_edited + found.num_untouched + len(found.texts)
        says = (
            f"Attention and logits of both models are identical, bit for bit, on all "
            f"{read} prompts and texts that were read."
        )
        return (Claim(topic="attention", says=says, standing="not-found"),)
    return tuple(_claims(found))


def disagreement(found: AttentionChange) -> str:
    """Where attention on the subject and the answers' logits point apart; else empty.

    Args:
        found: What both models look at.
    """
    shift, answers = subject_shift(found), found.answers
    if shift is None or answers is None:
        return ""
    change = answers.taught or answers.given
    if change is None or change.low <= 0 <= change.high:
        return ""
    moved = _answers(answers, change)
    settled = [one for one in shift.layers if one.shift.is_settled]
    opposed = [one for one in settled if one.shift.net.estimate * change.estimate < 0]
    if opposed:
        verb = "fell" if change.estimate > 0 else "rose"
        return (
            f"Attention and logits disagree: {moved}, while attention on the subject "
            f"{verb} in {_layers(opposed)}. {CONTEXT}: the logits say what the model "
            "answers."
        )
    if settled or shift.whole.is_settled or not shift.whole.has_enough:
        return ""
    return (
        f"Attention does not show what the logits do: {moved}, while attention on the "
        "subject moved in no layer beyond chance."
    )


def answers_in_words(found: AttentionChange) -> str:
    """What the logits say of the same prompts; empty without answers."""
    answers = found.answers
    change = None if answers is None else answers.taught or answers.given
    if answers is None or change is None:
        return ""
    told = _answers(answers, change)
    other = answers.given if answers.taught is not None else None
    old = "" if other is None else f"; the old answer by {shift_in_words(other)}"
    return f"By the logits, {told}{old}."


def subject_shift(found: AttentionChange) -> WordsShift | None:
    """What became of the weight on the subject; None without facts."""
    return next((one for one in found.shifts if one.words == SUBJECT), None)


def shift_in_words(value: Interval) -> str:
    """A change of a share, with its interval.

    >>> shift_in_words(Interval(estimate=0.1, low=0.05, high=0.2, level=0.95, num=9))
    '+0.100 (+0.050 to +0.200)'
    """
    return f"{value.estimate:+.3f} ({value.low:+.3f} to {value.high:+.3f})"


def _claims(found: AttentionChange) -> Iterator[Claim]:
    for shift in found.shifts:
        settled = [one for one in shift.layers if one.shift.is_settled]
        yield Claim(
            topic="attention",
            says=_moved(shift, settled),
            standing="context",
            layers=tuple(one.layer for one in settled),
        )
    apart = disagreement(found)
    if apart:
        yield Claim(topic="attention", says=apart, standing="context")


def _moved(shift: WordsShift, settled: Sequence[LayerShift]) -> str:
    net = shift.whole.net
    num = f"{net.num} {'subject' if net.num == 1 else 'subjects'}"
    beyond = " and ".join(
        name
        for name, has in (
            ("on as many tokens elsewhere", shift.whole.control is not None),
            ("on prompts about other subjects", shift.whole.untouched is not None),
        )
        if has
    )
    beyond = f"beyond what moved {beyond}" if beyond else "with nothing to set against"
    named = shift.words if shift.words == SUBJECT else f"{shift.words!r}"
    start = f"Attention on {named}, {beyond} ({num})"
    if not shift.whole.has_enough:
        few = "subjects" if net.num < LEAST_SUBJECTS else "other subjects"
        return (
            f"{start}, changed by {shift_in_words(net)} on average over layers and "
            f"heads; fewer than {LEAST_SUBJECTS} {few} are too few to tell that from "
            "chance."
        )
    if settled:
        return f"{start}, {_both_ways(settled)}. {CONTEXT}."
    whole = f"on average over layers and heads it changed by {shift_in_words(net)}"
    if shift.whole.is_settled:
        return f"{start}: {whole}; no single layer is told apart. {CONTEXT}."
    return f"{start}, moved in no layer beyond chance; {whole}."


def _both_ways(settled: Sequence[LayerShift]) -> str:
    ways = [
        ("rose", [one for one in settled if one.shift.net.estimate > 0]),
        ("fell", [one for one in settled if one.shift.net.estimate < 0]),
    ]
    return " and ".join(f"{verb} in {_layers(some)}" for verb, some in ways if some)


def _layers(some: Sequence[LayerShift]) -> str:
    """The layers that moved most, each with its number."""
    first = sorted(some, key=lambda one: -abs(one.shift.net.estimate))[:MOST_NAMED]
    told = ", ".join(
        f"layer {one.layer} by {shift_in_words(one.shift.net)}" for one in first
    )
    left = len(some) - len(first)
    return told + (f" and {left} more" if left else "")


def _answers(answers: AnswerShift, change: Interval) -> str:
    name = "the taught answer" if answers.taught is not None else "the answer"
    way = "more" if change.estimate > 0 else "less"
    return (
        f"{name} became {way} likely by {shift_in_words(change)} nats "
        f"({change.num} subjects; it rose on {answers.num_risen} of "
        f"{answers.num_prompts} prompts)"
    )
