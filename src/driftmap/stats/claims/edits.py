"""What may be said of facts before and after tuning, and how sure is it?"""

from collections.abc import Iterator
from math import exp

from driftmap.results.claims import Claim, Standing
from driftmap.results.edits import EditMeasure, EditMeasureName, EditReport
from driftmap.results.statistics import Interval

MARGIN = 0.05
"""What counts: 5 points of a share, or .05 nats a token, 5 % of a perplexity."""

FEWEST = 6
"""Fewest records that can tell a change from none: five go one way by chance alone once
in 16, and no interval over them sees that."""

_LIKELIER = "the {new} answer is likelier than the true one"
_SAYS: dict[EditMeasureName, str] = {
    "efficacy": f"At the facts' own prompts {_LIKELIER}",
    "paraphrase": f"At their paraphrases {_LIKELIER}",
    "neighbourhood": "At prompts of others with the same true answer, this answer is "
    "likelier than the {new} one",
    "attribute": "At prompts of others whose answer the {new} one is, it is likelier "
    "than the true answer of the facts",
    "same subject first": "Of other facts of the same subjects the right answer is the "
    "first choice",
    "unrelated first": "Of unrelated facts the right answer is the first choice",
}
_RECORDS: dict[EditMeasureName, str] = {
    "same subject first": "subject",
    "unrelated first": "subject",
    "text surprise": "text",
}


def edits_claims(found: EditReport) -> tuple[Claim, ...]:
    """Say what changed, each sentence with its number, n and interval.

    The first one is about the taught facts themselves.
    """
    if found.is_identical:
        says = (
            "Base and tuned model say the same of all facts: no number of theirs "
            "differs."
        )
        return (Claim(topic="edits", says=says, standing="not-found"),)
    claims: list[Claim] = []
    for measure in found.measures:
        if measure.name in _SAYS:
            claims.append(_share(found, measure))
        if measure.name == "neighbourhood magnitude":
            claims.append(_lead(found, measure))
    return (*claims, *_text(found), *_unknown(found))


def standing_of(change: Interval) -> Standing:
    """Whether a paired change was found, found to be too small to count, or neither.

    Args:
        change: Of a share, or in nats.

    A change that is 0 on each of n records was seen on none of them; less than
    `MARGIN` of all can differ, with 95 % confidence, from 59 records on. Fewer
    than `FEWEST` records tell nothing.

    >>> def of(low, high, num):
    ...     return Interval(estimate=low, low=low, high=high, level=0.95, num=num)
    >>> standing_of(of(0.2, 0.4, 9)), standing_of(of(-0.01, 0.02, 9))
    ('found', 'not-found')
    >>> standing_of(of(0, 0, 9)), standing_of(of(0, 0, 59)), standing_of(of(1, 1, 1))
    ('inconclusive', 'not-found', 'context')
    >>> standing_of(of(0.2, 0.4, 5)), standing_of(of(0.2, 0.4, 6))
    ('inconclusive', 'found')
    """
    if change.num < 2:
        return "context"
    if change.num < FEWEST:
        return "inconclusive"
    if change.low > 0 or change.high < 0:
        return "found"
    if change.low == change.high:
        seldom = 1 - (1 - change.level) ** (1 / change.num)
        return "not-found" if seldom < MARGIN else "inconclusive"
    is_small = change.low > -MARGIN and change.high < MARGIN
    return "not-found" if is_small else "inconclusive"


def edits_verdict(found: EditReport) -> str:
    """All of it in one sentence, without a number."""
    if found.is_identical:
        return "The two models say the same of these facts."
    took, spread = found.measure("efficacy"), found.measure("paraphrase")
    assert took is not None, "every fact has its own prompt"
    new = _new(found)
    if standing_of(took.change) != "found":
        return (
            f"Whether the {new} answers gained on the true ones cannot be told from "
            f"{_records(took)}."
        )
    if took.change.estimate < 0:
        return f"The {new} answers lost against the true ones."
    some = "" if took.after.estimate >= 1 - MARGIN else "some "
    reach = f"took the place of {some}true ones{_reach(spread)}"
    return f"The {new} answers {reach}; {_spared(found)}."


def _new(found: EditReport) -> str:
    """What the other answer is called: that it was taught may not be known."""
    return "new" if found.is_taught else "other"


def _reach(spread: EditMeasure | None) -> str:
    if spread is None:
        return ", in other words than the prompts' own it is not known"
    kind = standing_of(spread.change)
    if kind == "found" and spread.change.estimate > 0:
        return ", also in other words"
    return ", in other words that cannot be told"


def _spared(found: EditReport) -> str:
    spared = found.measure("neighbourhood")
    lead = found.measure("neighbourhood magnitude")
    if spared is None or lead is None:
        return "whether others were spared is not known, as no fact has neighbours"
    kind = standing_of(spared.change)
    if kind == "found" and spared.change.low <= -MARGIN:
        return "some others with the same true answer lost theirs as well"
    if kind == "found" and spared.change.estimate < 0:
        return "others with the same true answer kept theirs but for a few"
    if standing_of(lead.change) == "found" and lead.change.low <= -MARGIN:
        return "others with the same true answer are less sure of theirs"
    if kind == "not-found":
        return "others with the same true answer kept theirs"
    return "whether others with the same true answer kept theirs cannot be told"


def _share(found: EditReport, measure: EditMeasure) -> Claim:
    change = measure.change
    standing = standing_of(change)
    says = (
        f"{_SAYS[measure.name].format(new=_new(found))} in "
        f"{_percent(measure.after.estimate)} of cases, "
        f"{_percent(measure.before.estimate)} before: {_doubt(change)}"
        f"{_points(change, _records(measure))}."
    )
    return Claim(topic="edits", says=says, standing=standing)


def _lead(found: EditReport, measure: EditMeasure) -> Claim:
    """By how much neighbours' answer is ahead: shares change once it is lost."""
    change = measure.change
    standing = standing_of(change)
    says = (
        f"At those others' prompts the true answer is ahead of the {_new(found)} one "
        f"by {measure.after.estimate:.2f} of probability, "
        f"{measure.before.estimate:.2f} before: {_doubt(change)}"
        f"{_signed(change.estimate, 2)} ({_range(change)}{_records(measure)})."
    )
    return Claim(topic="edits", says=says, standing=standing)


def _doubt(change: Interval) -> str:
    standing = standing_of(change)
    if standing == "inconclusive":
        few = "on so few " if change.num < FEWEST else ""
        return f"{few}a change cannot be told from none, "
    return "no change that counts, " if standing == "not-found" else ""


def _text(found: EditReport) -> Iterator[Claim]:
    measure = found.measure("text surprise")
    if measure is None:
        return
    change = measure.change
    standing = standing_of(change)
    before, after = exp(measure.before.estimate), exp(measure.after.estimate)
    says = (
        f"Perplexity of unrelated texts is {after:.3g}, {before:.3g} before: "
        f"{_doubt(change)}{_signed(change.estimate, 2)} nats a token "
        f"({_range(change)}{_records(measure)})."
    )
    yield Claim(topic="edits", says=says, standing=standing)


def _unknown(found: EditReport) -> Iterator[Claim]:
    if "neighbourhood" in found.missing:
        yield Claim(
            topic="edits",
            says="Whether other subjects with the same true answer keep it is not "
            f"known: {found.missing['neighbourhood']}.",
            standing="context",
        )


def _points(change: Interval, records: str) -> str:
    if change.low == change.high == 0:
        return f"none on any of {records}" if change.num > 1 else f"none ({records})"
    low, middle, high = (
        _signed(100 * one, 0) for one in (change.low, change.estimate, change.high)
    )
    inner = f"95 % interval {low} to {high}, " if change.num > 1 else ""
    return f"{middle} points ({inner}{records})"


def _range(change: Interval) -> str:
    low, high = _signed(change.low, 2), _signed(change.high, 2)
    return f"95 % interval {low} to {high}, " if change.num > 1 else ""


def _signed(value: float, digits: int) -> str:
    """A number with its sign; nothing has none.

    >>> _signed(2.4, 0), _signed(-0.2, 0), _signed(-0.256, 2)
    ('+2', '0', '-0.26')
    """
    rounded = round(value, digits)
    return f"{rounded:+.{digits}f}" if rounded else "0"


def _records(measure: EditMeasure) -> str:
    noun = _RECORDS.get(measure.name, "fact")
    num = measure.change.num
    return f"{num:,} {noun}" + ("" if num == 1 else "s")


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
