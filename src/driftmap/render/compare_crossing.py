"""Where do answers enter the other model's run, and what do traces show of both?"""

from collections.abc import Iterator, Sequence
from math import nan

from driftmap.render.page import (
    Choices,
    Figure,
    Folded,
    Grid,
    Node,
    Paragraph,
    Picker,
    Row,
)
from driftmap.render.token_charts import Hue, TokenMap
from driftmap.render.trace_words import (
    HUES,
    PUT_BACK,
    layer_title,
    several,
    what_was_put_back,
)
from driftmap.render.wording import interval, share
from driftmap.results.trace_kinds import ROLES, TokenRole
from driftmap.results.traces import RoleEffects, TraceGrid
from driftmap.results.where_it_acts import (
    CrossDirection,
    CrossTrace,
    TraceChange,
    WhereItActs,
)

DIRECTIONS: dict[CrossDirection, str] = {
    "tuned into base": "tuned states in the base, new answer",
    "base into tuned": "base states in the tuned model, old answer",
}

READING = (
    "What was changed: one state of one model was put into the other model's run, at "
    "one token and in one layer, without noise. Colours run from 0 to all that the "
    "giving model says more than the receiving one. At the last token the last layer "
    "brings everything, whatever the models are. What chance gives: 0. What it does "
    "not show: which weights made that state; those of all layers up to it did."
)

BEFORE_AFTER = (
    "What was changed: the subject was disturbed, then one state was put back. One "
    "scale for both models; below 0 colours are as pale as 0, and the numbers stay. "
    "What it does not show: where the answer is stored."
)


def cross_nodes(found: WhereItActs, caution: str) -> Iterator[Node]:
    """Maps of states that were put into the other model's run.

    Args:
        found: What was traced across.
        caution: What stands beside every list of layers.
    """
    if not found.crosses:
        return
    every = [(cross, one) for cross in found.crosses for one in cross.effects]
    kinds = [PUT_BACK[one.kind] for one in found.crosses[0].effects]
    yield Picker(
        name="cross-trace",
        title="Where one model's answer enters the other's run, mean of "
        f"{several(found.num_crossed, 'prompt')}",
        reading=f"{READING} {caution}",
        choices=[
            Choices(name="direction", options=_directions(found.crosses)),
            Choices(name="state", options=kinds),
        ],
        charts=[_role_map(found, one, _top(one)) for _, one in every],
        notes=[
            f"{what_was_put_back(one)}: the receiving model says "
            f"{share(one.low)}, the giving one {share(one.high)}."
            for _, one in every
        ],
    )
    yield _best(found, caution)
    yield _first_prompt(found, kinds, caution)


def trace_nodes(found: WhereItActs, caution: str) -> Iterator[Node]:
    """Traces of both models for both answers, and their difference.

    Args:
        found: What was traced before and after.
        caution: What stands beside every list of layers.
    """
    if not found.traces:
        return
    yield _totals(found)
    for change in found.traces:
        if change.kind == "hidden":
            yield Row(figures=_beside(found, change))
    yield Picker(
        name="trace-changes",
        title="Effects after tuning less effects before, mean of "
        f"{several(found.num_traced, 'fact')}",
        reading=f"{BEFORE_AFTER} Blue where a state brings back more than before. "
        f"{caution}",
        choices=[
            Choices(
                name="answer",
                options=list(dict.fromkeys(c.answer for c in found.traces)),
            ),
            Choices(
                name="state",
                options=list(dict.fromkeys(PUT_BACK[c.kind] for c in found.traces)),
            ),
        ],
        charts=[
            _role_map(
                found, c.difference, (-_reach(found), _reach(found)), hue="difference"
            )
            for c in found.traces
        ],
    )
    yield _changes(found, caution)
    if found.shifts:
        yield _shifts(found)


def _first_prompt(found: WhereItActs, kinds: Sequence[str], caution: str) -> Folded:
    grids = [grid for cross in found.crosses for grid in cross.example]
    return Folded(
        summary="The first prompt, token by token",
        nodes=[
            Picker(
                name="cross-example",
                title="The first prompt",
                reading=f"As above, for one prompt. The {found.span} is marked `*`. "
                f"{caution}",
                choices=[
                    Choices(name="direction", options=_directions(found.crosses)),
                    Choices(name="state", options=kinds),
                ],
                charts=[_grid_map(grid) for grid in grids],
                notes=[
                    f"Answer `{grid.answer.strip()}`: {share(grid.low)} in the "
                    f"receiving model, {share(grid.high)} in the giving one."
                    for grid in grids
                ],
            )
        ],
    )


def _directions(crosses: Sequence[CrossTrace]) -> list[str]:
    return [DIRECTIONS[cross.direction] for cross in crosses]


def _top(effects: RoleEffects) -> tuple[float, float]:
    return 0.0, max(effects.total_effect.estimate, 0.0)


def _reach(found: WhereItActs) -> float:
    """The largest total effect of all, for one scale of all maps."""
    whole = [c.before.total_effect.estimate for c in found.traces]
    whole += [c.after.total_effect.estimate for c in found.traces]
    return max(max(map(abs, whole)), 1e-6)


def _role_map(
    found: WhereItActs,
    effects: RoleEffects,
    ends: tuple[float, float],
    hue: Hue | None = None,
) -> TokenMap:
    known = {cell.role for cell in effects.cells}
    roles: list[TokenRole] = [role for role in ROLES if role in known]
    return TokenMap(
        tokens=[_role_name(role, found.span) for role in roles],
        x_labels=[str(layer) for layer in range(found.num_layers)],
        x_title=layer_title(effects.window),
        values=[_along(effects, role, found.num_layers) for role in roles],
        value_title="brought (probability)",
        hue=HUES[effects.kind] if hue is None else hue,
        ends=ends,
    )


def _grid_map(grid: TraceGrid) -> TokenMap:
    effect = grid.indirect_effect
    return TokenMap(
        tokens=grid.tokens,
        x_labels=[str(layer) for layer in range(effect.shape[1])],
        x_title=layer_title(grid.window),
        values=effect.tolist(),
        value_title="brought (probability)",
        hue=HUES[grid.kind],
        ends=(0.0, max(grid.total_effect, 0.0)),
        starred=range(*grid.subject),
    )


def _role_name(role: TokenRole, span: str) -> str:
    """A role as a row is named.

    >>> _role_name("last subject", "request"), _role_name("further", "subject")
    ('last request token', 'further tokens')
    """
    named: str = role
    named = named.replace("subject", span)
    return "further tokens" if role == "further" else f"{named} token"


def _along(effects: RoleEffects, role: TokenRole, num_layers: int) -> list[float]:
    known = {c.layer: c.effect.estimate for c in effects.cells if c.role == role}
    return [known.get(layer, nan) for layer in range(num_layers)]


def _best(found: WhereItActs, caution: str) -> Folded:
    grid = Grid(
        caption="Where each role's states bring most, with the 95 % interval of the "
        f"layer over subjects or requests. {caution}",
        columns=["direction", "state", "token", "layer", "brought", "prompts"],
        rows=[
            [
                DIRECTIONS[cross.direction],
                what_was_put_back(one),
                _role_name(best.role, found.span),
                _span(best.layer, best.low, best.high),
                share(best.effect),
                f"{best.num:,}",
            ]
            for cross in found.crosses
            for one in cross.effects
            for best in one.best
        ],
        align_right=frozenset({4, 5}),
    )
    return Folded(summary="The best layer of each token", nodes=[grid])


def _span(layer: int, low: int, high: int) -> str:
    return f"{layer}" if low == high else f"{layer} ({low} to {high})"


def _totals(found: WhereItActs) -> Grid:
    changes = [c for c in found.traces if c.kind == "hidden"]
    return Grid(
        caption="What disturbing the subject costs each answer (probability), before "
        f"and after tuning, mean of {several(found.num_traced, 'fact')} with 95 % "
        "intervals over subjects. The same noise for both models.",
        columns=["answer", "before", "after", "difference"],
        rows=[
            [
                c.answer,
                interval(c.before.total_effect),
                interval(c.after.total_effect),
                interval(c.difference.total_effect),
            ]
            for c in changes
        ],
        align_right=frozenset({1, 2, 3}),
    )


def _beside(found: WhereItActs, change: TraceChange) -> list[Figure]:
    return [
        Figure(
            name=f"trace-{change.answer}-{when}",
            title=f"{change.answer} answer, {when} tuning: one block's output put back",
            reading=BEFORE_AFTER,
            chart=_role_map(found, effects, (0.0, _reach(found))),
        )
        for when, effects in (("before", change.before), ("after", change.after))
    ]


def _changes(found: WhereItActs, caution: str) -> Node:
    rows = [
        [
            change.answer,
            what_was_put_back(change.difference),
            _role_name(cell.role, found.span),
            str(cell.layer),
            interval(cell.effect),
        ]
        for change in found.traces
        for cell in change.difference.cells
    ]
    return Folded(
        summary="Every difference with its interval",
        nodes=[
            Paragraph(text=caution),
            Grid(
                caption="Effect after less effect before (probability), fact by fact, "
                "with 95 % intervals over subjects, each on its own.",
                columns=["answer", "state", "token", "layer", "difference"],
                rows=rows,
                align_right=frozenset({4}),
            ),
        ],
    )


def _shifts(found: WhereItActs) -> Grid:
    return Grid(
        caption="Is the new answer, after tuning, read from the layers that the old "
        "one was read from before? Pearson correlation of profiles at the last subject "
        "token. The ceiling is the base with itself under other noise.",
        columns=[
            "state",
            "likeness",
            "ceiling",
            "below the ceiling",
            "subjects",
            "refused",
        ],
        rows=[
            [
                PUT_BACK[shift.kind],
                interval(shift.likeness),
                interval(shift.ceiling),
                interval(shift.below_ceiling),
                f"{shift.likeness.num:,}",
                f"{shift.num_refused:,}",
            ]
            for shift in found.shifts
        ],
        align_right=frozenset({1, 2, 3, 4, 5}),
    )
