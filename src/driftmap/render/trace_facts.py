"""What does putting states back do in single prompts, token by token?"""

from collections.abc import Iterator, Sequence

from driftmap.core.quoted import quoted
from driftmap.render.charts import Chart
from driftmap.render.page import (
    Choices,
    Figure,
    Folded,
    Grid,
    Node,
    Picker,
    Section,
)
from driftmap.render.token_charts import Bar, Bars, TokenMap, seen_token
from driftmap.render.trace_words import (
    BAR_ROLES,
    HUES,
    PLAIN,
    PUT_BACK,
    answer_words,
    layer_title,
    outcome_title,
    several,
    what_was_put_back,
)
from driftmap.render.wording import number, share
from driftmap.results.trace_kinds import TraceKind
from driftmap.results.trace_study import FactOutcome, TracedFact, TraceFindings
from driftmap.results.traces import TraceGrid

MOST_LISTED = 20
"""Facts that the table lists."""

READING = (
    "What was changed: the subject's tokens (marked `*`) were disturbed, then one "
    "state was put back at one token and in one layer. Colours run from the corrupted "
    "run, palest, to the clean run, fullest, for all kinds alike. What chance gives: "
    "the palest colour; tokens before the subject cannot be reached and have it "
    "exactly. What it does not show: other prompts."
)


def fact_sections(found: TraceFindings) -> Iterator[Section]:
    """Single prompts: the example, any other to choose, and what each one lost."""
    nodes: list[Node] = []
    if found.shown:
        example, others = found.shown[0], found.shown[1:]
        maps = single_maps(found, example)
        # The first map of a lone prompt stands at the top of the page already.
        nodes += maps if found.effects else maps[1:]
        nodes += _severed(found, example)
        nodes += _places(found.shown)
        if others:
            nodes += _picker(found, found.shown)
    if len(found.facts) > 1:
        nodes.append(_table(found))
    if nodes:
        yield Section(anchor="facts", title="Single facts", nodes=nodes)


def single_maps(found: TraceFindings, fact: TracedFact) -> list[Node]:
    """One prompt, kind by kind, on one scale."""
    return [
        Figure(
            name=f"trace-{kind}",
            title=f"{quoted(fact.prompt)}: {what_was_put_back(grid)} put back."
            f" {_note(grid)}",
            reading=READING,
            chart=_map(found, grid),
        )
        for kind in PLAIN
        if (grid := fact.of_kind(kind)) is not None
    ]


def _picker(found: TraceFindings, facts: tuple[TracedFact, ...]) -> Iterator[Node]:
    """Any of the shown prompts, for the kinds that all of them have."""
    kinds: list[TraceKind] = [
        kind for kind in PLAIN if all(f.of_kind(kind) is not None for f in facts)
    ]
    grids = [
        grid
        for fact in facts
        for kind in kinds
        if (grid := fact.of_kind(kind)) is not None
    ]
    if not grids:
        return
    charts: list[Chart] = [_map(found, grid) for grid in grids]
    yield Picker(
        name="trace-any",
        title=f"Any of {len(facts)} prompts",
        reading=READING,
        choices=[
            Choices(name="prompt", options=[quoted(fact.prompt) for fact in facts]),
            Choices(
                name="put back",
                options=[what_was_put_back(g) for g in grids[: len(kinds)]],
            ),
        ],
        charts=charts,
        notes=[_note(grid) for grid in grids],
        first=len(kinds),
    )


def _map(found: TraceFindings, grid: TraceGrid) -> TokenMap:
    return TokenMap(
        tokens=grid.tokens,
        x_labels=[str(layer) for layer in range(found.num_layers)],
        x_title=layer_title(grid.window),
        values=grid.score.tolist(),
        value_title=outcome_title(grid.outcome, f"{quoted(grid.answer.strip(), 20)}"),
        hue=HUES[grid.kind],
        ends=(grid.low, grid.high),
        starred=tuple(range(*grid.subject)),
    )


def _note(grid: TraceGrid) -> str:
    known = {True: "", False: " (not the model's first choice)", None: ""}
    turned = (
        " Noise makes the answer likelier here, so colours run the other way round."
        if grid.total_effect < 0
        else ""
    )
    part = ""
    if grid.dims is not None:
        part = f" Of the state, numbers {grid.dims[0]} to {grid.dims[1] - 1}."
    return (
        f"Answer {answer_words(grid)}{known[grid.is_known]}: clean {share(grid.high)}, "
        f"corrupted {share(grid.low)}, mean of "
        f"{several(grid.noise.num_draws, 'draw')}.{part}{turned}"
    )


def _severed(found: TraceFindings, fact: TracedFact) -> Iterator[Node]:
    """Bars of one prompt, where no averages have theirs."""
    grids = [g for g in fact.grids if g.kind in BAR_ROLES]
    if found.effects or not any(g.kind.startswith("severed") for g in grids):
        return
    yield Figure(
        name="severed",
        title="At the last subject token, with attention or MLPs held",
        reading="What was changed: one block's output is put back at the last token of "
        "the subject; in severed runs the MLPs (or attention) of that token stay as "
        "the noise made them. Whiskers: two standard errors over draws of noise. What "
        "chance gives: 0. What it does not show: other prompts.",
        chart=Bars(
            x_labels=[str(layer) for layer in range(found.num_layers)],
            x_title="layer",
            y_title=outcome_title(found.outcome, "brought back"),
            bars=[_bar(grid) for grid in grids],
        ),
    )


def _bar(grid: TraceGrid) -> Bar:
    row = grid.subject[1] - 1
    effect, error = grid.indirect_effect[row], 2 * grid.standard_error[row]
    return Bar(
        name=PUT_BACK[grid.kind],
        values=effect.tolist(),
        lows=(effect - error).tolist(),
        highs=(effect + error).tolist(),
        role=BAR_ROLES[grid.kind],
    )


def _places(facts: Sequence[TracedFact]) -> Iterator[Grid]:
    """Cells that estimates point to, as they were traced."""
    rows = [
        (
            quoted(fact.prompt),
            PUT_BACK[place.kind],
            f"{place.token}: {seen_token(fact.grids[0].tokens[place.token])}",
            str(place.layer),
            share(place.estimate),
            share(place.exact),
        )
        for fact in facts
        for place in fact.places
    ]
    if rows:
        yield Grid(
            caption="Places that the estimates point to, traced exactly. The exact "
            "column is what counts.",
            columns=("prompt", "put back", "token", "layer", "estimated", "exact"),
            rows=rows,
            align_right=frozenset({3, 4, 5}),
        )


def _table(found: TraceFindings) -> Folded:
    rows = [_row(fact) for fact in found.facts[:MOST_LISTED]]
    num = len(found.facts)
    more = (
        f" The first {MOST_LISTED} of {num:,}; `tables/` has all."
        if num > MOST_LISTED
        else ""
    )
    grid = Grid(
        caption="What the answer lost to noise, fact by fact. `known`: the model's "
        "first choice is the answer; facts that it does not know are in no average. "
        "`best`: the layer whose output at the last subject token brings back most."
        f"{more}",
        columns=(
            "fact", "subject", "answer", "first choice", "known", "clean", "corrupted",
            "lost", "best", "brought back",
        ),
        rows=rows,
        align_right=frozenset(range(5, 10)),
    )  # fmt: skip
    return Folded(summary=f"Facts one by one ({num:,})", nodes=[grid])


def _row(fact: FactOutcome) -> tuple[str, ...]:
    known = {True: "yes", False: "no", None: "–"}
    return (
        quoted(fact.id, 30),
        quoted(fact.subject, 30) or "–",
        quoted(fact.answer.strip(), 30),
        quoted(fact.choice.strip(), 30),
        known[fact.is_known],
        share(fact.high),
        share(fact.low),
        share(fact.high - fact.low),
        "–" if fact.peak_layer is None else str(fact.peak_layer),
        number(fact.peak_effect),
    )
