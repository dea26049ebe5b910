"""In which layers, parts and tokens does the change act?"""

from collections.abc import Iterator, Sequence
from math import nan

from driftmap.render.bands import banded
from driftmap.render.charts import Line, Lines
from driftmap.render.compare_crossing import cross_nodes, trace_nodes
from driftmap.render.page import (
    Callout,
    Figure,
    Folded,
    Grid,
    Node,
    Paragraph,
    Row,
    Section,
)
from driftmap.render.token_charts import Bar, Bars
from driftmap.render.trace_words import several
from driftmap.render.wording import interval
from driftmap.results.statistics import Interval
from driftmap.results.where_it_acts import MixPoint, SwapShare, WhereItActs
from driftmap.stats.claims.where import behaviour_words, where_claims

CAUTION = (
    "Where a change acts, or where a trace peaks, does not tell where editing works "
    "best: localisation explains almost none of the variation in how well edits of a "
    "layer succeed (Hase et al. 2023, arXiv:2301.04213). Layers named here are named "
    "for what was measured, and nothing is chosen by them."
)

SHORT = (
    "Layers that count here need not be those where editing works best "
    "(arXiv:2301.04213)."
)
"""The same in a sentence, beside every list of layers."""

NEEDED, ENOUGH = "needed: lost without it", "enough: brought by it alone"
ROLES = {NEEDED: "difference", ENOUGH: "matched"}

READING = (
    "What was changed: weights of one place were exchanged between the two models. "
    "Needed: the base's in the tuned model; the share of the new behaviour that is "
    "lost. Enough: the tuned model's in the base; the share that comes with it alone. "
    "1 is all that tuning did, 0 is what a place does whose weights did not change. "
    "What it does not show: where else the same could have been learned."
)


def where_section(found: WhereItActs) -> Section:
    """Draw where the change acts.

    Args:
        found: What was exchanged, mixed and traced.
    """
    nodes: list[Node] = []
    said = [claim.says for claim in where_claims(found)]
    nodes.append(Callout(kind="note", title="What these numbers say", texts=said))
    if not found.identical and found.gap is not None:
        nodes.append(Paragraph(text=_asked(found)))
        nodes.append(Callout(kind="caution", title="About layers", texts=[CAUTION]))
        nodes += _swap_nodes(found)
        nodes += _curve_nodes(found)
        nodes += cross_nodes(found, SHORT)
        nodes += trace_nodes(found, SHORT)
    return Section(anchor="where", title="Where the change acts", nodes=nodes)


def _asked(found: WhereItActs) -> str:
    """What the new behaviour is, and of how many prompts it is read."""
    num = several(found.num_asked, "prompt")
    base, tuned = interval(found.nll_base), interval(found.nll_tuned)
    if found.behaviour == "taught answers":
        what = f"{num} with the taught answer after them"
    else:
        what = (
            f"{num} to which the two say different things, with the first words of "
            f"the tuned model after them (to {found.num_same:,} more both say the same)"
        )
    left = "".join(
        f" Left out: {why} ({num:,})." for why, num in found.left_out.items()
    )
    return (
        f"The new behaviour is read off {what}: its NLL, mean over its tokens, is "
        f"{base} nats in the base and {tuned} in the tuned model. A share is a ratio "
        "of sums over prompts; intervals draw subjects or requests anew, 95 %." + left
    )


def _swap_nodes(found: WhereItActs) -> Iterator[Node]:
    if not found.shares_formed:
        yield Paragraph(
            text="No share is formed: the NLL of the new behaviour is not surely lower "
            "in the tuned model, and what hardly differs cannot be shared out."
        )
        return
    yield _layers(found, "layer", "swap-layers", "Exchanging one layer at a time")
    yield Paragraph(text=_sums(found))
    others = [*found.of_kind("part"), *found.of_kind("outside")]
    if others:
        yield _bars(
            others,
            "swap-parts",
            "Exchanging a part of all layers, or what lies outside them",
            "part",
        )
    halves = found.of_kind("half")
    if halves:
        yield _bars(
            halves,
            "swap-halves",
            "Exchanging attention or MLP of one layer",
            "half of a layer",
        )
    windows: list[Node] = []
    if found.of_kind("window"):
        windows = [
            _layers(
                found, "window", "swap-windows", "Exchanging layers next to each other"
            )
        ]
    yield Folded(
        summary="Every exchange, and windows of layers", nodes=[*windows, _table(found)]
    )


def _sums(found: WhereItActs) -> str:
    needed, enough = found.sum_needed or 0.0, found.sum_enough or 0.0
    return (
        f"Over single layers the shares add to {needed:.2f} (needed) and {enough:.2f} "
        "(enough). They need not add to 1: less than 1 needed says that layers stand "
        "in for each other, more than 1 enough that several do the same. "
        f"{SHORT}"
    )


def _layers(found: WhereItActs, kind: str, name: str, title: str) -> Figure:
    swaps = [swap for swap in found.swaps if swap.kind == kind]
    places = [float(swap.layers[0]) for swap in swaps]
    first = "layer" if kind == "layer" else "first layer of the window"
    reading = READING if kind == "layer" else "As for single layers above."
    return Figure(
        name=name,
        title=f"{title}: share of {behaviour_words(found)}",
        reading=f"{reading} Bands: 95 % intervals. {SHORT}",
        chart=Lines(
            x_title=first,
            y_title="share (0 to 1)",
            lines=[
                _line(NEEDED, places, [swap.needed for swap in swaps]),
                _line(ENOUGH, places, [swap.enough for swap in swaps]),
            ],
        ),
    )


def _line(
    name: str, places: Sequence[float], values: Sequence[Interval | None]
) -> Line:
    return banded(name, places, values, ROLES[name])


def _bars(swaps: Sequence[SwapShare], name: str, title: str, place: str) -> Figure:
    def bar(label: str, values: Sequence[Interval | None]) -> Bar:
        return Bar(
            name=label,
            values=[nan if v is None else v.estimate for v in values],
            lows=[nan if v is None else v.low for v in values],
            highs=[nan if v is None else v.high for v in values],
            role=ROLES[label],
        )

    return Figure(
        name=name,
        title=title,
        reading="As for single layers above. Whiskers: 95 % intervals. " + SHORT,
        chart=Bars(
            x_labels=[swap.name for swap in swaps],
            x_title=place,
            y_title="share (0 to 1)",
            bars=[
                bar(NEEDED, [swap.needed for swap in swaps]),
                bar(ENOUGH, [swap.enough for swap in swaps]),
            ],
        ),
    )


def _table(found: WhereItActs) -> Grid:
    return Grid(
        caption="Share of the new behaviour by exchanged place, with 95 % intervals, "
        f"and intervals that hold for all places of its kind at once. {SHORT}",
        columns=[
            "place",
            "weights differ",
            "needed",
            "for all at once",
            "enough",
            "for all at once",
        ],
        rows=[
            [
                swap.name,
                "yes" if swap.changed else "no",
                interval(swap.needed),
                interval(swap.needed_corrected),
                interval(swap.enough),
                interval(swap.enough_corrected),
            ]
            for swap in found.swaps
        ],
        align_right=frozenset({2, 3, 4, 5}),
    )


def _curve_nodes(found: WhereItActs) -> Iterator[Node]:
    """NLL of both behaviours along the way, and what becomes of neighbours."""
    curve = found.curve
    if not curve:
        return
    new, old = ("new answer", "old answer")
    if found.behaviour == "own words":
        new, old = ("what the tuned model says", "what the base says")
    nats = Figure(
        name="interpolation",
        title="Between the two models: NLL of the new and the old behaviour",
        reading="What was changed: all weights at once are base + a (tuned - base); of "
        "an adapter the scale is multiplied by a. a = 0 is the base, a = 1 the tuned "
        "model, beyond 1 the change is stretched. Bands: 95 % intervals. What it does "
        "not show: that models in between were ever trained.",
        chart=Lines(
            x_title="a",
            y_title="NLL per token (nats)",
            y_from_zero=True,
            lines=[
                _along(curve, new, [p.nll_new for p in curve], "difference"),
                _along(curve, old, [p.nll_old for p in curve], "matched"),
            ],
        ),
    )
    near = [point.neighbourhood for point in curve]
    kept = [one for one in near if one is not None]
    if len(kept) < len(curve):
        yield nats
        return
    yield Row(figures=[nats, _neighbours(curve, kept)])


def _neighbours(curve: Sequence[MixPoint], kept: Sequence[Interval]) -> Figure:
    return Figure(
        name="interpolation-neighbours",
        title="Between the two models: neighbours left alone",
        reading="Prompts about other subjects with the same true answer: the share "
        "where it stays likelier than the new one. Band: 95 % interval.",
        chart=Lines(
            x_title="a",
            y_title="share of prompts (0 to 1)",
            y_ends=(0.0, 1.0),
            lines=[_along(curve, "neighbourhood", kept, "utility")],
        ),
    )


def _along(
    curve: Sequence[MixPoint], name: str, values: Sequence[Interval], role: str
) -> Line:
    return banded(name, [point.share for point in curve], values, role)
