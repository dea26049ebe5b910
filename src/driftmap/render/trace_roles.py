"""Which tokens carry the answer in which layers, on average over facts?"""

from collections.abc import Iterator
from math import nan

from driftmap.render.bands import banded
from driftmap.render.charts import Lines
from driftmap.render.page import Figure, Folded, Grid, Node, Paragraph, Section
from driftmap.render.token_charts import Bar, Bars, TokenMap
from driftmap.render.trace_words import (
    BAR_ROLES,
    EDITING,
    HUES,
    PUT_BACK,
    ROLE_COLOURS,
    kinds_of,
    layer_title,
    outcome_title,
    several,
    what_was_put_back,
)
from driftmap.render.wording import percent, share
from driftmap.results.statistics import Interval
from driftmap.results.trace_kinds import EXACT, ROLES, Outcome, TokenRole
from driftmap.results.trace_study import TraceFindings
from driftmap.results.traces import RoleEffects, RoleLayer
from driftmap.stats.trace_verdict import spread

CHANCE = (
    "What chance gives: 0 in rows whose token the noise cannot reach; the interval of "
    "a row that holds 0 is not told apart from that."
)

NOT_SHOWN = "What it does not show: where the fact is stored, or where to edit it."

BY_CONSTRUCTION = (
    " The last token brings back everything in the last layer, whatever the model does."
)

SEVERED_NOTE = (
    "What it does not show: that a part is needed for every model. Published for one "
    "model (GPT-2-XL): without MLPs the early site is gone, without attention it stays."
)


def role_map(found: TraceFindings, effects: RoleEffects) -> Figure:
    """Mean effect of each role in each layer, on the scale of what was lost."""
    roles = _roles(effects)
    what = what_was_put_back(effects)
    return Figure(
        name=f"role-map-{effects.kind}",
        title=f"What is brought back by {what}, by token and layer, mean of "
        f"{several(effects.num_facts, 'fact')}",
        reading="What was changed: the subject was disturbed, then one state was put "
        f"back at one token ({what}). Colours run from 0 to all that was lost, "
        f"{share(effects.total_effect.estimate)}, for all kinds alike; below 0 they "
        f"are as pale as 0, and the numbers stay. {CHANCE} {NOT_SHOWN}"
        + (BY_CONSTRUCTION if _ends_full(effects) else ""),
        chart=TokenMap(
            tokens=roles,
            x_labels=[str(layer) for layer in range(found.num_layers)],
            x_title=layer_title(effects.window),
            y_title="token",
            values=[_along(effects, role, found.num_layers) for role in roles],
            value_title=outcome_title(found.outcome, "brought back"),
            hue=HUES[effects.kind],
            ends=(0.0, max(effects.total_effect.estimate, 0.0)),
        ),
    )


def role_sections(found: TraceFindings) -> Iterator[Section]:
    """Maps of the other kinds, lines with bands, and the best layers."""
    kinds = kinds_of(found)
    if not kinds:
        return
    nodes: list[Node] = [Paragraph(text=_what_effects_are(found))]
    several_kinds = [one for kind in kinds if (one := found.of_kind(kind)) is not None]
    nodes += [_lines(found, one) for one in several_kinds]
    nodes += [role_map(found, one) for one in several_kinds[1:]]
    nodes.append(_best(found, several_kinds))
    nodes.append(Paragraph(text=EDITING))
    nodes += [_table(found, one) for one in several_kinds]
    yield Section(anchor="roles", title="Which token, which layer", nodes=nodes)


def severed_sections(found: TraceFindings) -> Iterator[Section]:
    """Bars of the last subject token with attention or MLPs held at what they were."""
    held = [
        one
        for one in found.effects
        if one.kind in BAR_ROLES and _cells(one, "last subject")
    ]
    if not any(one.kind.startswith("severed") for one in held):
        return
    figure = Figure(
        name="severed",
        title="At the last subject token, with attention or MLPs held",
        reading="What was changed: as above one block's output is put back at the last "
        "token of the subject; in severed runs the MLPs (or attention) of that token "
        "stay as the noise made them, in all layers. What falls where a part is held "
        "had gone through it. Whiskers: 95 % intervals over subjects. What chance "
        f"gives: 0. {SEVERED_NOTE}",
        chart=Bars(
            x_labels=[str(layer) for layer in range(found.num_layers)],
            x_title="layer",
            y_title=outcome_title(found.outcome, "brought back"),
            bars=[_bar(one, found.num_layers) for one in held],
        ),
    )
    yield Section(
        anchor="severed",
        title="Through attention or through MLPs",
        nodes=[figure, _severed_table(found, held)],
    )


def _ends_full(effects: RoleEffects) -> bool:
    return effects.kind == "hidden" and effects.method in EXACT


def _what_effects_are(found: TraceFindings) -> str:
    main = found.effects[0]
    pooled = (
        "All tokens of a role count alike, as published."
        if main.pooled
        else "A mean is taken inside each fact first, then over facts."
    )
    return (
        f"Undisturbed the model gives {share(main.high)}, disturbed {share(main.low)}: "
        f"{spread(main.total_effect, found.outcome)} is lost, and can be brought back. "
        "Each number says how much of it comes back when one state is put back and all "
        f"else stays disturbed. {pooled} Intervals draw subjects anew. A token may "
        "stand in two rows: a subject's only token is its first and its last, and "
        "where one token follows the subject it is the first later one and the last."
    )


def _lines(found: TraceFindings, effects: RoleEffects) -> Figure:
    lines = []
    for role in _roles(effects):
        cells = _cells(effects, role)
        lines.append(
            banded(
                f"{_role_name(role)} (n {cells[0].effect.num})",
                [cell.layer for cell in cells],
                [cell.effect for cell in cells],
                ROLE_COLOURS[role],
            )
        )
    total = effects.total_effect.estimate
    least = min([0.0, *(cell.effect.low for cell in effects.cells)])
    most = max([total, *(cell.effect.high for cell in effects.cells)])
    return Figure(
        name=f"role-lines-{effects.kind}",
        title=f"What is brought back by {what_was_put_back(effects)}",
        reading="Bands: 95 % intervals over subjects; n: facts that have such a token. "
        f"All that was lost is {share(total)}. {CHANCE}",
        chart=Lines(
            x_title=layer_title(effects.window),
            y_title=outcome_title(found.outcome, "brought back"),
            lines=lines,
            y_ends=(least, most),
        ),
    )


def _best(found: TraceFindings, kinds: list[RoleEffects]) -> Grid:
    rows = []
    for effects in kinds:
        total = effects.total_effect.estimate
        for best in effects.best:
            cell = next(
                c for c in effects.cells if (c.role, c.layer) == (best.role, best.layer)
            )
            rows.append(
                (
                    what_was_put_back(effects),
                    _role_name(best.role),
                    f"{best.num:,}",
                    f"{best.layer} ({best.low} to {best.high})",
                    spread(cell.effect, found.outcome),
                    percent(best.effect / total) if total > 0 else "–",
                    share(best.mean_of_maxima),
                )
            )
    return Grid(
        caption="The layer in which each role brings back most, with 95 % intervals "
        "over subjects, also of the layer's number. `own best layers`: mean of what "
        "each fact brings back in its own best layer; it is larger, because the best "
        "of many is partly luck.",
        columns=(
            "put back", "token", "facts", "best layer", "brought back there",
            "of all that was lost", "own best layers",
        ),
        rows=rows,
        align_right=frozenset({2, 3, 4, 5, 6}),
    )  # fmt: skip


def _table(found: TraceFindings, effects: RoleEffects) -> Folded:
    roles = _roles(effects)
    rows = []
    for layer in range(found.num_layers):
        cells = [_cell(effects, role, layer) for role in roles]
        told = [
            "–" if cell is None else spread(cell.effect, found.outcome)
            for cell in cells
        ]
        rows.append((str(layer), *told))
    what = what_was_put_back(effects)
    grid = Grid(
        caption=f"Brought back by {what}, with 95 % intervals over "
        f"{several(found.counts.num_subjects, 'subject')}. In brackets above: facts. "
        "Numbers below 0 are kept: there the answer became less likely still.",
        columns=("layer", *(_header(effects, role) for role in roles)),
        rows=rows,
        align_right=frozenset(range(1, 1 + len(roles))),
    )
    return Folded(summary=f"Every number: {what}", nodes=[grid])


def _header(effects: RoleEffects, role: TokenRole) -> str:
    return f"{_role_name(role)} ({_cells(effects, role)[0].effect.num:,})"


def _severed_table(found: TraceFindings, held: list[RoleEffects]) -> Folded:
    rows = []
    for layer in range(found.num_layers):
        cells = [_cell(one, "last subject", layer) for one in held]
        rows.append(
            (str(layer), *(_told(c and c.effect, found.outcome) for c in cells))
        )
    grid = Grid(
        caption="Brought back at the last token of the subject, with 95 % intervals "
        "over subjects.",
        columns=("layer", *(PUT_BACK[one.kind] for one in held)),
        rows=rows,
        align_right=frozenset(range(1, 1 + len(held))),
    )
    return Folded(summary="Every number of these bars", nodes=[grid])


def _told(effect: Interval | None, outcome: Outcome) -> str:
    return "–" if effect is None else spread(effect, outcome)


def _bar(effects: RoleEffects, num_layers: int) -> Bar:
    cells = [_cell(effects, "last subject", layer) for layer in range(num_layers)]
    return Bar(
        name=PUT_BACK[effects.kind],
        values=[nan if cell is None else cell.effect.estimate for cell in cells],
        lows=[nan if cell is None else cell.effect.low for cell in cells],
        highs=[nan if cell is None else cell.effect.high for cell in cells],
        role=BAR_ROLES[effects.kind],
    )


def _roles(effects: RoleEffects) -> list[TokenRole]:
    """Roles that have numbers, in the order in which tokens come."""
    return [role for role in ROLES if _cells(effects, role)]


def _role_name(role: TokenRole) -> str:
    """A role as a row is named.

    >>> _role_name("last subject"), _role_name("last")
    ('last subject token', 'last token')
    """
    return "further tokens" if role == "further" else f"{role} token"


def _cells(effects: RoleEffects, role: TokenRole) -> list[RoleLayer]:
    return [cell for cell in effects.cells if cell.role == role]


def _cell(effects: RoleEffects, role: TokenRole, layer: int) -> RoleLayer | None:
    return next((c for c in _cells(effects, role) if c.layer == layer), None)


def _along(effects: RoleEffects, role: TokenRole, num_layers: int) -> list[float]:
    cells = [_cell(effects, role, layer) for layer in range(num_layers)]
    return [nan if cell is None else cell.effect.estimate for cell in cells]
