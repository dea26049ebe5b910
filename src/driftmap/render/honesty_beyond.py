"""What else does the direction tell, and what does moving states along it do?"""

from collections.abc import Iterator, Sequence
from math import nan

from driftmap.render.bands import banded
from driftmap.render.charts import Cloud, Line, Lines, Points, Ranges
from driftmap.render.honesty_words import NOT_TRUTH, TRANSFERS, area, several
from driftmap.render.page import (
    Figure,
    Folded,
    Grid,
    Node,
    Paragraph,
    Section,
)
from driftmap.render.wording import number
from driftmap.results.honesty import HonestyResult, SteeringPoint, UnitResponse
from driftmap.results.statistics import Interval
from driftmap.stats.honesty_verdict import layers_words, rate

MOST_UNITS = 20
"""Neurons and heads that a table lists."""


def transfer_sections(result: HonestyResult) -> Iterator[Section]:
    """What the score was tried on that it was not made for."""
    if not result.transfers:
        return
    nodes: list[Node] = [
        Paragraph(
            text=f"Numbers usually drop here, and the drop is the result. {NOT_TRUTH}"
        ),
        *_transfer_figures(result),
        _transfer_table(result),
    ]
    yield Section(anchor="transfer", title="Beyond its instruction", nodes=nodes)


def steering_sections(result: HonestyResult) -> Iterator[Section]:
    """Curves of the model steered along the direction, beside blind ones."""
    if not result.steering:
        return
    opening = (
        f"States of {layers_words(result.steered_layers)} are moved along the "
        "direction, by a number of spreads; below 0 towards the dishonest side. Blind "
        "directions of equal length show what moving states does anyway. An effect: "
        "something was changed and the outcome read."
    )
    figures = [
        _curve(result, "log-odds", "log-odds of true against false answers (nats)"),
        _curve(result, "p-true", "true answer (probability)"),
        _curve(result, "share-true", "true answer likelier (share)"),
    ]
    figures = [figure for figure in figures if figure is not None]
    nodes: list[Node] = [Paragraph(text=opening)]
    if not figures:
        nodes.append(Paragraph(text="No questions were asked: only the price is read."))
    nodes += figures
    nodes.append(_price(result))
    nodes.append(_table(result))
    yield Section(anchor="steering", title="Moving states along it", nodes=nodes)


def unit_sections(result: HonestyResult) -> Iterator[Section]:
    """Neurons and heads that act otherwise under the two instructions."""
    units = result.units
    if not units:
        return
    looked = ", ".join(f"{n:,} {kind}s" for kind, n in result.counts.units.items())
    figure = Figure(
        name="units",
        title="Neurons and heads: difference on training and on held-out statements",
        reading="Mean difference honest minus dishonest over its spread between "
        f"statements. Ranked on training among {looked}; the largest of many shrink on "
        "held-out statements, because being the largest is partly luck. What chance "
        "gives: 0, dotted. What it does not show: that the model uses them.",
        chart=Points(
            x_title="difference in training (spreads)",
            y_title="difference held out (spreads)",
            clouds=[_cloud(units, "neuron"), _cloud(units, "head")],
            level=0.0,
        ),
    )
    yield Section(
        anchor="units",
        title="Which units differ",
        nodes=[figure, _units_table(units)],
    )


def _transfer_figures(result: HonestyResult) -> Iterator[Figure]:
    seen = [(one, one.auroc) for one in result.transfers if one.auroc is not None]
    if not seen:
        return
    yield Figure(
        name="transfer",
        title="The score on what it was not made for",
        reading="How often the first kind scores above the second (AUROC), with 95 % "
        "intervals over statements. What chance gives: 0.5, dotted. What it does not "
        "show: why it drops.",
        chart=Ranges(
            x_title="AUROC",
            names=[TRANSFERS[one.name] for one, _ in seen],
            estimates=[value.estimate for _, value in seen],
            lows=[value.low for _, value in seen],
            highs=[value.high for _, value in seen],
            reference=0.5,
            roles=["q"] * len(seen),
        ),
    )


def _transfer_table(result: HonestyResult) -> Grid:
    return Grid(
        caption="On test statements, with the layers chosen on validation. `–`: not "
        "available, for the reason given.",
        columns=("tried on", "asked", "AUROC", "pairs told apart", "why not"),
        rows=[
            (
                TRANSFERS[one.name],
                one.asked,
                area(one.auroc),
                "–" if one.pair_accuracy is None else rate(one.pair_accuracy),
                one.missing or "",
            )
            for one in result.transfers
        ],
        align_right=frozenset({2, 3}),
    )


def _curve(result: HonestyResult, name: str, title: str) -> Figure | None:
    lines = _lines(result, name)
    if not lines:
        return None
    return Figure(
        name=f"steering-{name}",
        title=f"Steered: {title}",
        reading="Band: 95 % interval over questions. Thin: single blind directions, "
        "and their mean. What chance gives: the blind directions. What it does not "
        "show: that answers are honest; the true answer became likelier or not.",
        chart=Lines(
            x_title="strength (spreads)",
            y_title=title,
            lines=lines,
            y_ends=None if name == "log-odds" else (0.0, 1.0),
        ),
    )


def _lines(result: HonestyResult, name: str) -> list[Line]:
    strengths = sorted({point.strength for point in result.steering})
    found = {
        (point.along, point.number, point.strength): value
        for point in result.steering
        if (value := _outcome(point, name)) is not None
    }
    if not found:
        return []
    numbers = sorted({n for along, n, _ in found if along == "random"})
    own = [found.get(("reading", 0, strength)) for strength in strengths]
    lines = [banded("along the direction", strengths, own, "q")]
    threads = [[_estimate(found, n, strength) for strength in strengths]
               for n in numbers]  # fmt: skip
    if threads:
        lines.append(
            Line(
                name=f"blind directions ({len(threads)})",
                x=strengths,
                y=[sum(column) / len(column) for column in zip(*threads, strict=True)],
                threads=threads,
                role="random",
            )
        )
    return lines


def _estimate(
    found: dict[tuple[str, int, float], Interval], number: int, strength: float
) -> float:
    value = found.get(("random", number, strength))
    if value is None and strength == 0:
        value = found.get(("reading", 0, strength))
    return nan if value is None else value.estimate


def _outcome(point: SteeringPoint, name: str) -> Interval | None:
    by_name = {"log-odds": point.log_odds, "p-true": point.p_true}
    return by_name.get(name, point.share_true)


def _price(result: HonestyResult) -> Figure:
    strengths = sorted({point.strength for point in result.steering})
    lines = []
    for along, title, role in (
        ("reading", "along the direction", "q"),
        ("random", "blind directions, mean", "random"),
    ):
        points = [point for point in result.steering if point.along == along]
        seen = [s for s in strengths if any(point.strength == s for point in points)]
        if not seen:
            continue
        means = []
        for strength in seen:
            there = [point.perplexity for point in points if point.strength == strength]
            means.append(sum(there) / len(there))
        lines.append(Line(name=title, x=seen, y=means, role=role))
    return Figure(
        name="steering-perplexity",
        title="Steered: perplexity of text that has nothing to do with it",
        reading="The price: where it grows, the model is damaged and not only steered. "
        "What chance gives: the blind directions.",
        chart=Lines(
            x_title="strength (spreads)", y_title="perplexity", lines=lines, is_log=True
        ),
    )


def _table(result: HonestyResult) -> Folded:
    grid = Grid(
        caption="Every point, with 95 % intervals over questions.",
        columns=(
            "along", "strength", "log-odds (nats)", "p(true answer)", "true likelier",
            "perplexity",
        ),
        rows=[
            (
                "the direction" if p.along == "reading" else f"blind {p.number + 1}",
                f"{p.strength:+g}",
                area(p.log_odds),
                area(p.p_true),
                "–" if p.share_true is None else rate(p.share_true),
                number(p.perplexity),
            )
            for p in result.steering
        ],
        align_right=frozenset(range(1, 6)),
    )  # fmt: skip
    return Folded(summary="Every number of these curves", nodes=[grid])


def _cloud(units: Sequence[UnitResponse], kind: str) -> Cloud:
    mine = [one for one in units if one.kind == kind]
    return Cloud(
        name=f"{kind}s",
        x=[one.train_effect for one in mine],
        y=[one.held_out_effect for one in mine],
        labels=[f"{kind} {one.unit} of layer {one.layer}" for one in mine],
        role="mlp" if kind == "neuron" else "attention",
    )


def _units_table(units: Sequence[UnitResponse]) -> Grid:
    shown = units[:MOST_UNITS]
    more = f" The first {len(shown)} of {several(len(units), 'unit')}."
    return Grid(
        caption="Ranked by the difference in training, reported on held-out "
        "statements. `p`, corrected for all units that are tested (Benjamini-Hochberg)."
        + (more if len(units) > len(shown) else ""),
        columns=(
            "unit", "layer", "number", "in training", "held out",
            "held out, difference", "p", "corrected",
        ),
        rows=[
            (
                one.kind,
                str(one.layer),
                str(one.unit),
                f"{one.train_effect:+.2f}",
                f"{one.held_out_effect:+.2f}",
                area(one.held_out),
                number(one.p_value),
                number(one.p_adjusted),
            )
            for one in shown
        ],
        align_right=frozenset(range(1, 8)),
    )  # fmt: skip
