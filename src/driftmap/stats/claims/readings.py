"""What is said of readings in a sentence, and how sure is it?

Readings describe: states and readings differ where something before them does. Only
that a state has not changed at all is a finding, since it is exact.
"""

from collections.abc import Iterator

from driftmap.results.claims import Claim, Standing
from driftmap.results.readings_change import LayerLevel, ReadingsChange, StateKind
from driftmap.results.statistics import Interval

NAMES: dict[StateKind, str] = {
    "hidden": "Hidden states",
    "keys": "Keys in the cache",
    "values": "Values in the cache",
}


def readings_claims(found: ReadingsChange) -> tuple[Claim, ...]:
    """Put what was found into sentences, each with its number.

    Args:
        found: What both models read.
    """
    if found.is_identical:
        return (_claim(identical_words(found), "not-found"),)
    return tuple(_claims(found))


def identical_words(found: ReadingsChange) -> str:
    """What is said where nothing differs."""
    num = max((len(one.texts) for one in found.means), default=0)
    return (
        f"Both models read alike: every state, key and value of {num} texts and "
        "prompts is equal, bit for bit."
    )


def first_words(found: ReadingsChange) -> str:
    """Up to which block nothing changes; empty where no state does."""
    layer = found.first_changed
    if layer is None:
        return ""
    if layer == 0:
        return "States differ from block 0 on."
    return (
        f"Before block {layer} every hidden state, key and value is equal, bit for "
        f"bit; states differ from block {layer} on."
    )


def _claims(found: ReadingsChange) -> Iterator[Claim]:
    first = first_words(found)
    if first:
        layer = found.first_changed
        yield Claim(
            topic="readings",
            says=first,
            # That something moved somewhere is the rule, that nothing did is exact.
            standing="found" if layer else "context",
            layers=(layer,) if layer else (),
        )
    for kind in ("hidden", "values", "keys"):
        yield from _most(found, kind)
    yield from _surprise(found)


def _most(found: ReadingsChange, kind: StateKind) -> Iterator[Claim]:
    """Where states of one kind lie farthest apart."""
    levels = [o for o in found.layers if o.kind == kind and o.source == "tuned"]
    if not levels:
        return
    top = max(levels, key=lambda one: one.relative.estimate)
    if top.relative.estimate == 0:
        yield _claim(f"{NAMES[kind]} do not change at all.", "not-found")
        return
    chance = next((o for o in found.layers if _is_chance_of(o, top)), None)
    told = ""
    if chance is not None:
        told = (
            f"; a random change of the same size per matrix gives "
            f"{_told(chance.relative)} there"
        )
    yield _claim(
        f"{NAMES[kind]} lie farthest apart in block {top.layer}: relative change "
        f"{_told(top.relative)}, {top.relative.num} texts and subjects{told}.",
        "context",
    )


def _is_chance_of(one: LayerLevel, top: LayerLevel) -> bool:
    same = one.kind == top.kind and one.layer == top.layer
    return same and one.source == "chance"


def _surprise(found: ReadingsChange) -> Iterator[Claim]:
    value = found.surprise.get("entropy")
    if value is None or value.num < 2:
        return
    signed = f"{value.estimate:+.3g} nats ({value.low:+.3g} to {value.high:+.3g})"
    if value.low > 0 or value.high < 0:
        surer = "less sure" if value.estimate > 0 else "surer"
        yield _claim(
            f"The tuned model is {surer} on texts: entropy per token {signed}, "
            f"{value.num} texts.",
            "context",
        )
    else:
        yield _claim(
            f"Whether the tuned model is surer on texts is not told apart from chance: "
            f"entropy per token {signed}, {value.num} texts.",
            "inconclusive",
        )


def _told(value: Interval) -> str:
    if value.num == 1:
        return f"{value.estimate:.3g}"
    return f"{value.estimate:.3g} ({value.low:.3g} to {value.high:.3g})"


def _claim(says: str, standing: Standing) -> Claim:
    return Claim(topic="readings", says=says, standing=standing)
