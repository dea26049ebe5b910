"""Do the chosen experts carry refusal? What their removal and their exchange do."""

from collections.abc import Iterator, Sequence

from driftmap.render.charts import Line, Lines, Ranges
from driftmap.render.experts_words import (
    method_name,
    role_of,
    several,
    signed,
)
from driftmap.render.page import Figure, Grid, Node, Paragraph, Row, Section
from driftmap.render.wording import number
from driftmap.results.expert_effects import (
    Action,
    DoseCurve,
    ExpertEffect,
    ExpertEffects,
    OutcomeName,
    SwapTest,
)
from driftmap.results.expert_study import ExpertFindings

ACTIONS: dict[Action, str] = {
    "ablate": "removed",
    "suppress": "taken last by the router",
    "promote": "taken first by the router",
}

READ: dict[OutcomeName, str] = {
    "refusal_log_odds": "refusal log-odds (nats)",
    "margin": "refusal against unsafe answer (nats)",
    "benign_nats": "loss on ordinary text (nats)",
}

MOST_SINGLE = 12
"""Single experts that a figure shows."""


def causal_sections(findings: ExpertFindings) -> Iterator[Section]:
    """What taking experts away does; empty where it was not tried."""
    found = findings.effects
    if found is None or not (found.effects or found.doses):
        return
    groups = [e for e in found.effects if len(e.experts) != 1]
    single = [e for e in found.effects if len(e.experts) == 1]
    nodes: list[Node] = [
        Paragraph(
            text="Scores choose experts; only an effect says that they carry refusal. "
            "Nothing is generated here: refusal log-odds compare how likely the "
            "answer's first word opens a refusal with how likely it does not. Each "
            "set stands beside random sets of the same layers and traffic."
        )
    ]
    nodes += _groups(groups)
    nodes += _doses(found.doses)
    nodes += _single(single)
    nodes += _foreseen(found)
    yield Section(anchor="causal", title="Do these experts carry refusal?", nodes=nodes)


def swap_sections(findings: ExpertFindings) -> Iterator[Section]:
    """Tuned experts or tuned routers; empty where they were not exchanged."""
    swaps = findings.effects.swaps if findings.effects is not None else ()
    if not swaps:
        return
    yield Section(
        anchor="swap",
        title="Is it the experts or the routers?",
        nodes=[
            Paragraph(
                text="New experts run under old routers and the reverse. Each share is "
                "the mean over both settings of the other, so that the two shares add "
                "up to the whole change. `interaction`: what the two do together and "
                "neither does alone. In `replay` the old routers' recorded choices are "
                "used again, so that nothing follows from changed hidden states."
            ),
            _swaps(swaps),
        ],
    )


def _groups(effects: Sequence[ExpertEffect]) -> Iterator[Grid]:
    outcomes: dict[OutcomeName, None] = {effect.outcome: None for effect in effects}
    for outcome in outcomes:
        mine = [effect for effect in effects if effect.outcome == outcome]
        yield Grid(
            caption=f"Change of {READ[outcome]} against the untouched model "
            f"({mine[0].intact:.2f}) on the same prompts, 95 % intervals over prompts. "
            "`random sets`: lowest and highest change of matched random sets under the "
            "same action. p counts random sets that change at least as much.",
            columns=("experts", "are", "change", "random sets", "minus random", "p"),
            rows=[_group(effect) for effect in mine],
            align_right=frozenset(range(2, 6)),
        )


def _group(effect: ExpertEffect) -> tuple[str, ...]:
    null = effect.null
    return (
        f"{effect.name}: {len(effect.experts)} by {effect.method}",
        ACTIONS[effect.action],
        signed(effect.change),
        "–"
        if null is None
        else f"{min(null.changes):+.2f} to {max(null.changes):+.2f} "
        f"({several(len(null.changes), 'draw')})",
        "–" if null is None else signed(null.difference),
        "–" if null is None else number(null.p_value),
    )


def _doses(curves: Sequence[DoseCurve]) -> Iterator[Node]:
    kinds: dict[tuple[Action, OutcomeName], None] = {
        (curve.action, curve.outcome): None for curve in curves
    }
    figures = [_dose(curves, action, outcome) for action, outcome in kinds]
    if figures:
        yield Row(figures=figures) if len(figures) > 1 else figures[0]


def _dose(curves: Sequence[DoseCurve], action: Action, outcome: OutcomeName) -> Figure:
    lines: list[Line] = []
    for curve in curves:
        if (curve.action, curve.outcome) != (action, outcome):
            continue
        changes = [effect.change for effect in curve.effects]
        lines.append(
            Line(
                name=method_name(curve.method),
                role=role_of(curve.method),
                x=[float(dose) for dose in curve.doses],
                y=[change.estimate for change in changes],
                low=[change.low for change in changes],
                high=[change.high for change in changes],
            )
        )
    return Figure(
        name=f"dose-{action}-{outcome.replace('_', '-')}",
        title=f"Ever more of each ranking {ACTIONS[action]}: {READ[outcome]}",
        reading="Change against the untouched model, bands 95 % over prompts. "
        + (
            "Higher is worse: this is what the same costs elsewhere."
            if outcome == "benign_nats"
            else "A ranking that finds what carries refusal moves further from 0, with "
            "fewer experts, than matched random ones."
        ),
        chart=Lines(
            x_title="experts",
            y_title=f"change of {READ[outcome]}",
            lines=lines,
        ),
    )


def _single(effects: Sequence[ExpertEffect]) -> Iterator[Figure]:
    shown = [e for e in effects if e.outcome == "refusal_log_odds"][:MOST_SINGLE]
    if not shown:
        return
    spans = [e.null.changes for e in shown if e.null is not None]
    span = None
    if spans:
        span = (min(map(min, spans)), max(map(max, spans)))
    yield Figure(
        name="single-experts",
        title="Single experts, one at a time",
        reading="Change of refusal log-odds when one expert is "
        f"{ACTIONS[shown[0].action]}, 95 % intervals over prompts"
        + ("" if span is None else "; grey: where matched random experts lie")
        + ". Left of 0: without it the model refuses less.",
        chart=Ranges(
            x_title="change of refusal log-odds (nats)",
            names=[_single_name(effect) for effect in shown],
            estimates=[effect.change.estimate for effect in shown],
            lows=[effect.change.low for effect in shown],
            highs=[effect.change.high for effect in shown],
            reference=0.0,
            margin=span,
            roles=[role_of(effect.method) for effect in shown],
        ),
    )


def _single_name(effect: ExpertEffect) -> str:
    (expert,) = effect.experts
    return f"layer {expert.layer}, expert {expert.expert}"


def _foreseen(found: ExpertEffects) -> Iterator[Paragraph]:
    check = found.estimate
    if check is None:
        return
    told = "says nothing" if check.tau is None else f"{check.tau:.2f}"
    yield Paragraph(
        text="One backward pass foresees the effect of every expert at once. Against "
        f"really removing {several(check.num_experts, 'expert')}, Kendall's tau of the "
        f"two orders is {told}; 1 is the same order, 0 none."
    )


def _swaps(swaps: Sequence[SwapTest]) -> Grid:
    return Grid(
        caption="Refusal log-odds: higher refuses more. Loss on ordinary text: higher "
        "is worse. 95 % intervals over prompts.",
        columns=(
            "outcome", "how", "old to new", "experts' share", "routers' share",
            "interaction",
        ),
        rows=[
            (
                READ[swap.outcome],
                swap.form,
                f"{swap.both_old.estimate:.2f} to {swap.both_new.estimate:.2f}",
                *map(signed, (swap.experts, swap.router, swap.interaction)),
            )
            for swap in swaps
        ],
        align_right=frozenset(range(2, 6)),
    )  # fmt: skip
