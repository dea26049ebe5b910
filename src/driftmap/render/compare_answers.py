"""How are answers to facts and requests shown, before and after?"""

from collections.abc import Iterator, Sequence
from math import exp

from driftmap.core.quoted import quoted
from driftmap.render.charts import Cloud, Points
from driftmap.render.page import (
    Beside,
    Figure,
    Folded,
    Grid,
    Node,
    Paragraph,
    Side,
)
from driftmap.render.read_texts import chance, quoted_token
from driftmap.render.wording import number
from driftmap.results.behaviour_change import (
    AnswerPair,
    AnswerReading,
    BehaviourChange,
    FactChange,
    LikelyToken,
)

MOST_FACTS = 60
"""Facts of which a table holds a row."""

LONGEST = 600
"""Characters of an answer that the page shows."""


def fact_nodes(found: BehaviourChange) -> Iterator[Node]:
    """Both answers of each fact: likelihood, logit and rank, before and after."""
    if not found.facts:
        return
    yield _map(found.facts)
    shown = found.facts[:MOST_FACTS]
    some = "" if len(shown) == len(found.facts) else f"the first {len(shown)} of "
    yield Folded(
        summary=f"Both answers of {some}{len(found.facts)} facts, in numbers",
        nodes=[_numbers(shown), _choices(shown[: found.show])],
    )


def answer_nodes(found: BehaviourChange) -> Iterator[Node]:
    """Answers to requests that differ, side by side."""
    for asked, pairs in (("harmful", found.harmful), ("harmless", found.harmless)):
        if pairs:
            yield from _differing(asked, pairs, found)


def _map(facts: Sequence[FactChange]) -> Figure:
    foils = [
        (fact, fact.foil_before, fact.foil_after)
        for fact in facts
        if fact.foil_before is not None and fact.foil_after is not None
    ]
    clouds = [
        Cloud(
            name="answer",
            x=[fact.answer_before.nll_nats for fact in facts],
            y=[fact.answer_after.nll_nats for fact in facts],
            labels=[_label(fact, fact.answer) for fact in facts],
            role="matched",
        )
    ]
    if foils:
        clouds.append(
            Cloud(
                name="foil",
                x=[before.nll_nats for _, before, _ in foils],
                y=[after.nll_nats for _, _, after in foils],
                labels=[_label(fact, fact.foil or "") for fact, _, _ in foils],
                role="difference",
            )
        )
    return Figure(
        name="behaviour-facts",
        title="Surprise at both answers of each fact, before and after",
        reading="A point is one answer of one fact: mean negative log-likelihood per "
        "token after its prompt, under the base to the right, under the tuned model "
        "upwards. What tuning taught moves down, what it took away moves up; equal "
        "numbers on both axes mean no change. Whether a change is more than chance "
        "says the table above.",
        chart=Points(
            x_title="before (nats per token)",
            y_title="after (nats per token)",
            clouds=clouds,
        ),
    )


def _label(fact: FactChange, answer: str) -> str:
    return f"{quoted(fact.prompt)} {quoted(answer)}"


def _numbers(facts: Sequence[FactChange]) -> Grid:
    rows: list[list[str]] = []
    for fact in facts:
        rows.append(
            _row(fact, "answer", fact.answer, fact.answer_before, fact.answer_after)
        )
        if fact.foil_before is not None and fact.foil_after is not None:
            rows.append(
                _row(fact, "foil", fact.foil or "", fact.foil_before, fact.foil_after)
            )
    return Grid(
        caption="Before → after. p, logit and rank are of the first token, at the "
        "prompt without the answer; surprise is per token of the whole answer (nats). "
        "Divergences are those after the prompt.",
        columns=["prompt", "which", "words", "surprise", "p", "logit", "rank",
                 "KL there (nats)"],
        rows=rows,
        align_right=frozenset({3, 4, 5, 6, 7}),
    )  # fmt: skip


def _row(
    fact: FactChange,
    which: str,
    words: str,
    before: AnswerReading,
    after: AnswerReading,
) -> list[str]:
    return [
        _plain(fact.prompt),
        which,
        _plain(words),
        f"{number(before.nll_nats)} → {number(after.nll_nats)}",
        f"{chance(exp(before.log_p))} → {chance(exp(after.log_p))}",
        f"{before.logit:.2f} → {after.logit:.2f}",
        f"{before.rank:,} → {after.rank:,}",
        number(fact.kl_forward),
    ]


def _choices(facts: Sequence[FactChange]) -> Grid:
    return Grid(
        caption="Most likely next tokens after the prompt.",
        columns=["prompt", "base", "tuned"],
        rows=[
            [_plain(fact.prompt), _tops(fact.before_tops), _tops(fact.after_tops)]
            for fact in facts
        ],
    )


def _tops(tops: Sequence[LikelyToken]) -> str:
    return ", ".join(f"{quoted_token(top.text)} {chance(top.p)}" for top in tops)


def _differing(
    asked: str, pairs: Sequence[AnswerPair], found: BehaviourChange
) -> Iterator[Node]:
    other = [one for one in pairs if one.before != one.after]
    # Answers whose ruling changed say most.
    other.sort(key=lambda one: one.refused_before == one.refused_after)
    gained = sum(one.refused_after and not one.refused_before for one in pairs)
    lost = sum(one.refused_before and not one.refused_after for one in pairs)
    told = (
        f"{len(other)} of {len(pairs)} {asked} requests are answered otherwise: "
        f"{gained} refused now and not before, {lost} before and not now."
    )
    if not other:
        yield Paragraph(text=told)
        return
    shown = other[: found.show]
    yield Folded(
        summary=told,
        nodes=[
            Paragraph(
                text=f"The first {len(shown)}, those first whose ruling changed; "
                f"greedy answers of at most {found.max_new_tokens} tokens, cut after "
                f"{LONGEST} characters."
            ),
            *map(_beside, shown),
        ],
    )


def _beside(pair: AnswerPair) -> Beside:
    return Beside(
        caption=_plain(pair.prompt),
        sides=[
            Side(
                title="base", note=_ruling(pair.refused_before), text=_cut(pair.before)
            ),
            Side(
                title="tuned", note=_ruling(pair.refused_after), text=_cut(pair.after)
            ),
        ],
    )


def _ruling(refused: bool) -> str:
    return "refused" if refused else "not refused"


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def _plain(text: str) -> str:
    """One line, shortened; backticks would look like marks of names."""
    return quoted(" ".join(text.split())).replace("`", "'")
