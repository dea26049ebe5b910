"""How is behaviour before and after shown?"""

from collections.abc import Iterator, Sequence
from math import exp
from typing import Literal

import numpy as np
from jaxtyping import Float64

from driftmap.render.coloured import ColouredText, ColouredTexts, quantile_scale
from driftmap.render.compare_answers import answer_nodes, fact_nodes
from driftmap.render.compare_tokens import Piece, coloured, pieces
from driftmap.render.page import (
    Callout,
    Folded,
    Grid,
    Node,
    Paragraph,
    Section,
    Terms,
)
from driftmap.render.read_texts import chance, quoted_token
from driftmap.render.wording import change_of_rate, number, rate
from driftmap.results.behaviour_change import (
    BehaviourChange,
    DivergenceMeans,
    OutcomeChange,
    TextDivergence,
)
from driftmap.results.statistics import Interval
from driftmap.stats.claims.behaviour import (
    LEAST_NATS,
    LEVEL,
    identical_words,
    p_words,
    standing_of,
)

MOST_MOVED = 12
"""Tokens that the page lists."""

METHOD = (
    (
        "KL divergence",
        "sum p (ln p - ln q) over the whole vocabulary, in nats: what a text that is "
        "written by p costs more under q, per token. It has a direction, so both are "
        "given. It is never below 0, and 0 only where both models foretell the same.",
    ),
    (
        "Jensen-Shannon divergence",
        "Mean KL of both from their middle; it has no direction, and ln 2 = 0.693 nats "
        "is the most there can be.",
    ),
    (
        "Random change",
        "Every matrix that tuning changed is changed by a random matrix of the same "
        "length. It says what so large a change does if chance draws it; what was "
        "trained has a low rank and a direction, and the random one has not.",
    ),
    (
        "Surprise",
        "Mean negative log-likelihood per token, in nats. Of an answer, each token in "
        "its own place after the prompt; its logit, rank and p are of the first token, "
        "at the prompt without the answer.",
    ),
    (
        "Tests",
        "McNemar's exact test of rates, random signs of paired differences else, "
        "corrected for all outcomes of this part (Benjamini and Hochberg). Intervals "
        "are 95 % and draw texts, requests, samples or subjects again.",
    ),
    (
        "Refused",
        "A judge by phrases reads the greedy answer. It errs on partial refusals, and "
        "not refusing is not complying.",
    ),
)

LONGEST_CONTEXT = 30
"""Characters before a token that the page shows."""

NOT_SHOWN = (
    "A divergence says that the models differ, not that either is right; probes show "
    "what they ask, and nothing else."
)


def behaviour_section(found: BehaviourChange) -> Section:
    """The page's section on what both models do."""
    return Section(anchor="behaviour", title="What it does", nodes=[*_nodes(found)])


def _nodes(found: BehaviourChange) -> Iterator[Node]:
    if found.is_identical:
        yield Callout(kind="note", title="Identical", texts=[identical_words(found)])
        return
    yield from _left_out(found)
    if found.summary.outcomes:
        yield _outcomes(found)
    yield from _divergences(found)
    yield from _texts(found)
    yield from fact_nodes(found)
    yield from answer_nodes(found)
    yield Folded(summary="How behaviour is read", nodes=[Terms(pairs=METHOD)])


def _left_out(found: BehaviourChange) -> Iterator[Node]:
    if found.left_out:
        told = ", ".join(f"{why}: {num}" for why, num in found.left_out.items())
        yield Callout(kind="caution", title="Not asked", texts=[f"{told}."])


def _outcomes(found: BehaviourChange) -> Grid:
    summary = found.summary
    rows = [_outcome_row(one) for one in summary.outcomes]
    ratio = summary.perplexity_ratio
    if ratio is not None:
        rows.append(
            [
                "perplexity of all texts",
                number(summary.perplexity_before),
                number(summary.perplexity_after),
                f"x {_spread(ratio)}",
                f"{ratio.num} texts",
                "–",
                "–",
            ]
        )
    return Grid(
        caption="Outcomes before and after, each with its 95 % interval. Told apart: "
        f"corrected p below {LEVEL}.",
        columns=["outcome", "before", "after", "change", "n", "corrected p",
                 "told apart from chance"],
        rows=rows,
        align_right=frozenset({1, 2, 3, 4, 5}),
    )  # fmt: skip


def _outcome_row(one: OutcomeChange) -> list[str]:
    told = {"found": "yes", "inconclusive": "no"}[standing_of(one)]
    if told == "no" and one.p_least >= LEVEL:
        told = "cannot be: too few"
    shown = rate if one.is_rate else _spread
    signed = change_of_rate if one.is_rate else _signed
    return [
        one.name,
        shown(one.before),
        shown(one.after),
        signed(one.change),
        f"{one.change.num} {one.per}",
        p_words(one.p_adjusted),
        told,
    ]


def _divergences(found: BehaviourChange) -> Iterator[Node]:
    named = [
        ("per token of texts", "texts", found.summary.texts),
        ("after prompts of facts", "subjects", found.summary.prompts),
    ]
    rows = [_divergence_row(where, per, one) for where, per, one in named if one]
    if rows:
        why = f" No random change: {found.no_chance}." if found.no_chance else ""
        yield Grid(
            caption="How far apart the next-token distributions are, in nats; below "
            f"{LEAST_NATS} two models count as alike.{why}",
            columns=["where", "KL base to tuned", "KL tuned to base", "Jensen-Shannon",
                     "KL base to random change", "n"],
            rows=rows,
            align_right=frozenset({1, 2, 3, 4, 5}),
        )  # fmt: skip
        yield Paragraph(text=NOT_SHOWN)


def _divergence_row(where: str, per: str, one: DivergenceMeans) -> list[str]:
    return [
        where,
        _spread(one.forward),
        _spread(one.backward),
        _spread(one.js),
        "–" if one.chance is None else _spread(one.chance),
        f"{one.forward.num} {per}",
    ]


def _texts(found: BehaviourChange) -> Iterator[Node]:
    if not found.texts:
        return
    ordered = sorted(found.texts, key=lambda one: -_mean_kl(one))
    shown = ordered[: found.show]
    values = [_kl(one, piece) for one in found.texts for piece in _read(one)]
    yield ColouredTexts(
        caption=f"The {len(shown)} of {len(found.texts)} texts that the models differ "
        "most on. Colour: KL from base to tuned before each token, one scale for all "
        "texts. Point at a token for its numbers, base → tuned.",
        scale=quantile_scale(
            "KL from base to tuned (nats)", values, low="alike", high="apart"
        ),
        texts=[_coloured(one) for one in shown],
    )
    yield _most_moved(found.texts)


def _coloured(text: TextDivergence) -> ColouredText:
    return coloured(
        text,
        lambda piece: _kl(text, piece),
        note=f"mean KL {number(_mean_kl(text))} nats, "
        f"{text.before.surprise.size - text.first} tokens",
        more=lambda piece: [
            f"KL {number(_kl(text, piece))} nats, back "
            f"{number(_largest(text.apart.backward, piece))}, Jensen-Shannon "
            f"{number(_largest(text.apart.js, piece))}"
        ],
    )


def _most_moved(texts: Sequence[TextDivergence]) -> Grid:
    places = [
        (_kl(text, piece), text, piece) for text in texts for piece in _read(text)
    ]
    places.sort(key=lambda one: -one[0])
    return Grid(
        caption=f"The {min(MOST_MOVED, len(places))} of {len(places):,} tokens before "
        "which the models differ most.",
        columns=["text", "after", "token", "KL (nats)", "its p before → after",
                 "base's choice", "tuned model's choice"],
        rows=[
            [
                text.name,
                _before(text, piece),
                quoted_token(piece.text),
                number(kl),
                f"{_p(text, piece, 'before')} → {_p(text, piece, 'after')}",
                _choice(text, piece, "before"),
                _choice(text, piece, "after"),
            ]
            for kl, text, piece in places[:MOST_MOVED]
        ],
        align_right=frozenset({3}),
    )  # fmt: skip


def _read(text: TextDivergence) -> Iterator[Piece]:
    """Pieces that count."""
    return (p for p in pieces(text) if p.is_read and p.past > text.first)


def _mean_kl(text: TextDivergence) -> float:
    return float(text.apart.forward[text.first :].mean())


def _kl(text: TextDivergence, piece: Piece) -> float:
    return _largest(text.apart.forward, piece)


def _largest(values: Float64[np.ndarray, " token"], piece: Piece) -> float:
    return float(values[piece.first : piece.past].max())


def _before(text: TextDivergence, piece: Piece) -> str:
    """The last characters before a piece."""
    start = int(text.spelled.spans[piece.first, 0])
    words = text.spelled.text[max(0, start - LONGEST_CONTEXT) : start]
    return quoted_token(("…" if start > LONGEST_CONTEXT else "") + words)


def _p(text: TextDivergence, piece: Piece, model: Literal["before", "after"]) -> str:
    numbers = text.before if model == "before" else text.after
    return chance(exp(-float(numbers.surprise[piece.first : piece.past].sum())))


def _choice(
    text: TextDivergence, piece: Piece, model: Literal["before", "after"]
) -> str:
    numbers = text.before if model == "before" else text.after
    tops = text.before_tops if model == "before" else text.after_tops
    p = chance(float(numbers.top_p[piece.first, 0]))
    return f"{quoted_token(tops[piece.first][0])} {p}"


def _spread(value: Interval) -> str:
    """A mean with its interval; one probe alone has none."""
    if value.num == 1:
        return number(value.estimate)
    return f"{number(value.estimate)} ({number(value.low)} to {number(value.high)})"


def _signed(value: Interval) -> str:
    return f"{'+' if value.estimate > 0 else ''}{_spread(value)}"
