"""What may a comparison say about where a change acts?

A layer is named where the interval of its share, wide enough to hold for all layers at
once, lies above a tenth of the new behaviour; none is said to carry it where all such
intervals lie below.
"""

from collections.abc import Callable, Iterator, Sequence

from driftmap.results.claims import Claim
from driftmap.results.statistics import Interval
from driftmap.results.trace_kinds import TokenRole
from driftmap.results.traces import RoleLayer
from driftmap.results.where_it_acts import (
    CrossTrace,
    SwapShare,
    TraceChange,
    WhereItActs,
)
from driftmap.stats.trace_verdict import FEWEST_SUBJECTS
from driftmap.stats.where import LEAST_GAP, MARGIN

MOST_NAMED = 3
"""Layers that a sentence gives numbers of."""


def where_claims(found: WhereItActs) -> tuple[Claim, ...]:
    """Say which layers carry the new behaviour, and where it enters.

    Args:
        found: What was exchanged, mixed and traced.
    """
    if found.identical:
        says = "The two models have the same weights: nothing acts anywhere."
        return (Claim(topic="where", says=says, standing="not-found"),)
    if found.refused:
        says = f"Where the change acts cannot be told: {found.refused}."
        return (Claim(topic="where", says=says, standing="inconclusive"),)
    if found.gap is None:
        return (Claim(topic="where", says=_nothing_asked(found), standing="not-found"),)
    claims = [_gained(found, found.gap)]
    if found.shares_formed:
        claims += [_needed(found), _enough(found)]
    for cross in found.crosses:
        if cross.direction == "tuned into base" and found.shares_formed:
            claims += _enters(found, cross, found.gap)
    return (*claims, *_traces(found))


def behaviour_words(found: WhereItActs) -> str:
    """What the new behaviour is, as a subject of sentences."""
    if found.behaviour == "taught answers":
        return "the taught answers"
    return "what the tuned model says"


def _nothing_asked(found: WhereItActs) -> str:
    if found.num_same:
        return (
            f"Both models say the same to all {found.num_same} requests, so there is "
            "no new behaviour to follow."
        )
    return "Nothing was asked that could tell where the change acts."


def _gained(found: WhereItActs, gap: Interval) -> Claim:
    what, nats = behaviour_words(found), _interval(gap)
    said = f"Tuning changed the NLL of {what} by {-gap.estimate:.2f} nats per token"
    if found.shares_formed:
        lowered = (
            f"Tuning lowered the NLL of {what} by {nats} nats per token, n = {gap.num}"
        )
        # Prompts may be chosen for it, and it says nothing of places.
        return Claim(topic="where", says=f"{lowered}.", standing="context")
    return Claim(
        topic="where",
        says=f"{said} (lowered by {nats}, n = {gap.num}): not surely by more than "
        f"{LEAST_GAP}, so there is nothing whose share a layer could have.",
        standing="not-found" if gap.high < LEAST_GAP else "inconclusive",
    )


def _needed(found: WhereItActs) -> Claim:
    layers = found.of_kind("layer")
    return _named(
        layers,
        lambda swap: swap.needed_corrected,
        named="With single layers of the base put into the tuned model, more than a "
        "tenth of the new behaviour is lost: {layers}",
        none="No single layer is needed: with any one layer of the base put into the "
        "tuned model, less than a tenth of the new behaviour is lost, at most {most}",
        unsure="Whether a single layer is needed is not settled: the most is lost with "
        "{best}, and at a tenth the line is not clear",
    )


def _enough(found: WhereItActs) -> Claim:
    layers = found.of_kind("layer")
    return _named(
        layers,
        lambda swap: swap.enough_corrected,
        named="Alone in the base, single layers bring more than a tenth of the new "
        "behaviour: {layers}",
        none="No single layer is enough: alone in the base, each brings less than a "
        "tenth of the new behaviour, at most {most}",
        unsure="Whether a single layer is enough is not settled: the most comes by "
        "{best}, and at a tenth the line is not clear",
    )


def _named(
    layers: Sequence[SwapShare],
    read: Callable[[SwapShare], Interval | None],
    *,
    named: str,
    none: str,
    unsure: str,
) -> Claim:
    """A sentence of the layers whose interval lies above a tenth, or of none."""
    read_of = [(swap, one) for swap in layers if (one := read(swap)) is not None]
    known = sorted(read_of, key=lambda pair: -pair[1].estimate)
    num = known[0][1].num
    corrected = f"n = {num}, intervals hold for all {len(layers)} layers at once"
    carrying = [(swap, one) for swap, one in known if one.low > MARGIN]
    words = {
        "layers": _listed(carrying),
        "best": _listed(known[:1]),
        "most": _interval(known[0][1]),
    }
    if num < FEWEST_SUBJECTS:
        few = f"; {num} of them are too few to say how it varies"
        says = unsure.format(**words) + f" (n = {num}{few})."
        return Claim(topic="where", says=says, standing="inconclusive")
    if carrying:
        return Claim(
            topic="where",
            says=f"{named.format(**words)}; {corrected}.",
            standing="found",
            layers=tuple(sorted(n for swap, _ in carrying for n in swap.layers)),
        )
    if all(one.high < MARGIN for _, one in known):
        says = f"{none.format(**words)}; {corrected}."
        return Claim(topic="where", says=says, standing="not-found")
    says = f"{unsure.format(**words)}; {corrected}."
    return Claim(topic="where", says=says, standing="inconclusive")


def _listed(pairs: Sequence[tuple[SwapShare, Interval]]) -> str:
    """Names with their shares; of many the rest by name alone."""
    told = [f"{swap.name} with {_interval(one)}" for swap, one in pairs[:MOST_NAMED]]
    rest = sorted(n for swap, _ in pairs[MOST_NAMED:] for n in swap.layers)
    if rest:
        many = "layer" if len(rest) == 1 else "layers"
        told.append(f"and less with {many} {', '.join(map(str, rest))}")
    return ", ".join(told)


def _enters(found: WhereItActs, cross: CrossTrace, gap: Interval) -> Iterator[Claim]:
    """From which layer on the last token has it, and whether earlier tokens do."""
    effects = next((one for one in cross.effects if one.kind == "hidden"), None)
    if effects is None or effects.total_effect.low <= 0:
        return
    whole = effects.total_effect.estimate
    first = _first_to_stay(_cells(cross, "last"), whole / 2)
    best = max(
        (c for c in effects.cells if c.role in _EARLIER),
        key=lambda c: c.effect.estimate,
        default=None,
    )
    num = min(first.effect.num, gap.num) if first is not None else 0
    if first is None or num < FEWEST_SUBJECTS:
        return
    says = (
        f"Put into the base's run, the tuned model's state at the last token brings "
        f"more than half of the {whole:.2f} that the new answer gains from layer "
        f"{first.layer} on, {_interval(first.effect)}"
    )
    if best is not None:
        says += (
            f"; at any token of the {found.span} one state brings at most "
            f"{_interval(best.effect)}, at the {best.role} token in layer {best.layer}"
        )
    yield Claim(
        topic="where",
        says=f"{says}; n = {first.effect.num}.".replace(
            "subject token", f"{found.span} token"
        ),
        standing="found",
        layers=(first.layer,),
    )


def _first_to_stay(cells: Sequence[RoleLayer], least: float) -> RoleLayer | None:
    """The first layer from which on every one surely brings so much."""
    found = None
    for cell in sorted(cells, key=lambda one: -one.layer):
        if cell.effect.low <= least:
            break
        found = cell
    return found


_EARLIER: tuple[TokenRole, ...] = ("first subject", "middle subject", "last subject")


def _cells(cross: CrossTrace, role: TokenRole) -> list[RoleLayer]:
    return [
        cell
        for one in cross.effects
        if one.kind == "hidden"
        for cell in one.cells
        if cell.role == role
    ]


def _traces(found: WhereItActs) -> Iterator[Claim]:
    for change in found.traces:
        if change.kind == "hidden":
            yield _total(change)
    for shift in found.shifts:
        if shift.kind != "hidden" or shift.below_ceiling is None:
            continue
        below, ceiling = shift.below_ceiling, shift.ceiling
        assert ceiling is not None
        is_moved = below.low > 0 and below.num >= FEWEST_SUBJECTS
        verdict = (
            "are not those that the old one was read from"
            if is_moved
            else "are not shown to differ from those of the old one"
        )
        yield Claim(
            topic="traces",
            says=f"The layers that the new answer is read from {verdict}: profiles at "
            f"the last subject token agree by {_interval(shift.likeness)}, other noise "
            f"alone gives {_interval(ceiling)}; lower by {_interval(below)}, n = "
            f"{below.num}.",
            standing="found" if is_moved else "inconclusive",
        )


def _total(change: TraceChange) -> Claim:
    """What disturbing the subject costs an answer, before and after."""
    apart = change.difference.total_effect
    is_sure = (apart.low > 0 or apart.high < 0) and apart.num >= FEWEST_SUBJECTS
    told = "" if is_sure else ", which is not significant"
    return Claim(
        topic="traces",
        says=f"Disturbing the subject costs the {change.answer} answer "
        f"{_interval(change.before.total_effect)} before and "
        f"{_interval(change.after.total_effect)} after tuning (difference "
        f"{_interval(apart)}, n = {apart.num}{told}).",
        standing="found" if is_sure else "inconclusive",
    )


def _interval(value: Interval) -> str:
    """An estimate with its interval.

    >>> _interval(Interval(estimate=1.2, low=1.1, high=1.31, level=0.95, num=3))
    '1.20 (1.10 to 1.31)'
    >>> _interval(Interval(estimate=-0.001, low=-0.004, high=0.0, level=0.95, num=3))
    '0.00 (0.00 to 0.00)'
    """
    told = (f"{one + 0.0:.2f}" for one in (value.estimate, value.low, value.high))
    estimate, low, high = ("0.00" if one == "-0.00" else one for one in told)
    return f"{estimate} ({low} to {high})"
