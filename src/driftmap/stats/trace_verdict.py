"""Is a fact read at its subject, and what may be said of it?

The last token at the last layer brings back everything by construction, and so does
the only token of a subject at the bottom. What can come out otherwise is whether one
state in the middle carries the answer, at which token, and where it is handed on.
"""

from collections.abc import Sequence

import numpy as np

from driftmap.results.statistics import Interval
from driftmap.results.trace_kinds import EXACT, Outcome, TokenRole
from driftmap.results.trace_study import FactCounts, TracedFact, TraceVerdict
from driftmap.results.traces import BestLayer, RoleEffects, RoleLayer, TraceGrid

FEWEST_SUBJECTS = 5
"""Subjects without which an interval over subjects says too little."""

LEAST_SHARE = 0.1
"""Share of the total effect that one state must bring back to be called a site."""

OUTCOMES: dict[Outcome, str] = {
    "prob": "the answer's probability",
    "log_prob": "the answer's log-probability",
    "logit": "the answer's logit",
    "logit_difference": "the lead of the answer's logit over the foil's",
    "rank": "the answer's standing among all tokens (0 is the first choice)",
    "kl": "the likeness to what the model says undisturbed (minus the divergence)",
}
"""What is read, in words."""

SUBJECT_ROLES: tuple[TokenRole, ...] = (
    "first subject", "middle subject", "last subject",
)  # fmt: skip

WHAT: dict[str, str] = {
    "hidden": "the output of one block",
    "mlp": "a window of MLP outputs",
    "attn": "a window of attention outputs",
    "severed_mlp": "the output of one block with MLPs held",
    "severed_attn": "the output of one block with attention held",
}
"""What was put back, by kind."""


def trace_verdict(
    counts: FactCounts,
    effects: Sequence[RoleEffects],
    shown: Sequence[TracedFact],
    outcome: Outcome,
) -> TraceVerdict:
    """Read averages by role; where there are none, the one fact that is shown.

    Args:
        counts: What became of the facts.
        effects: Averages, one for each kind; empty where there are none.
        shown: Facts cell by cell.
        outcome: What is read of the answer.
    """
    main = _main(effects)
    if main is None:
        return _single(shown, outcome)
    if counts.num_subjects < FEWEST_SUBJECTS:
        return TraceVerdict(
            kind="inconclusive",
            sentence=f"{_scope(counts)} are too few for an average: "
            f"{FEWEST_SUBJECTS} subjects are the least.",
            settles="Trace more facts, of other subjects.",
        )
    if main.total_effect.low <= 0:
        return TraceVerdict(
            kind="no effect",
            sentence=f"{_lost(counts, main, outcome)} The interval holds 0: there is "
            "nothing to put back.",
            settles="Stronger noise (`--noise-level`), `--noise swap`, or facts that "
            "the model knows better.",
        )
    return _sites(counts, main, effects, outcome)


def amount(value: float, outcome: Outcome) -> str:
    """An effect in its unit: a difference of probabilities or logits, nats, places.

    >>> amount(0.664, "prob"), amount(-1.25, "log_prob"), amount(0.0312, "logit")
    ('0.66', '-1.25 nats', '0.031')
    """
    units = {"log_prob": " nats", "kl": " nats", "rank": " places"}
    return _short(value) + units.get(outcome, "")


def spread(value: Interval, outcome: Outcome) -> str:
    """An effect with its interval.

    >>> te = Interval(estimate=0.7, low=0.664, high=0.741, level=0.95, num=240)
    >>> spread(te, "prob")
    '0.70 (0.66 to 0.74)'
    """
    return (
        f"{amount(value.estimate, outcome)} "
        f"({_short(value.low)} to {_short(value.high)})"
    )


def cell_of(effects: RoleEffects, role: TokenRole, layer: int) -> RoleLayer | None:
    """The mean of one role in one layer; None where the role has none."""
    cells = (c for c in effects.cells if (c.role, c.layer) == (role, layer))
    return next(cells, None)


def best_of(effects: RoleEffects, role: TokenRole) -> BestLayer | None:
    """Where a role's mean is largest; None where the role has none."""
    return next((one for one in effects.best if one.role == role), None)


def handed_on(effects: RoleEffects) -> int | None:
    """First layer from which on the last token brings back more than the subject's."""
    num = 1 + max((cell.layer for cell in effects.cells), default=-1)
    found = None
    for layer in reversed(range(num)):
        subject = cell_of(effects, "last subject", layer)
        last = cell_of(effects, "last", layer)
        if subject is None or last is None:
            return None
        if last.effect.estimate <= subject.effect.estimate:
            break
        found = layer
    return found


def _main(effects: Sequence[RoleEffects]) -> RoleEffects | None:
    plain = [one for one in effects if not one.kind.startswith("severed")]
    return next((one for one in plain if one.kind == "hidden"), next(iter(plain), None))


def _sites(
    counts: FactCounts,
    main: RoleEffects,
    effects: Sequence[RoleEffects],
    outcome: Outcome,
) -> TraceVerdict:
    found = [
        (best, cell.effect)
        for role in SUBJECT_ROLES
        if (best := best_of(main, role)) is not None
        and (cell := cell_of(main, role, best.layer)) is not None
    ]
    sites = [
        (best, effect)
        for best, effect in found
        if effect.low > 0
        and effect.estimate >= LEAST_SHARE * main.total_effect.estimate
    ]
    lost = _lost(counts, main, outcome)
    if not sites:
        most = max((effect.estimate for _, effect in found), default=0.0)
        return TraceVerdict(
            kind="no single site",
            sentence=f"{lost} No single state of the subject brings back a tenth of "
            f"that: {WHAT[main.kind]} at most {amount(most, outcome)}.",
            settles="A window of layers, or another `--noise`: what is spread over "
            "many states shows in none of them alone.",
        )
    best, effect = _leading(sites)
    where = f"layer {best.layer} ({best.low} to {best.high})"
    sentence = (
        f"{lost} Putting back {WHAT[main.kind]} at the {best.role} token brings back "
        f"{spread(effect, outcome)} at {where}"
    )
    if best.role != "last subject":
        return TraceVerdict(kind="other subject token", sentence=f"{sentence}.")
    parts = _parts(main, effects, outcome)
    return TraceVerdict(
        kind="subject site", sentence=f"{sentence}{parts}.{_handover(main)}"
    )


def _leading(sites: list[tuple[BestLayer, Interval]]) -> tuple[BestLayer, Interval]:
    """The last subject token, unless another one's interval lies above its own."""
    last = next((one for one in sites if one[0].role == "last subject"), None)
    other = max(sites, key=lambda one: one[1].estimate)
    if last is None or other[1].low > last[1].high:
        return other
    return last


def _scope(counts: FactCounts) -> str:
    return (
        f"{_several(counts.num_averaged, 'fact')} of "
        f"{_several(counts.num_subjects, 'subject')}"
    )


def _lost(counts: FactCounts, main: RoleEffects, outcome: Outcome) -> str:
    estimated = "" if main.method in EXACT else "Estimated, not traced: "
    return (
        f"{estimated}{'over' if estimated else 'Over'} {_scope(counts)}, disturbing "
        f"the subject takes {spread(main.total_effect, outcome)} off "
        f"{OUTCOMES[outcome]}."
    )


def _handover(main: RoleEffects) -> str:
    layer = handed_on(main)
    if layer is None:
        return ""
    return f" From layer {layer} on the last token of the prompt brings back more."


def _parts(main: RoleEffects, effects: Sequence[RoleEffects], outcome: Outcome) -> str:
    """What windows of one part bring back at the same token."""
    told = [
        f", {WHAT[one.kind]} there {spread(cell.effect, outcome)} around layer "
        f"{best.layer}"
        for one in effects
        if one.kind in ("mlp", "attn") and one is not main
        if (best := best_of(one, "last subject")) is not None
        if (cell := cell_of(one, "last subject", best.layer)) is not None
    ]
    return "".join(told)


def _single(shown: Sequence[TracedFact], outcome: Outcome) -> TraceVerdict:
    grids = [grid for fact in shown[:1] for grid in fact.grids]
    plain = [grid for grid in grids if not grid.kind.startswith("severed")]
    grid = next((one for one in plain if one.kind == "hidden"), next(iter(plain), None))
    if grid is None:
        return TraceVerdict(
            kind="inconclusive",
            sentence="No fact could be traced, so there is nothing to say.",
            settles="Facts that the model knows.",
        )
    return TraceVerdict(
        kind="one fact",
        sentence=f"In this one prompt, disturbing the subject moves "
        f"{OUTCOMES[outcome]} from {_short(grid.high)} to {_short(grid.low)}. "
        f"{_places(grid, outcome)}",
        settles="A file of facts (`--facts`): one prompt says nothing of others.",
    )


def _places(grid: TraceGrid, outcome: Outcome) -> str:
    """The largest cell of the subject."""
    effect = grid.indirect_effect
    start, stop = grid.subject
    inside = effect[start:stop]
    token, layer = np.unravel_index(int(np.nanargmax(inside)), inside.shape)
    most = amount(float(inside[token, layer]), outcome)
    error = float(grid.standard_error[start + int(token), int(layer)])
    return (
        f"Putting back {WHAT[grid.kind]} at its token {int(token) + 1} of "
        f"{stop - start} brings back at most {most}, at layer {int(layer)} (standard "
        f"error {amount(error, outcome)} over {_several(grid.noise.num_draws, 'draw')} "
        "of noise)."
    )


def _short(value: float) -> str:
    if value == 0:
        return "0"
    return f"{value:.2f}" if abs(value) >= 0.1 else f"{value:.2g}"


def _several(num: int, what: str) -> str:
    return f"{num:,} {what}" if num == 1 else f"{num:,} {what}s"
