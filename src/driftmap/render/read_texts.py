"""How are readings of tokens shown as coloured texts?"""

from collections.abc import Mapping, Sequence
from math import exp, log

from driftmap.render.coloured import (
    ColouredPiece,
    ColouredText,
    ColouredTexts,
    ColourScale,
    quantile_scale,
    visible,
)
from driftmap.render.coloured_text import Colours, terminal_text
from driftmap.render.wording import number
from driftmap.results.reading_study import ReadingStudy, ReadText, Shown
from driftmap.results.readings import StretchReading

NOT_TRUTH = (
    "Neither number says whether a text is true. A model can be sure of what is false, "
    "and surprised by what is true; an entropy over single tokens also counts ways of "
    "saying the same thing as different."
)

ENDS: Mapping[Shown, tuple[str, str]] = {
    "surprise": ("expected", "unexpected"),
    "entropy": ("sure", "unsure"),
    "relative-entropy": ("sure", "unsure"),
}

TITLES: Mapping[Shown, str] = {
    "surprise": "surprise (nats)",
    "entropy": "entropy (nats)",
    "relative-entropy": "entropy (share of ln of the vocabulary's size)",
}

MOST_PIECES = 8000
"""Pieces of a text that are shown: a page of more takes a browser too long."""


def texts_by(study: ReadingStudy, shown: Shown) -> ColouredTexts:
    """All texts of a study on one scale.

    Args:
        study: The readings.
        shown: What colours stand for.
    """
    return ColouredTexts(
        caption="",
        scale=_scale(study, shown),
        texts=[_text(text, shown) for text in study.texts],
        marked=wrong_words(study) if any(text.wrong for text in study.texts) else "",
    )


def terminal_texts(study: ReadingStudy, colours: Colours) -> str:
    """What a terminal shows of a study.

    Args:
        study: The readings.
        colours: Which there are.
    """
    return terminal_text(texts_by(study, study.shown), colours)


def wrong_words(study: ReadingStudy) -> str:
    """What marked tokens are."""
    return (
        f"sure and wrong: entropy below {number(study.sure_below)}, surprise above "
        f"{number(study.wrong_above)} nats"
    )


def quoted_token(text: str) -> str:
    """A token between quotes, its breaks as signs.

    >>> quoted_token(" a")
    '“ a”'
    """
    # Pages read words between backticks as names.
    shown = visible(text).replace("\n", "↵").replace("\t", "⇥").replace("`", "ˋ")
    return f"“{shown}”"


def chance(p: float) -> str:
    """A probability in two digits, never 0 or 1 where it is not.

    >>> chance(0.123), chance(0.00001), chance(1.0), chance(0.997), chance(0.9999)
    ('.12', '<.001', '1', '.997', '>.999')
    """
    if p == 1:
        return "1"
    if not 0.001 <= p <= 0.999:
        return "<.001" if p < 0.5 else ">.999"
    digits = 2 if 0.1 <= p < 0.99 else 3
    return f"{p:.{digits}f}".removeprefix("0")


def summary_note(text: ReadText) -> str:
    """What is said of a text beside its name."""
    summary = text.summary
    counted = f"{summary.num_scored} of {summary.num_tokens} tokens count"
    return (
        f"perplexity {number(summary.perplexity)}, mean entropy "
        f"{number(summary.mean_entropy)} nats, {counted}"
    )


def _scale(study: ReadingStudy, shown: Shown) -> ColourScale:
    found = [
        _value(text, piece, shown)
        for text in study.texts
        for piece in text.characters
        if not piece.is_context
    ]
    low, high = ENDS[shown]
    return quantile_scale(
        TITLES[shown], [one for one in found if one is not None], low=low, high=high
    )


def _value(text: ReadText, piece: StretchReading, shown: Shown) -> float | None:
    if shown == "surprise":
        return piece.surprise
    if shown == "entropy" or piece.max_entropy is None:
        return piece.max_entropy
    return piece.max_entropy / log(text.readings.numbers.vocabulary)


def _text(text: ReadText, shown: Shown) -> ColouredText:
    wrong = frozenset(text.wrong)
    body = text.readings.spelled.text
    return ColouredText(
        title=text.readings.name,
        note=summary_note(text) + _left_out(text),
        pieces=[
            ColouredPiece(
                text=body[piece.start : piece.stop],
                value=_value(text, piece, shown),
                note=_note(text, piece),
                is_marked=not wrong.isdisjoint(range(piece.first, piece.past)),
                is_context=piece.is_context and _is_prompt(text),
            )
            for piece in text.characters[:MOST_PIECES]
        ],
    )


def _left_out(text: ReadText) -> str:
    if len(text.characters) <= MOST_PIECES:
        return ""
    num = len(text.characters)
    return (
        f"; the first {MOST_PIECES:,} of {num:,} pieces are shown, "
        "`tables/tokens.parquet` has all"
    )


def _is_prompt(text: ReadText) -> bool:
    """Context is a prompt; the first word of a text has no reading and says so."""
    return text.readings.is_generated


def _note(text: ReadText, piece: StretchReading) -> str:
    if piece.surprise is None or piece.rank is None or piece.max_entropy is None:
        return "no reading: nothing stands before it"
    numbers = text.readings.numbers
    last = piece.past - 1
    lines = []
    if piece.past - piece.first > 1:
        lines.append(f"{piece.past - piece.first} tokens, read together")
    lines += [
        f"surprise {number(piece.surprise)} nats, p {chance(_p(piece.surprise))}",
        "the first choice"
        if piece.rank == 0
        else _rank(piece.rank, numbers.vocabulary),
        f"entropy {number(piece.max_entropy)} nats",
        "most likely: " + _tops(text.readings.tops[last], numbers.top_p[last].tolist()),
    ]
    if piece.is_context and _is_prompt(text):
        lines.append("prompt: shown, not counted")
    return "\n".join(lines)


def _rank(rank: int, vocabulary: int) -> str:
    were = "token was" if rank == 1 else "tokens were"
    return f"rank {rank}: {rank:,} {were} likelier, of {vocabulary:,}"


def _tops(tops: Sequence[str], p: Sequence[float]) -> str:
    return ", ".join(
        f"{quoted_token(top)} {chance(one)}" for top, one in zip(tops, p, strict=False)
    )


def _p(surprise: float) -> float:
    return exp(-surprise)
