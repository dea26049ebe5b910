"""What did each round of tuning do, and which weights moved?"""

from collections.abc import Iterator, Sequence

import numpy as np

from driftmap.render.charts import Cloud, Line, Lines, Marks, Points
from driftmap.render.experts_maps import expert_mosaic
from driftmap.render.experts_words import (
    jaccard,
    method_name,
    role_of,
    several,
    tiles_of,
)
from driftmap.render.page import Figure, Grid, Node, Paragraph, Row, Section
from driftmap.render.wording import number, rate
from driftmap.results.expert_effects import TradeOffPoint
from driftmap.results.expert_study import ExpertFindings, TuningRound
from driftmap.results.statistics import Interval


def tuning_sections(findings: ExpertFindings) -> Iterator[Section]:
    """Losses, rounds and moved weights; empty where nothing was tuned."""
    if not findings.rounds:
        return
    curves = [*_losses(findings.rounds), *_divergences(findings.rounds)]
    nodes: list[Node] = [
        Paragraph(
            text="A round identifies experts, tunes their weights alone and then lets "
            "the routers send unsafe prompts where the untouched model sends the plain "
            "request. All other weights stay bit for bit as they were."
        )
    ]
    if curves:
        nodes.append(Row(figures=curves) if len(curves) > 1 else curves[0])
    nodes.append(_rounds(findings))
    nodes += _moved(findings)
    yield Section(anchor="tuning", title="What tuning did", nodes=nodes)


def price_sections(findings: ExpertFindings) -> Iterator[Section]:
    """What refusal costs; empty where only one number of experts was tuned."""
    points = findings.effects.trade_off if findings.effects is not None else ()
    if not points:
        return
    nodes: list[Node] = [
        Paragraph(
            text="More experts refuse more and cost more. A point is on the front "
            "where no other refuses as much at no more cost and is better in one of "
            "the two; only points on the front are worth choosing from."
        )
    ]
    figures = [*_against_over_refusal(points), *_against_perplexity(points)]
    if figures:
        nodes.append(Row(figures=figures) if len(figures) > 1 else figures[0])
    nodes.append(_points_grid(points))
    yield Section(anchor="price", title="What refusal costs", nodes=nodes)


def _losses(rounds: Sequence[TuningRound]) -> Iterator[Figure]:
    lines = []
    for method in dict.fromkeys(one.method for one in rounds):
        logs = [r.experts for r in rounds if r.method == method and r.experts]
        losses = [step.loss_nats for log in logs for step in log.steps]
        if losses:
            lines.append(_steps(method, losses))
    if lines:
        yield Figure(
            name="expert-loss",
            title="Loss of the wanted answers while experts are tuned",
            reading="Rounds one after the other. A jump at the start of a round: other "
            "prompts, and routers that have moved.",
            chart=Lines(
                x_title="step of all rounds",
                y_title="loss (nats per token)",
                lines=lines,
                y_from_zero=True,
            ),
        )


def _divergences(rounds: Sequence[TuningRound]) -> Iterator[Figure]:
    lines = []
    for method in dict.fromkeys(one.method for one in rounds):
        logs = [r.routers for r in rounds if r.method == method and r.routers]
        steps = [step.divergence_nats for log in logs for step in log.steps]
        if steps:
            lines.append(_steps(method, steps))
    if lines:
        yield Figure(
            name="router-divergence",
            title="Divergence of the routers from the reference",
            reading="How differently unsafe prompts are routed from the plain request "
            "in the untouched model; 0 is alike.",
            chart=Lines(
                x_title="step of all rounds",
                y_title="divergence (nats)",
                lines=lines,
                y_from_zero=True,
            ),
        )


def _steps(method: str, values: Sequence[float]) -> Line:
    return Line(
        name=method_name(method),
        role=role_of(method),
        x=[float(n) for n in range(1, len(values) + 1)],
        y=list(values),
    )


def _rounds(findings: ExpertFindings) -> Grid:
    return Grid(
        caption="`again`: overlap (Jaccard) with the experts of the round before. `so "
        "far`: experts that any round chose. Divergences are of the routing of unsafe "
        "prompts before and after aligning, and of how far safe prompts moved, which "
        "should stay near 0.",
        columns=(
            "round", "chosen by", "experts", "again", "so far", "loss, first step",
            "loss, last step", "unsafe, nats", "safe, nats",
        ),
        rows=[_round(findings, one) for one in findings.rounds],
        align_right=frozenset({0, *range(2, 9)}),
    )  # fmt: skip


def _round(findings: ExpertFindings, one: TuningRound) -> tuple[str, ...]:
    groups = [
        i.group.experts for i in findings.of_method(one.method) if i.round <= one.round
    ]
    steps = one.experts.steps if one.experts is not None else ()
    again = jaccard(groups[-1], groups[-2]) if len(groups) > 1 else None
    unsafe = one.unsafe_nats
    return (
        str(one.round),
        method_name(one.method),
        f"{len(one.experts.experts):,}" if one.experts is not None else "left alone",
        "–" if again is None else f"{again:.2f}",
        f"{len({e for group in groups for e in group}):,}",
        number(steps[0].loss_nats) if steps else "–",
        number(steps[-1].loss_nats) if steps else "–",
        "–" if unsafe is None else " to ".join(number(value) for value in unsafe),
        number(one.safe_nats),
    )


def _moved(findings: ExpertFindings) -> Iterator[Node]:
    for method, drift in findings.drift.items():
        chosen = findings.union(method)
        marks = (
            Marks(
                name=f"chosen in any round ({len(chosen)})",
                places=tiles_of(findings.facts, chosen),
            ),
        )
        seen = drift.relative[np.isfinite(drift.relative)]
        outside = int((seen > 0).sum()) - len(chosen)
        yield Figure(
            name=f"drift-{method}",
            title=f"How far each expert moved, chosen by {method_name(method)}",
            reading="Relative change of an expert's weights, ||dW|| / ||W||. "
            + (
                f"{several(int((seen > 0).sum()), 'expert')} moved; every other one is "
                "exactly as it was."
                if outside <= 0
                else f"{several(outside, 'expert')} moved without having been chosen."
            ),
            chart=expert_mosaic(
                findings.facts, drift.relative, "relative change", marks
            ),
        )


def _against_over_refusal(points: Sequence[TradeOffPoint]) -> Iterator[Figure]:
    priced = [(p, p.over_refusal) for p in points if p.over_refusal is not None]
    if priced:
        yield _trade_off(
            "over-refusal",
            "harmless requests refused (share)",
            [(point, over.estimate) for point, over in priced],
        )


def _against_perplexity(points: Sequence[TradeOffPoint]) -> Iterator[Figure]:
    priced = [(p, p.perplexity) for p in points if p.perplexity is not None]
    if priced:
        yield _trade_off("perplexity", "perplexity of ordinary text", priced)


def _trade_off(
    name: str, title: str, priced: Sequence[tuple[TradeOffPoint, float]]
) -> Figure:
    methods = dict.fromkeys(point.method for point, _ in priced)
    return Figure(
        name=f"trade-off-{name}",
        title=f"Refusal against {title.partition(' (')[0]}",
        reading="One point per model; the upper left is best. Point at one for its "
        "number of experts.",
        chart=Points(
            x_title=title,
            y_title="held-out attacks refused",
            clouds=[
                Cloud(
                    name=method_name(method),
                    role=role_of(method),
                    x=[cost for point, cost in priced if point.method == method],
                    y=[
                        point.refusal.estimate
                        for point, _ in priced
                        if point.method == method
                    ],
                    labels=[
                        _point_name(point)
                        for point, _ in priced
                        if point.method == method
                    ],
                )
                for method in methods
            ],
        ),
    )


def _point_name(point: TradeOffPoint) -> str:
    front = ", on the front" if point.is_on_front else ""
    routers = "" if point.with_router else ", routers left alone"
    return f"{method_name(point.method)}, k = {point.k}{routers}{front}"


def _points_grid(points: Sequence[TradeOffPoint]) -> Grid:
    are_rates = all(0 <= point.refusal.estimate <= 1 for point in points)
    written = rate if are_rates else _odds
    return Grid(
        caption="Every model that was tuned for this comparison, on the same held-out "
        "prompts. Brackets hold 95 % intervals over prompts.",
        columns=(
            "chosen by", "experts", "routers", "refusal", "harmless refused",
            "perplexity", "on the front",
        ),
        rows=[
            (
                method_name(point.method),
                f"{point.k:,}",
                "aligned" if point.with_router else "left alone",
                written(point.refusal),
                "–" if point.over_refusal is None else written(point.over_refusal),
                number(point.perplexity),
                "yes" if point.is_on_front else "no",
            )
            for point in points
        ],
        align_right=frozenset({1, 3, 4, 5}),
    )  # fmt: skip


def _odds(value: Interval) -> str:
    """Log-odds, where nothing was generated."""
    return f"{value.estimate:.2f} ({value.low:.2f} to {value.high:.2f})"
