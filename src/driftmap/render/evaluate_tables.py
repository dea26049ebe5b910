"""How do refusal rates, differences and log-odds stand in tables?"""

from collections.abc import Iterator, Sequence

from driftmap.render.judges_page import share
from driftmap.render.page import Grid, Node, Paragraph, Section
from driftmap.render.wording import (
    change_of_rate,
    interval,
    number,
    percent,
    rate,
    short_name,
)
from driftmap.results.evaluation import (
    EvaluationResult,
    OddsReading,
    PairedComparison,
    RefusalRate,
    Which,
)
from driftmap.results.statistics import Interval

_CHANGE = ("change", "p", "p corrected")
_TESTED = (
    "McNemar's exact p, and the same corrected for all comparisons of this page. The "
    "null is that nothing changed."
)


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
        "with a 95 % interval over prompts (harmful + harmless). Log p is the mean "
        "log-probability per token (nats), under "
        f"`{short_name(result.untouched)}`, of those answers to harmful requests that "
        f"do not refuse; below {result.floor:g} the cell reads collapsed.",
        columns=(
            "condition", "prompts", "harmful refused", "corrected",
            "harmless refused", "corrected", "log p",
        ),
        rows=rows,
        align_right=frozenset(range(1, 7)),
    )  # fmt: skip


def models_grid(
    comparisons: Sequence[PairedComparison], names: tuple[str, str]
) -> Grid:
    """One row per condition that both models were asked in.

    Args:
        comparisons: From the compared model to this one.
        names: The compared model and this one.
    """
    before, after = names
    return Grid(
        caption=f"Prompts refused by `{before}` and by `{after}`; refused by the "
        f"second alone (newly) and by the first alone (no longer). {_TESTED}",
        columns=(
            "condition", "prompts", f"refused by `{before}`",
            f"refused by `{after}`", "newly", "no longer", *_CHANGE,
        ),
        rows=[
            (f"{one.asked}, {_way(one.after)}", *_counts(one)) for one in comparisons
        ],
        align_right=frozenset(range(1, 9)),
    )  # fmt: skip


def attacks_grid(comparisons: Sequence[PairedComparison]) -> Grid:
    """One row per attack, beside asking plainly."""
    return Grid(
        caption="Harmful requests refused when asked plainly in the same frame and "
        "under each attack; "
        "refused under attack alone (newly) and plainly alone (no longer). "
        f"{_TESTED}",
        columns=(
            "attack", "prompts", "refused plainly", "refused then",
            "newly", "no longer", *_CHANGE,
        ),
        rows=[(_way(one.after), *_counts(one)) for one in comparisons],
        align_right=frozenset(range(1, 9)),
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
    if result.odds_changes:
        nodes.append(_odds_change_grid(result))
    return Section(
        anchor="log-odds", title="Refusal log-odds, without generation", nodes=nodes
    )


def _odds_grid(result: EvaluationResult) -> Grid:
    return Grid(
        caption="Means in nats with a 95 % interval over prompts. AUC: how often a "
        "refused prompt lies above an answered one, and a harmful request above a "
        "harmless one, by first-token log-odds; chance is .5.",
        columns=(
            "model", "outcome", "harmful", "n", "harmless", "n",
            "AUC refused", "AUC harmful",
        ),
        rows=[
            row
            for reading in sorted(result.odds, key=lambda one: one.model != "this")
            for row in _odds_rows(result, reading)
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
            _mean(reading.means.get(f"{outcome}: harmful")),
            str(reading.num_harmful),
            _mean(reading.means.get(f"{outcome}: harmless")),
            str(reading.num_harmless),
            share(reading.refused_auc) if is_first else "",
            share(reading.harmful_auc) if is_first else "",
        )


def _odds_change_grid(result: EvaluationResult) -> Grid:
    before, after = (short_name(result.models[m]) for m in ("compared", "this"))
    return Grid(
        caption=f"`{after}` minus `{before}` on the same prompts, in nats with a 95 % "
        "interval over prompts; above 0, refusal became likelier. The null is 0.",
        columns=("outcome", "requests", "prompts", "change"),
        rows=[
            (*name.split(": "), str(change.num), _mean(change))
            for name, change in result.odds_changes.items()
        ],
        align_right=frozenset({2, 3}),
    )


def _mean(value: Interval | None) -> str:
    if value is None or value.num > 1:
        return interval(value)
    return f"{value.estimate:.2f}"


def _place(one: RefusalRate) -> tuple[str, bool, str, str]:
    return (one.template, one.has_system, one.attack, one.reading)


def _row(harmful: RefusalRate, harmless: RefusalRate | None) -> tuple[str, ...]:
    system = ", system prompt" if harmful.has_system else ""
    way = f"{harmful.attack} ({harmful.reading})"
    if harmful.attack == "suffix":  # all of them: the reading says it
        way = harmful.reading
    condition = f"{way}, {harmful.template}{system}"
    log_p = number(harmful.log_p)
    return (
        condition,
        str(harmful.refused.num)
        if harmless is None
        else f"{harmful.refused.num} + {harmless.refused.num}",
        rate(harmful.refused),
        _rate(harmful.corrected),
        "–" if harmless is None else rate(harmless.refused),
        "–" if harmless is None else _rate(harmless.corrected),
        f"{log_p} collapsed" if harmful.is_collapsed else log_p,
    )


def _rate(value: Interval | None) -> str:
    if value is None:
        return "–"
    # An interval of no width would claim certainty.
    is_cut = value.low == value.high
    return f"{percent(value.estimate)} (cut)" if is_cut else rate(value)


def _way(name: str) -> str:
    """A condition without whose it is."""
    return name.partition(": ")[2]


def _counts(one: PairedComparison) -> tuple[str, ...]:
    rates = one.rates
    counts = (
        rates.num, rates.num_before, rates.num_after, rates.num_gained, rates.num_lost,
    )  # fmt: skip
    tested = (change_of_rate(one.change), number(rates.p_value), number(one.p_adjusted))
    return (*(str(count) for count in counts), *tested)
