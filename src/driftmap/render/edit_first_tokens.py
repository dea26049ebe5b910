"""What would both models say next at the facts' own prompts, without an answer?"""

from collections.abc import Sequence
from math import exp

from driftmap.core.quoted import quoted
from driftmap.render.edit_number_words import (
    FIRST_MEASURES,
    arrow,
    cells_of,
    new_word,
    several,
)
from driftmap.render.page import Folded, Grid, Node, Paragraph, Section
from driftmap.render.read_texts import quoted_token
from driftmap.render.wording import number
from driftmap.results.edits import EditReport, FirstTokens

SHOWN = 12
"""Facts that are listed one by one before the rest is folded away."""


def first_token_section(report: EditReport) -> Section | None:
    """Logits, log-probabilities and ranks; None where no fact allows it."""
    before, after = report.before.first, report.after.first
    if before is None or after is None:
        return None
    new = new_word(report)
    nodes: list[Node] = [
        Paragraph(
            text="The next token after each fact's own prompt, the answer left away: "
            f"the first token of the true and of the {new} answer." + _left_out(report)
        ),
        _means(report),
        *_folding(report, before, after),
    ]
    return Section(anchor="edits-next", title="Logits before and after", nodes=nodes)


def _left_out(report: EditReport) -> str:
    if not report.num_same_first:
        return ""
    return (
        f" {several(report.num_same_first, 'fact')} whose two answers begin with the "
        "same token are left out."
    )


def _means(report: EditReport) -> Grid:
    found = [one for one in report.measures if one.name in FIRST_MEASURES]
    return Grid(
        caption="Means over facts with 95 % intervals; differences are paired.",
        columns=("measure", "before", "after", "after minus before", "n"),
        rows=[cells_of(report, one) for one in found],
        align_right=frozenset({1, 2, 3, 4}),
    )


def _folding(
    report: EditReport, before: FirstTokens, after: FirstTokens
) -> Sequence[Node]:
    rows = [_row(report, before, after, place) for place in range(before.fact.size)]
    moves = [_moves(report, before, after, place) for place in range(before.fact.size)]
    nodes: list[Node] = [_facts(report, rows[:SHOWN])]
    if rows[SHOWN:]:
        summary = f"{several(len(rows) - SHOWN, 'more fact')}"
        nodes.append(Folded(summary=summary, nodes=[_facts(report, rows[SHOWN:])]))
    many = before.top_ids.shape[1]
    nodes.append(
        Folded(
            summary=f"Which tokens moved into the {many} likeliest, and out of them",
            nodes=[
                Grid(
                    caption=f"The {many} likeliest tokens of both models, likeliest "
                    "first.",
                    columns=("prompt", "first before", "first after", "in", "out"),
                    rows=moves,
                )
            ],
        )
    )
    return nodes


def _facts(report: EditReport, rows: Sequence[Sequence[str]]) -> Grid:
    new = new_word(report)
    return Grid(
        caption="Fact by fact, before to after. Rank counts the tokens that are "
        "likelier: 0 is the first choice.",
        columns=(
            "prompt",
            "true",
            "its logit",
            "its p",
            "its rank",
            new,
            "its logit",
            "its p",
            "its rank",
        ),
        rows=rows,
        align_right=frozenset({2, 3, 4, 6, 7, 8}),
    )


def _row(
    report: EditReport, before: FirstTokens, after: FirstTokens, place: int
) -> tuple[str, ...]:
    fact = report.facts[int(before.fact[place])]
    return (
        quoted(fact.prompt),
        quoted(str(fact.answer)),
        arrow(before.logit_true[place], after.logit_true[place]),
        _chances(before.log_p_true[place], after.log_p_true[place]),
        f"{before.rank_true[place]} to {after.rank_true[place]}",
        quoted(str(fact.foil)),
        arrow(before.logit_new[place], after.logit_new[place]),
        _chances(before.log_p_new[place], after.log_p_new[place]),
        f"{before.rank_new[place]} to {after.rank_new[place]}",
    )


def _chances(before: float, after: float) -> str:
    """Probabilities of two log-probabilities."""
    return f"{number(exp(before))} to {number(exp(after))}"


def _moves(
    report: EditReport, before: FirstTokens, after: FirstTokens, place: int
) -> tuple[str, ...]:
    fact = report.facts[int(before.fact[place])]
    first, second = before.tops[place], after.tops[place]
    were, are = (side.top_ids[place].tolist() for side in (before, after))
    entered = [
        token for token, own in zip(second, are, strict=False) if own not in were
    ]
    left = [token for token, own in zip(first, were, strict=False) if own not in are]
    return (
        quoted(fact.prompt),
        quoted_token(first[0]),
        quoted_token(second[0]),
        " ".join(map(quoted_token, entered)) or "none",
        " ".join(map(quoted_token, left)) or "none",
    )
