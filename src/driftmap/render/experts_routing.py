"""Where do kinds of text go, before and after tuning, and how far did that move?"""

from collections.abc import Iterator, Sequence

import numpy as np

from driftmap.render.charts import Line, Lines, Marks
from driftmap.render.experts_maps import expert_mosaic
from driftmap.render.experts_words import (
    expert_name,
    main_group,
    method_name,
    role_of,
    several,
    tiles_of,
)
from driftmap.render.page import Figure, Folded, Grid, Node, Paragraph, Row, Section
from driftmap.render.wording import percent
from driftmap.results.expert_study import ExpertFindings
from driftmap.results.expert_views import DomainRouting, RoutingMoved

MOST_LISTED = 12
"""Chosen experts that the table of kinds of text lists."""

OPEN_MAPS = 2
"""Maps of routing that are shown at once; others are folded."""


def routing_sections(findings: ExpertFindings) -> Iterator[Section]:
    """Routing by kind of text and how it moved; empty where it was not counted."""
    nodes: list[Node] = [
        *_moved(findings),
        *_specialised(findings),
        *_by_domain(findings),
        *_maps(findings),
    ]
    if nodes:
        yield Section(anchor="routing", title="Where texts are sent", nodes=nodes)


def _moved(findings: ExpertFindings) -> Iterator[Node]:
    if not findings.moved:
        return
    yield Paragraph(
        text="Tuning should move the routing of unsafe text and leave that of other "
        "text alone. Divergence compares how often each expert is chosen, before and "
        "after; saturation asks of each token how many of its experts stayed."
    )
    yield Row(figures=[_divergence(findings), _saturation(findings)])
    yield _token_divergence(findings)


def _divergence(findings: ExpertFindings) -> Figure:
    return Figure(
        name="routing-divergence",
        title="How far routing moved",
        reading="Jensen-Shannon divergence of the experts' token shares, per layer: 0 "
        "is alike, 0.69 nats is no expert in common.",
        chart=Lines(
            x_title="layer",
            y_title="divergence (nats)",
            lines=[
                _line(one, [b.divergence_nats for b in one.banks], findings)
                for one in findings.moved
            ],
            y_from_zero=True,
        ),
    )


def _saturation(findings: ExpertFindings) -> Figure:
    blind = Line(
        name="blind",
        role="random",
        x=_layers(findings.moved[0]),
        y=[bank.chance for bank in findings.moved[0].banks],
    )
    lines = [
        _line(one, [b.saturation for b in one.banks], findings)
        for one in findings.moved
    ]
    return Figure(
        name="routing-saturation",
        title="How many of a token's experts stayed",
        reading="Share of a token's experts that are chosen after tuning as well. "
        "`blind`: two blind choices share as many.",
        chart=Lines(
            x_title="layer",
            y_title="share that stayed",
            lines=[*lines, blind],
            y_ends=(0.0, 1.0),
        ),
    )


def _token_divergence(findings: ExpertFindings) -> Grid:
    return Grid(
        caption="The same over all layers. `token by token`: mean divergence of a "
        "single token's routing, which also sees moves that cancel out between tokens.",
        columns=(
            "chosen by", "texts", "tokens", "divergence, nats", "token by token, nats",
            "stayed", "blind",
        ),
        rows=[_moved_row(one) for one in findings.moved],
        align_right=frozenset(range(2, 7)),
    )  # fmt: skip


def _moved_row(one: RoutingMoved) -> tuple[str, ...]:
    banks = one.banks
    tokens = [b.token_kl_nats for b in banks if b.token_kl_nats is not None]
    return (
        method_name(one.method),
        one.texts,
        f"{max(bank.num_tokens for bank in banks):,}",
        f"{np.mean([bank.divergence_nats for bank in banks]):.4f}",
        f"{np.mean(tokens):.4f}" if tokens else "–",
        percent(float(np.mean([bank.saturation for bank in banks]))),
        percent(float(np.mean([bank.chance for bank in banks]))),
    )


def _line(one: RoutingMoved, values: list[float], findings: ExpertFindings) -> Line:
    alone = len({moved.method for moved in findings.moved}) == 1
    name = one.texts if alone else f"{one.texts}, {method_name(one.method)}"
    return Line(
        name=name,
        role=role_of(one.texts) if alone else "",
        x=_layers(one),
        y=values,
    )


def _layers(one: RoutingMoved) -> list[float]:
    return [float(bank.bank.layer) for bank in one.banks]


def _specialised(findings: ExpertFindings) -> Iterator[Figure]:
    found = findings.specialised
    if found is None:
        return
    layers = [float(bank.layer) for bank in findings.facts.banks]
    lines = [Line(name="kinds of text", role="difference", x=layers, y=found.variation)]
    if found.chance:
        lines.append(
            Line(name="highest when shuffled", role="random", x=layers, y=found.chance)
        )
    yield Figure(
        name="specialised",
        title="Do kinds of text go to different experts?",
        reading="Total variation of token shares, mean over pairs of kinds: 0 they are "
        "routed alike, 1 they share no expert. Above the grey line: more than labels "
        "dealt out blindly ever gave.",
        chart=Lines(
            x_title="layer", y_title="total variation", lines=lines, y_from_zero=True
        ),
    )


def _by_domain(findings: ExpertFindings) -> Iterator[Grid]:
    domains = findings.domains
    if not domains:
        return
    facts, group = findings.facts, main_group(findings)
    shown = group.experts[:MOST_LISTED]
    yield Grid(
        caption=f"Share of a layer's choices that go to each of the first {len(shown)} "
        "chosen experts, by kind of text"
        + (", before -> after tuning" if _is_tuned(domains) else "")
        + ". `even`: if all experts of the layer were used alike.",
        columns=("expert", "even", *(domain.name for domain in domains)),
        rows=[
            (
                expert_name(expert),
                percent(1 / facts.banks[row].num_experts),
                *(_shares(domain, row, expert.expert) for domain in domains),
            )
            for expert in shown
            for row in [facts.row_of(expert)]
        ],
        align_right=frozenset(range(1, 2 + len(domains))),
    )


def _is_tuned(domains: Sequence[DomainRouting]) -> bool:
    return any(domain.after is not None for domain in domains)


def _shares(domain: DomainRouting, row: int, expert: int) -> str:
    before = percent(float(domain.before[row, expert]))
    if domain.after is None:
        return before
    return f"{before} -> {percent(float(domain.after[row, expert]))}"


def _maps(findings: ExpertFindings) -> Iterator[Node]:
    figures = [
        figure for domain in findings.domains for figure in _domain(findings, domain)
    ]
    yield from figures[:OPEN_MAPS]
    if figures[OPEN_MAPS:]:
        rest = figures[OPEN_MAPS:]
        yield Folded(summary=f"More maps of routing ({len(rest)})", nodes=rest)


def _domain(findings: ExpertFindings, domain: DomainRouting) -> Iterator[Figure]:
    group = main_group(findings)
    marks = (
        Marks(
            name=f"chosen ({len(group.experts)})",
            places=tiles_of(findings.facts, group.experts),
        ),
    )
    tokens = several(domain.num_tokens, "token")
    key = "".join(c if c.isalnum() else "-" for c in domain.name.lower())
    if domain.after is not None:
        yield Figure(
            name=f"routing-change-{key}",
            title=f"Change of routing: {domain.name}",
            reading=f"Share of a layer's choices after tuning less before, {tokens}. "
            "Orange: chosen more often; blue: less often.",
            chart=expert_mosaic(
                findings.facts, domain.after - domain.before, "change of share", marks
            ),
        )
    else:
        yield Figure(
            name=f"routing-{key}",
            title=f"Routing: {domain.name}",
            reading=f"Share of a layer's choices that go to each expert, {tokens}. "
            "Every row adds up to 1.",
            chart=expert_mosaic(findings.facts, domain.before, "share", marks),
        )
