"""How do refusal rates, differences and log-odds stand in tables?"""

from collections.abc import Iterator, Sequence

from driftmap.render.judges_page import share
from driftmap.render.page import Grid, Node, Paragraph, Section
from driftmap.render.wording import change_of_rate, number, p_value, rate, short_name
from driftmap.results.evaluation import (
    EvaluationResult,
    OddsReading,
    PairedComparison,
    RefusalRate,
    Which,
)
from driftmap.results.statistics import Interval


def rates_of(result: EvaluationResult, model: Which) -> list[RefusalRate]:
    """Rates of one model."""
    return [one for one in result.rates if one.model == model]


def rates_grid(result: EvaluationResult, model: Which) -> Grid:
    """One row per condition, refusal of harmful and of harmless requests beside it."""
    rates = rates_of(result, model)
    harmless = {_place(one): one for one in rates if one.asked == "harmless"}
    rows = [
        _row(one, harmless.get(_place(one))) for one in rates if one.asked == "harmful"
    ]
    which = "The model" if model == "this" else "Compared with"
    return Grid(
        caption=f"{which}: `{short_name(result.models[model])}`. Refused, in per cent "
        "with a 95 % interval over prompts. Log-probability per token (nats) of the "
        f"answers to harmful requests under `{short_name(result.untouched)}`; below "
        f"{result.floor:g} the cell reads collapsed.",
        columns=(
            "condition", "prompts", "harmful refused", "corrected",
            "harmless refused", "corrected", "log-probability",
        ),
        rows=rows,
        align_right=frozenset(range(1, 7)),
    )  # fmt: skip


def comparison_grid(comparisons: Sequence[PairedComparison]) -> Grid:
    """One row per pair of conditions."""
    return Grid(
        caption="Refused before and after on the same prompts; prompts that are newly "
        "refused and no longer refused; McNemar's exact p, and the same corrected for "
        "all comparisons.",
        columns=(
            "requests", "before", "after", "prompts", "refused before",
            "refused after", "newly", "no longer", "change", "p", "p corrected",
        ),
        rows=[
            (
                one.asked, one.before, one.after, str(one.rates.num),
                str(one.rates.num_before), str(one.rates.num_after),
                str(one.rates.num_gained), str(one.rates.num_lost),
                change_of_rate(one.change),
                _p(one.rates.p_value), _p(one.p_adjusted),
            )
            for one in comparisons
        ],
        align_right=frozenset(range(3, 11)),
    )  # fmt: skip


def odds_section(result: EvaluationResult) -> Section:
    """Log-odds that need no generation, and whether they stand for refusal."""
    tokens = ", ".join(
        f"{number} {text!r}" for number, text in result.first_tokens.items()
    )
    nodes: list[Node] = [
        Paragraph(
            text=f"Tokens that open a refusal, derived from answers: {tokens}."
            if tokens
            else "No token opens a refusal more often than another answer."
        )
    ]
    if result.odds:
        nodes.append(_odds_grid(result))
    return Section(
        anchor="log-odds", title="Refusal log-odds, without generation", nodes=nodes
    )


def _odds_grid(result: EvaluationResult) -> Grid:
    return Grid(
        caption="Means in nats. AUC: how often a refused prompt lies above an answered "
        "one, and a harmful request above a harmless one, by first-token log-odds; "
        "chance is .5.",
        columns=(
            "model", "outcome", "harmful", "n", "harmless", "n",
            "AUC refused", "AUC harmful",
        ),
        rows=[
            row for reading in result.odds for row in _odds_rows(result, reading)
        ],
        align_right=frozenset(range(2, 8)),
    )  # fmt: skip


def _odds_rows(
    result: EvaluationResult, reading: OddsReading
) -> Iterator[tuple[str, ...]]:
    name = f"`{short_name(result.models[reading.model])}`"
    for outcome in ("first token", "openers"):
        is_first = outcome == "first token"
        yield (
            name,
            outcome,
            number(reading.means.get(f"{outcome}: harmful")),
            str(reading.num_harmful),
            number(reading.means.get(f"{outcome}: harmless")),
            str(reading.num_harmless),
            share(reading.refused_auc) if is_first else "",
            share(reading.harmful_auc) if is_first else "",
        )


def _place(one: RefusalRate) -> tuple[str, bool, str, str]:
    return (one.template, one.has_system, one.attack, one.reading)


def _row(harmful: RefusalRate, harmless: RefusalRate | None) -> tuple[str, ...]:
    system = ", system prompt" if harmful.has_system else ""
    condition = f"{harmful.attack} ({harmful.reading}), {harmful.template}{system}"
    log_p = number(harmful.log_p)
    return (
        condition,
        str(harmful.refused.num),
        rate(harmful.refused),
        _rate(harmful.corrected),
        "–"
        if harmless is None
        else f"{rate(harmless.refused)}, n {harmless.refused.num}",
        "–" if harmless is None else _rate(harmless.corrected),
        f"{log_p} collapsed" if harmful.is_collapsed else log_p,
    )


def _rate(value: Interval | None) -> str:
    return "–" if value is None else rate(value)


def _p(value: float) -> str:
    # An exact test has no least p-value that draws would set.
    return p_value(value, 10**9)
