"""Does freezing help? The top of the page."""

from driftmap.render.page import Callout, Facts, Grid, Node, Paragraph, Section
from driftmap.render.wording import change_of_rate, number, rate
from driftmap.results.freeze_study import (
    LOG_ODDS,
    ArmKind,
    FreezeContrast,
    FreezeKind,
    FreezeStudy,
)
from driftmap.results.statistics import Interval

TITLES: dict[FreezeKind, str] = {
    "helps": "Freezing these weights helps",
    "costs": "Freezing keeps refusal, and costs ability",
    "harms": "Freezing these weights harms",
    "alike": "Freezing makes no difference that matters",
    "not found": "No difference is found",
    "nothing lost": "There was nothing to keep",
    "few seeds": "Too few training seeds to tell",
    "trial": "A trial run",
}

MEANINGS: dict[FreezeKind, str] = {
    "helps": "More of the behaviour is left than when as many other weights, or none, "
    "are frozen. That is causal evidence that tuning takes the behaviour away through "
    "these very weights.",
    "costs": "More of the behaviour is left, but the model also gets less right than "
    "with nothing frozen: what is kept may be tuning that did not happen.",
    "harms": "Less of the behaviour is left than when as many other weights, or none, "
    "are frozen.",
    "alike": "Most of what tuning takes away it takes all the same: it finds a way "
    "around these weights. A difference below the margin may still be there; the "
    "log-odds are finer.",
    "not found": "Tuning may find a way around the frozen weights, or the difference "
    "may be too small for these seeds and requests. This is no evidence that there is "
    "none.",
    "nothing lost": "A behaviour that tuning leaves alone cannot be protected: tune "
    "for longer, or on other samples.",
    "few seeds": "Another training seed gives another model: below three, nothing says "
    "how far.",
    "trial": "It shows that the experiment works, not what is true.",
}

CAUTION_TITLES = {
    "trial": "A trial run",
    "immobile": "Weights that would not have moved anyway",
    "blocked": "More is blocked than the group",
    "short-controls": "Controls that are short",
    "rewound": "Rewound, not frozen",
    "collapsed": "A collapsed model",
    "at-an-end": "A rate at its end",
    "no-ceiling": "No ceiling",
    "poor-ceiling": "A group that is not reproducible",
    "shared-samples": "Samples used twice",
    "no-log-odds": "No log-odds",
    "four-bit": "Weights of 4 bits",
}


def answer_section(study: FreezeStudy) -> Section:
    """The verdict, what it means, and the declared share in every outcome."""
    found = study.statistics
    kind = found.verdict.kind
    nodes: list[Node] = [
        Callout(kind="verdict", title=TITLES[kind], texts=[found.verdict.sentence]),
        Paragraph(text=MEANINGS[kind]),
        Facts(
            pairs=[
                ("refused before tuning", rate(found.before)),
                ("refused after tuning, nothing frozen", rate(found.free)),
                ("change by tuning", change_of_rate(found.lost)),
                *_odds(found.lost_odds),
                ("training seeds", f"{found.num_seeds}"),
                ("margin that matters", f"{100 * found.margin:g} points"),
            ]
        ),
        _declared_grid(study),
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


def contrast_grid(caption: str, contrasts: list[FreezeContrast]) -> Grid:
    """Contrasts of all shares, one row each."""
    return Grid(
        caption=caption,
        columns=("outcome", "share", *_COLUMNS),
        rows=[(_outcome(c), f"{100 * c.share:g} %", *_cells(c)) for c in contrasts],
        align_right=frozenset({1, *range(3, 10)}),
    )


def _declared_grid(study: FreezeStudy) -> Grid:
    """Contrasts of the declared share."""
    found = study.statistics
    return Grid(
        caption=f"With {100 * found.declared_share:g} % frozen. Brackets hold 95 % "
        "intervals; `declared` marks the one test that was declared beforehand.",
        columns=("outcome", *_COLUMNS),
        rows=[
            (_outcome(c), *_cells(c))
            for c in found.contrasts
            if c.share == found.declared_share
        ],
        align_right=frozenset(range(2, 9)),
    )


_COLUMNS = (
    "compared", "n", "difference, over prompts", "over seeds", "p", "p adjusted",
    "first", "second",
)  # fmt: skip

_SHORT: dict[ArmKind, str] = {"free": "nothing", "group": "group", "matched": "control"}


def _odds(lost: Interval | None) -> list[tuple[str, str]]:
    if lost is None:
        return []
    words = f"{lost.estimate:+.2f} nats ({lost.low:+.2f} to {lost.high:+.2f})"
    return [("change of its log-odds by tuning", words)]


def _outcome(c: FreezeContrast) -> str:
    return c.outcome + (" (`declared`)" if c.is_declared else "")


def _cells(c: FreezeContrast) -> tuple[str, ...]:
    is_rate = c.outcome != LOG_ODDS
    apart = _signed(c.over_prompts.estimate, is_rate=is_rate)
    return (
        f"{_SHORT[c.kind]} / {_SHORT[c.against]}",
        f"{c.own.num:,}",
        f"{apart} ({_range(c.over_prompts, is_rate=is_rate)})",
        _range(c.over_seeds, is_rate=is_rate),
        "–" if c.p_value is None else _p(c.p_value),
        "–" if c.p_adjusted is None else _p(c.p_adjusted),
        _level(c.own, is_rate=is_rate),
        _level(c.other, is_rate=is_rate),
    )


def _level(value: Interval, *, is_rate: bool) -> str:
    if is_rate:
        return rate(value)
    return f"{value.estimate:.2f} ({value.low:.2f} to {value.high:.2f})"


def _range(value: Interval | None, *, is_rate: bool) -> str:
    if value is None:
        return "–"
    low, high = (_signed(end, is_rate=is_rate) for end in (value.low, value.high))
    return f"{low} to {high}"


def _signed(value: float, *, is_rate: bool) -> str:
    return f"{100 * value:+.0f}" if is_rate else f"{value:+.2f}"


def _p(value: float) -> str:
    return f"≤ {value:.4f}" if value <= 0.0001 else number(value)
