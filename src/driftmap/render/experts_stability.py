"""Would other prompts, or another method, choose the same experts?"""

from collections.abc import Iterator, Sequence
from math import nan

from driftmap.render.charts import Line, Lines, Shades
from driftmap.render.experts_words import method_name, role_of, several
from driftmap.render.page import Figure, Folded, Grid, Node, Paragraph, Section
from driftmap.render.wording import number
from driftmap.results.expert_evidence import Agreement, PairAgreement
from driftmap.results.expert_study import ExpertFindings, Identified
from driftmap.results.statistics import Interval

MOST_PAIRS = 10
"""Pairs of methods that are all shown at once."""


def stability_sections(findings: ExpertFindings) -> Iterator[Section]:
    """How stable the choice is; empty where nothing was resampled."""
    first = findings.identified[0].round
    now = [one for one in findings.identified if one.round == first]
    if not any(one.halves or one.intervals or one.shape for one in now):
        return
    nodes: list[Node] = [
        Paragraph(
            text="A group that other prompts would not choose is partly luck. Two "
            "halves of the prompts choose apart from each other, and their overlap is "
            "read against that of two blind choices of as many experts."
        ),
        *_halves(now),
        _grid(now),
    ]
    yield Section(
        anchor="stability", title="Would other prompts choose the same?", nodes=nodes
    )


def agreement_sections(findings: ExpertFindings) -> Iterator[Section]:
    """Whether methods name the same experts; empty for one method."""
    found = findings.agreement
    if found is None or not found.pairs:
        return
    yield Section(
        anchor="agreement",
        title="Do the methods name the same experts?",
        nodes=[
            Paragraph(
                text="Methods that disagree are a result: they measure different "
                "things, and only effects say which of them matters."
            ),
            _matrix(found),
            *_tables(found),
        ],
    )


def _halves(now: Sequence[Identified]) -> Iterator[Figure]:
    split = [one for one in now if one.halves is not None]
    lines: list[Line] = []
    for one in split:
        assert one.halves is not None
        curve = one.halves.curve
        lines.append(
            Line(
                name=method_name(one.group.method),
                role=role_of(one.group.method),
                x=[float(point.num_clusters) for point in curve],
                y=[point.jaccard.estimate for point in curve],
                low=[point.jaccard.low for point in curve],
                high=[point.jaccard.high for point in curve],
            )
        )
    if not split or split[0].halves is None:
        return
    curve = split[0].halves.curve
    lines.append(
        Line(
            name="blind choices",
            role="random",
            x=[float(point.num_clusters) for point in curve],
            y=[point.chance for point in curve],
        )
    )
    yield Figure(
        name="halves",
        title="Overlap of what two halves of the prompts choose",
        reading="Jaccard: experts that both halves choose, over those that either "
        "does. 1: the same experts. Where the curve still climbs at its right end, "
        "more prompts would make the choice firmer.",
        chart=Lines(
            x_title="prompts of both halves",
            y_title="Jaccard",
            lines=lines,
            y_ends=(0.0, 1.0),
        ),
    )


def _grid(now: Sequence[Identified]) -> Grid:
    return Grid(
        caption="`firm`: experts that at least 95 % of redrawn prompt sets choose. "
        "`layers' means out`: overlap with the group that scores divided by their "
        "layer's mean choose; low means that depth decided. `with traffic`: Kendall's "
        "tau of score and tokens sent. `batch to batch`: overlap of what consecutive "
        "batches would choose.",
        columns=(
            "method", "two halves", "chance", "redrawn prompts", "firm",
            "layers' means out", "with traffic", "batch to batch",
        ),
        rows=[_row(one) for one in now],
        align_right=frozenset(range(1, 8)),
    )  # fmt: skip


def _row(one: Identified) -> tuple[str, ...]:
    halves, intervals, shape = one.halves, one.intervals, one.shape
    full = None if halves is None else halves.full
    firm = "–"
    if intervals is not None:
        firm = f"{int(intervals.stable.sum())} of {len(one.group.experts)}"
    batches = one.batch_jaccard
    return (
        method_name(one.group.method),
        "–" if full is None else _written(full.jaccard),
        "–" if full is None else f"{full.chance:.2f}",
        "–" if intervals is None else f"{intervals.jaccard.estimate:.2f}",
        firm,
        "–" if shape is None else number(shape.normalised_jaccard),
        "–" if shape is None else number(shape.tau_traffic),
        number(sum(batches) / len(batches)) if batches else "–",
    )


def _matrix(found: Agreement) -> Figure:
    overlap = {(pair.left, pair.right): pair.jaccard.estimate for pair in found.pairs}
    chance = max(pair.chance for pair in found.pairs)
    shares = [
        [
            1.0 if a == b else overlap.get((a, b), overlap.get((b, a), nan))
            for b in found.methods
        ]
        for a in found.methods
    ]
    return Figure(
        name="agreement",
        title="Overlap of what the methods choose (Jaccard)",
        reading="1: the same experts; blind choices of as many give "
        f"{chance:.2f}. Scores of one pass share their tokens and often agree; a "
        "gradient and a routing score need not.",
        chart=Shades(
            x_labels=found.methods,
            y_labels=found.methods,
            x_title="method",
            y_title="method",
            shares=shares,
            value_title="Jaccard",
        ),
    )


def _tables(found: Agreement) -> Iterator[Node]:
    """Pairs with the first method; those of others are folded where they are many."""
    mine = [pair for pair in found.pairs if found.methods[0] in (pair.left, pair.right)]
    others = [pair for pair in found.pairs if pair not in mine]
    if len(found.pairs) <= MOST_PAIRS:
        yield _pairs(found.pairs)
        return
    yield _pairs(mine)
    yield Folded(
        summary=f"Pairs of other methods ({len(others)})", nodes=[_pairs(others)]
    )


def _written(value: Interval) -> str:
    """An estimate, with its interval where anything was drawn anew."""
    if not value.num:
        return f"{value.estimate:.2f}"
    return f"{value.estimate:.2f} ({value.low:.2f} to {value.high:.2f})"


def _pairs(pairs: Sequence[PairAgreement]) -> Grid:
    return Grid(
        caption="Pairs of methods. `tau`: Kendall's rank correlation over all "
        "experts, 0 where one says nothing of the other. `shared`: experts that both "
        "choose; `blindly`: as many as two blind choices with the same number in each "
        "layer share.",
        columns=("first", "second", "Jaccard", "chance", "tau", "shared", "blindly"),
        rows=[
            (
                f"`{pair.left}`",
                f"`{pair.right}`",
                _written(pair.jaccard),
                f"{pair.chance:.2f}",
                "–" if pair.tau is None else _written(pair.tau),
                several(sum(pair.shared_by_bank), "expert"),
                f"{sum(pair.chance_by_bank):.1f}",
            )
            for pair in pairs
        ],
        align_right=frozenset(range(2, 7)),
    )
