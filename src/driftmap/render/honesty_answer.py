"""Can the instruction be read from states, layer by layer? The top of the page."""

from collections.abc import Iterator, Sequence
from typing import get_args

from driftmap.core.quoted import quoted
from driftmap.render.bands import banded
from driftmap.render.charts import Line, Lines
from driftmap.render.honesty_words import (
    CAUTION_TITLES,
    METHOD_COLOURS,
    METHODS,
    NOT_TRUTH,
    area,
    several,
)
from driftmap.render.page import (
    Callout,
    Facts,
    Figure,
    Folded,
    Grid,
    Node,
    Paragraph,
    Section,
)
from driftmap.results.honesty import Half, HonestyResult, LayerEvidence, ReadingMethod
from driftmap.results.honesty_study import HonestyFindings, HonestyVerdictKind
from driftmap.results.statistics import Caution, Interval
from driftmap.stats.honesty_verdict import layers_words, points, rate

TITLES: dict[HonestyVerdictKind, str] = {
    "read": "The instruction can be read from the states",
    "not selective": "It can be read, but meaningless labels can as well",
    "chance": "The instruction is not told apart from chance",
    "inconclusive": "These numbers give no answer",
}

MEANINGS: dict[HonestyVerdictKind, str] = {
    "read": "States of statements that the direction was not made of lie on the side "
    "of the instruction they were read under.",
    "not selective": "A method that does as well where labels mean nothing shows its "
    "own capacity and not what the model represents.",
    "chance": "Scores and colours below mean nothing for this model and these words.",
    "inconclusive": "Nothing here says what the states hold, or what they do not.",
}


def answer_section(found: HonestyFindings) -> Section:
    """The verdict, what it may not be taken for, accuracy by layer, and doubts."""
    verdict, result = found.verdict, found.result
    nodes: list[Node] = [
        Callout(kind="verdict", title=TITLES[verdict.kind], texts=[verdict.sentence]),
        Paragraph(text=MEANINGS[verdict.kind]),
    ]
    if verdict.settles:
        nodes.append(Paragraph(text=f"What would settle it: {verdict.settles}"))
    nodes.append(Callout(kind="caution", title="Not truth", texts=[NOT_TRUTH]))
    nodes += _figures(result)
    nodes.append(_facts(result))
    nodes += _cautions(found.cautions)
    return Section(anchor="answer", title="The answer", nodes=nodes)


def layers_section(result: HonestyResult) -> Section:
    """Every method against each other, and every number."""
    methods = _methods(result)
    nodes: list[Node] = []
    if len(methods) > 1:
        nodes.append(_methods_figure(result, methods))
    nodes += [_table(result, method) for method in methods]
    return Section(anchor="layers", title="Layer by layer", nodes=nodes)


def held_out(result: HonestyResult, method: ReadingMethod) -> list[LayerEvidence]:
    """What one method does on test, by layer."""
    mine = [e for e in result.evidence if (e.method, e.half) == (method, "test")]
    return sorted(mine, key=lambda one: one.layer)


def _figures(result: HonestyResult) -> Iterator[Figure]:
    rows = held_out(result, result.method)
    if not rows:
        return
    chosen = layers_words(result.band.layers)
    yield Figure(
        name="accuracy-by-layer",
        title="Pairs told apart on held-out statements, by layer",
        reading="What was done: a direction was found on training statements "
        f"({METHODS[result.method]}) and tried on test statements. Bands: 95 % "
        "intervals over statements; of blind directions, where 95 % of them lie. What "
        "chance gives: 0.5, and what the same method reaches on labels that mean "
        f"nothing. Read from the layers chosen on validation: {chosen}. What it does "
        "not show: that the model uses what can be read.",
        chart=Lines(
            x_title="layer",
            y_title="pair accuracy (share)",
            lines=[
                _line("held out", rows, [e.pair_accuracy for e in rows], "q"),
                _line(
                    "labels shuffled by pair",
                    rows,
                    [e.control_accuracy for e in rows],
                    "gate",
                ),
                _line(
                    "one random label per statement",
                    rows,
                    [e.statement_control for e in rows],
                    "up",
                ),
                _line(
                    "blind directions",
                    rows,
                    [e.random_accuracy for e in rows],
                    "random",
                ),
            ],
            y_ends=(0.0, 1.0),
        ),
    )


def _line(
    name: str, rows: Sequence[LayerEvidence], values: Sequence[Interval], role: str
) -> Line:
    return banded(name, [one.layer for one in rows], values, role)


def _methods(result: HonestyResult) -> list[ReadingMethod]:
    """Methods with held-out numbers, that of the band first."""
    named: list[ReadingMethod] = list(dict.fromkeys(e.method for e in result.evidence))
    return sorted(named, key=lambda method: method != result.method)


def _methods_figure(result: HonestyResult, methods: Sequence[ReadingMethod]) -> Figure:
    lines = []
    for method in methods:
        rows = held_out(result, method)
        values = [one.pair_accuracy for one in rows]
        lines.append(_line(METHODS[method], rows, values, METHOD_COLOURS[method]))
    return Figure(
        name="methods-by-layer",
        title="Ways of finding the direction, on the same held-out statements",
        reading="Bands: 95 % intervals over statements. What chance gives: 0.5. A "
        "method was chosen before these numbers were seen. What it does not show: "
        "which is better elsewhere.",
        chart=Lines(
            x_title="layer",
            y_title="pair accuracy (share)",
            lines=lines,
            y_ends=(0.0, 1.0),
        ),
    )


def _table(result: HonestyResult, method: ReadingMethod) -> Folded:
    grid = Grid(
        caption=f"{METHODS[method].capitalize()}, on test statements, with 95 % "
        "intervals over statements. `selectivity`: pairs told apart, minus the same "
        "with labels shuffled by pair. `learnt by heart`: training accuracy on random "
        "labels of statements.",
        columns=(
            "layer", "pairs told apart", "AUROC", "shuffled labels", "selectivity",
            "random labels", "learnt by heart", "blind directions",
        ),
        rows=[
            (
                str(one.layer),
                rate(one.pair_accuracy),
                area(one.auroc),
                rate(one.control_accuracy),
                points(one.selectivity),
                rate(one.statement_control),
                f"{100 * one.memorised:.0f} %",
                rate(one.random_accuracy),
            )
            for one in held_out(result, method)
        ],
        align_right=frozenset(range(1, 8)),
    )  # fmt: skip
    return Folded(summary=f"Every number: {METHODS[method]}", nodes=[grid])


def _facts(result: HonestyResult) -> Facts:
    counts, band = result.counts, result.band
    halves = ", ".join(
        f"{half} {counts.statements[half]:,} ({counts.pairs.get(half, 0):,} pairs)"
        for half in get_args(Half)
        if half in counts.statements
    )
    left_out = sum(counts.left_out.values())
    pairs = [
        ("honest instruction", quoted(result.honest, 120)),
        ("dishonest instruction", quoted(result.dishonest, 120)),
        ("true statements", halves),
        ("direction", METHODS[result.method]),
        ("read from", f"{layers_words(band.layers)}, best {band.best}"),
        ("pairs told apart there", rate(band.pair_accuracy)),
        ("minus shuffled labels", points(band.selectivity)),
        ("AUROC there", area(band.auroc)),
        (
            "single states on the right side",
            f"{rate(band.accuracy)} at score {band.threshold:.2g}",
        ),
    ]
    if counts.groups:
        near = several(counts.groups, "group")
        pairs.append(("near-duplicates kept together", near))
    if left_out:
        why = "; ".join(f"{num:,} ({why})" for why, num in counts.left_out.items())
        pairs.append(("statements left out", why))
    return Facts(pairs=pairs)


def _cautions(cautions: Sequence[Caution]) -> Iterator[Callout]:
    for name in dict.fromkeys(caution.name for caution in cautions):
        mine = [caution for caution in cautions if caution.name == name]
        yield Callout(
            kind="blocking" if mine[0].is_blocking else "caution",
            title=CAUTION_TITLES.get(name, name),
            texts=[caution.sentence for caution in mine],
        )
