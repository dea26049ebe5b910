"""Where in the model do the chosen experts lie? Maps of every expert of every layer."""

from collections.abc import Iterator

import numpy as np

from driftmap.render.charts import Line, Lines, Marks, Mosaic, Ranges
from driftmap.render.experts_words import (
    expert_labels,
    expert_name,
    idle,
    layer_labels,
    layer_rows,
    listed,
    method_name,
    role_of,
    several,
    tiles_of,
)
from driftmap.render.page import Figure, Folded, Grid, Node, Paragraph, Section
from driftmap.render.wording import number, percent
from driftmap.results.expert_study import ExpertFacts, ExpertFindings, Identified
from driftmap.results.experts import ExpertMap

MOST_RANKED = 20
"""Experts that the figure of ranks shows."""

MOST_LISTED = 10
"""Experts that a table lists."""

DENSE = "dense: no experts"

SCORES = {
    "mean_example_abs": "mean |gradient| of an example",
    "mean_batch_abs": "mean |gradient| of a batch",
    "abs_of_sum": "|gradient| of all examples together",
    "last_batch": "|gradient| of the last batch",
    "mean_example_norm": "gradient norm of an example",
    "mean_example_weight": "mean |gradient x weight| of an example",
    "per_token": "mean |gradient| per routed token",
    "risk_difference": "risk difference (share of tokens)",
    "token_share": "share of tokens",
    "gate_share": "share of router weights",
}
"""What each statistic is called on an axis."""


def maps_section(findings: ExpertFindings) -> Section:
    """Maps of the first round, ranks, and where the chosen lie along depth."""
    first = findings.identified[0].round
    now = [one for one in findings.identified if one.round == first]
    later = [one for one in findings.identified if one.round != first]
    nodes: list[Node] = [Paragraph(text=_size(findings.facts))]
    nodes += [_map(findings.facts, one) for one in now]
    chosen = [one for one in now if one.group.experts]
    nodes.append(_along_depth(findings.facts, now))
    nodes += [
        _ranks(findings.facts, one) for one in chosen if one.intervals is not None
    ]
    nodes += [_table(findings, one) for one in chosen]
    if later:
        nodes.append(
            Folded(
                summary=f"Maps of later rounds ({len(later)})",
                nodes=[_map(findings.facts, one) for one in later],
            )
        )
    return Section(anchor="experts", title="Which experts", nodes=nodes)


def expert_mosaic(
    facts: ExpertFacts,
    numbers: ExpertMap,
    title: str,
    marks: tuple[Marks, ...] = (),
    *,
    is_log: bool = False,
) -> Mosaic:
    """A map of every expert of every layer, at the model's true size.

    Args:
        facts: The model's experts.
        numbers: One per expert; where some are below 0, colours run both ways from 0.
        title: What they are.
        marks: Tiles that stand out.
        is_log: Colours follow the logarithm, where no number is below 0.
    """
    seen = numbers[np.isfinite(numbers)]
    is_split = bool((seen < 0).any())
    return Mosaic(
        x_labels=expert_labels(facts),
        y_labels=layer_labels(facts),
        x_title="expert",
        y_title="layer",
        values=layer_rows(facts, numbers),
        value_title=title,
        middle=0.0 if is_split else None,
        is_log=is_log and not is_split,
        marks=marks,
        empty_row=DENSE,
    )


def _size(facts: ExpertFacts) -> str:
    sizes = sorted({bank.num_experts for bank in facts.banks})
    chosen = sorted({bank.num_chosen for bank in facts.banks})
    dense = facts.dense_layers
    told = (
        f"The model has {several(facts.num_layers, 'layer')}; {len(facts.banks)} of "
        f"its MLPs are banks of {listed([str(n) for n in sizes])} experts, of which a "
        f"router chooses {listed([str(n) for n in chosen])} for each token. Maps show "
        "all of them, whichever were chosen."
    )
    if dense:
        rows = listed([str(layer) for layer in dense])
        one = len(dense) == 1
        told += (
            f" Layer{'' if one else 's'} {rows} {'is' if one else 'are'} dense: "
            f"{'its row is' if one else 'their rows are'} empty."
        )
    if facts.num_shared:
        told += (
            f" {several(facts.num_shared, 'shared expert')}, which every token passes "
            "and no router chooses, cannot be chosen and stand on no map."
        )
    return told


def _map(facts: ExpertFacts, found: Identified) -> Figure:
    group = found.group
    nobody = idle(facts, found.routed_tokens)
    marks = (
        Marks(
            name=f"chosen ({len(group.experts)})",
            places=tiles_of(facts, group.experts),
        ),
        Marks(
            name=f"no token came here ({len(nobody)})",
            places=tiles_of(facts, nobody),
            sign="cross",
        ),
    )
    title = SCORES.get(group.statistic, group.statistic or group.method)
    return Figure(
        name=f"map-{group.method}-round-{found.round}",
        title=f"Every expert by {method_name(group.method)}, round {found.round}",
        reading=f"One tile per expert: {title}. "
        + (
            "Orange: unsafe text is sent here more often than safe text; blue: less. "
            if group.method == "routing"
            else "Shades follow the logarithm; the faintest is a hundredth of the "
            "highest score, or less. "
        )
        + "Black dots: the chosen ones. Look at a whole row before you believe a "
        "single tile: a row that is strong as a whole is depth, not a special expert.",
        chart=expert_mosaic(facts, found.score, "score", marks, is_log=True),
    )


def _along_depth(facts: ExpertFacts, now: list[Identified]) -> Figure:
    labels = [bank.layer for bank in facts.banks]
    lines: list[Line] = []
    for one in now:
        lines.append(
            Line(
                name=method_name(one.group.method),
                role=role_of(one.group.method),
                x=labels,
                y=_counts(facts, one),
            )
        )
        if one.shape is not None and one.shape.normalised_by_bank is not None:
            lines.append(
                Line(
                    name=f"{method_name(one.group.method)}, each layer's mean taken "
                    "out",
                    x=labels,
                    y=[float(num) for num in one.shape.normalised_by_bank],
                )
            )
    size = len(now[0].group.experts)
    even = [size * bank.num_experts / facts.num_experts for bank in facts.banks]
    lines.append(Line(name="blind choice", role="random", x=labels, y=even))
    return Figure(
        name="chosen-by-layer",
        title="Chosen experts of each layer",
        reading="How many of the group lie in each layer, beside a blind choice of as "
        "many. Where the line without the layers' means runs elsewhere, depth decided "
        "much of the choice.",
        chart=Lines(
            x_title="layer",
            y_title="chosen experts",
            lines=lines,
            y_from_zero=True,
        ),
    )


def _counts(facts: ExpertFacts, found: Identified) -> list[float]:
    rows = [facts.row_of(expert) for expert in found.group.experts]
    return [float(rows.count(row)) for row in range(len(facts.banks))]


def _ranks(facts: ExpertFacts, found: Identified) -> Figure:
    intervals, group = found.intervals, found.group
    assert intervals is not None
    shown = group.experts[:MOST_RANKED]
    at = [(facts.row_of(expert), expert.expert) for expert in shown]
    return Figure(
        name=f"ranks-{group.method}",
        title=f"The first {len(shown)} by {method_name(group.method)}",
        reading=f"With 95 % intervals: {several(intervals.num_clusters, 'prompt')} "
        f"drawn anew {intervals.num_resamples:,} times. Dotted: the best score that "
        "was not chosen. An expert whose interval reaches it could as well have been "
        "left out.",
        chart=Ranges(
            x_title=SCORES.get(group.statistic, group.statistic),
            names=[expert_name(expert) for expert in shown],
            estimates=[float(found.score[place]) for place in at],
            lows=[float(intervals.low[place]) for place in at],
            highs=[float(intervals.high[place]) for place in at],
            reference=_best_left_out(facts, found),
            roles=[role_of(group.method)] * len(shown),
        ),
    )


def _best_left_out(facts: ExpertFacts, found: Identified) -> float:
    """The highest score outside the group; the lowest inside where all were chosen."""
    left = found.score.copy()
    for expert in found.group.experts:
        left[facts.row_of(expert), expert.expert] = np.nan
    left[found.routed_tokens == 0] = np.nan
    seen = left[np.isfinite(left)]
    return float(seen.max() if seen.size else np.nanmin(found.score))


def _table(findings: ExpertFindings, found: Identified) -> Grid:
    """The first of a group with all that is known of them."""
    facts, group = findings.facts, found.group
    columns = ["rank", "expert", "score", "tokens sent here"]
    if found.intervals is not None:
        columns += ["95 % interval", "chosen again"]
    if found.risk is not None:
        columns += ["of unsafe tokens", "of safe tokens"]
    if found.tests is not None:
        columns.append("q against contrast")
    if findings.ablation_estimate is not None:
        columns.append("foreseen effect")
    rows = [
        (f"{rank}", expert_name(expert), *_cells(findings, found, place))
        for rank, expert in enumerate(group.experts[:MOST_LISTED], 1)
        for place in [(facts.row_of(expert), expert.expert)]
    ]
    return Grid(
        caption=f"The first {len(rows)} of {len(group.experts):,} by "
        f"{method_name(group.method)}; `tables/experts.parquet` has every expert. "
        "`chosen again`: share of redrawn prompts that choose it too. `foreseen "
        "effect`: what one backward pass says of taking it away, in nats of refusal "
        "log-odds.",
        columns=columns,
        rows=rows,
        align_right=frozenset({0, *range(2, len(columns))}),
    )


def _cells(
    findings: ExpertFindings, found: Identified, place: tuple[int, int]
) -> Iterator[str]:
    yield number(float(found.score[place]))
    yield f"{found.routed_tokens[place]:,}"
    if found.intervals is not None:
        low, high = (
            float(m[place]) for m in (found.intervals.low, found.intervals.high)
        )
        yield f"{number(low)} to {number(high)}"
        yield percent(float(found.intervals.frequency[place]))
    if found.risk is not None:
        yield percent(float(found.risk.unsafe[place]))
        yield percent(float(found.risk.safe[place]))
    if found.tests is not None:
        yield number(float(found.tests.q[place]))
    if findings.ablation_estimate is not None:
        yield f"{findings.ablation_estimate[place]:+.2f}"
