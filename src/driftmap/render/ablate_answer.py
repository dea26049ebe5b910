"""Does the behaviour depend on what was taken? The top of the page."""

from collections.abc import Sequence

from driftmap.render.ablate_words import ZEROS
from driftmap.render.page import Callout, Grid, Node, Paragraph, Section
from driftmap.render.wording import number, rate
from driftmap.results.ablation import (
    LOG_ODDS,
    AblationKind,
    AblationStudy,
    DoseContrast,
)
from driftmap.results.statistics import Interval

TITLES: dict[AblationKind, str] = {
    "carries": "The behaviour depends on these weights",
    "breaks": "The behaviour depends on these weights, and so does more",
    "collapsed": "The model has collapsed",
    "no difference": "No more than without any others",
}

MEANINGS: dict[AblationKind, str] = {
    "carries": "Taking them changes the refusal of requests more than taking as much "
    "of anything like them, and leaves ordinary ability alone. That is causal evidence "
    "that the behaviour runs through them; it does not say that nothing else could "
    "carry it.",
    "breaks": "Refusal changes more than with any control, but so does what the model "
    "gets right. Part of the change may be a damaged model: look at smaller doses.",
    "collapsed": "Hardly anything is left of what the model gets right. A broken model "
    "refuses nothing either, so this says nothing of the behaviour: look at smaller "
    "doses.",
    "no difference": "Taking these changes refusal no more than taking as much of "
    "something else, beyond what prompts and draws allow for. Either the behaviour "
    "does not depend on them alone, or too few prompts were asked.",
}

P_VALUES = (
    "Differences of rates are in points of per cent, of log-odds in nats. p is "
    "adjusted for many tests, but for the one that was declared beforehand "
    "(`declared`)."
)

CAUTION_TITLES = {
    "short-controls": "Controls that are short",
    "collapsed": "A collapsed model",
    "few-controls": "Few controls",
    "shared-samples": "Samples used twice",
    "no-log-odds": "No log-odds",
}


def answer_section(study: AblationStudy) -> Section:
    """The verdict, what it means, and all outcomes at the largest dose."""
    found = study.statistics
    verdict = found.verdict
    nodes: list[Node] = [
        Callout(kind="verdict", title=TITLES[verdict.kind], texts=[verdict.sentence]),
        Paragraph(text=f"{MEANINGS[verdict.kind]} {ZEROS}"),
        *full_dose_grids(study),
    ]
    nodes += [
        Callout(
            kind="blocking" if caution.is_blocking else "caution",
            title=CAUTION_TITLES.get(caution.name, caution.name),
            texts=[caution.sentence],
        )
        for caution in found.cautions
    ]
    return Section(anchor="answer", title="The answer", nodes=nodes)


def full_dose_grids(study: AblationStudy) -> list[Grid]:
    """Every outcome at the largest dose, a table per group."""
    return [
        _full_dose_grid(study.statistics.full_dose(group.name))
        for group in study.statistics.groups
    ]


def _full_dose_grid(contrasts: Sequence[DoseContrast]) -> Grid:
    group, dose = contrasts[0].group, contrasts[0].dose
    return Grid(
        caption=f"With {100 * dose:g} % of `{group}` taken. Brackets hold 95 % "
        f"intervals, for controls the lowest and highest. {P_VALUES}",
        columns=(
            "outcome", "prompts", "intact", "group taken", "controls taken",
            "group minus controls", "p",
        ),
        rows=[(_outcome(c), f"{c.own.num:,}", *_levels(c)) for c in contrasts],
        align_right=frozenset(range(1, 7)),
    )  # fmt: skip


def doses_grid(contrasts: Sequence[DoseContrast]) -> Grid:
    """Every outcome of one group at every dose."""
    return Grid(
        caption="Every outcome at every dose; the intact model stands in the table at "
        f"the top. {P_VALUES}",
        columns=(
            "outcome", "dose", "prompts", "group taken", "controls taken",
            "group minus controls", "p",
        ),
        rows=[
            (_outcome(c), f"{c.dose:g}", f"{c.own.num:,}", *_levels(c)[1:])
            for c in contrasts
        ],
        align_right=frozenset(range(1, 7)),
    )  # fmt: skip


def _outcome(c: DoseContrast) -> str:
    return c.outcome + (" (`declared`)" if c.is_primary else "")


def _levels(c: DoseContrast) -> tuple[str, ...]:
    """Intact, taken, controls, their difference and its p-value."""
    is_rate = c.outcome != LOG_ODDS
    return (
        _level(c.intact, is_rate=is_rate),
        _level(c.own, is_rate=is_rate),
        _range(c, is_rate=is_rate),
        _difference(c.difference, is_rate=is_rate),
        _p(c.p_value if c.p_adjusted is None else c.p_adjusted),
    )


def _level(value: Interval, *, is_rate: bool) -> str:
    if is_rate:
        return rate(value)
    return f"{value.estimate:.2f} ({value.low:.2f} to {value.high:.2f})"


def _range(c: DoseContrast, *, is_rate: bool) -> str:
    values = (c.control_mean, c.control_low, c.control_high)
    if is_rate:
        mean, low, high = (f"{100 * value:.0f}" for value in values)
        return f"{mean} % ({low} to {high})"
    mean, low, high = (f"{value:.2f}" for value in values)
    return f"{mean} ({low} to {high})"


def _difference(value: Interval, *, is_rate: bool) -> str:
    scale, digits = (100, 0) if is_rate else (1, 2)
    estimate, low, high = (
        f"{scale * v:+.{digits}f}" for v in (value.estimate, value.low, value.high)
    )
    return f"{estimate} ({low} to {high})"


def _p(value: float) -> str:
    return f"≤ {value:.4f}" if value <= 0.0001 else number(value)
