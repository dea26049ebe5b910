"""What do readings of tokens say of words, sentences and the whole text?

Surprise adds up: that of a stretch is -ln p of all its tokens together. Entropy does
not; its mean and its largest value over the tokens are given.
"""

import re
from bisect import bisect_right
from collections.abc import Callable, Sequence
from math import exp, log
from typing import Literal

import numpy as np
from jaxtyping import Bool

from driftmap.core.errors import MeasureError
from driftmap.results.readings import (
    SpelledText,
    StretchReading,
    TextSummary,
    TokenReadings,
)

Stretch = Literal["character", "word", "sentence"]

Piece = tuple[int, int, int, int]
"""First token and one past the last, first character and one past the last."""

# A mark that ends a sentence, with quotes and brackets that close after it, or a break.
_ENDS = re.compile(r"[.!?…]+[\"'”’)\]]*(?:\s*\n+|(?=\s))|[。！？]+[」』）]*\n*|\n+")


def text_summary(readings: TokenReadings) -> TextSummary:
    """How well a text is foreseen on the whole.

    Perplexity divides by the tokens that count. ROME's code divides by all, though the
    first one has no reading; that number is given as well.

    Args:
        readings: Of one text.

    Raises:
        MeasureError: No token counts.
    """
    num_scored = readings.num_scored
    if num_scored < 1:
        raise MeasureError(f"{readings.name}: no token counts; give a longer text")
    surprise = float(readings.scored_surprise.sum())
    num_bytes = len(readings.spelled.text[_counted_from(readings.spelled) :].encode())
    rank = readings.numbers.rank[readings.spelled.num_context :]
    return TextSummary(
        num_tokens=readings.num_tokens,
        num_scored=num_scored,
        num_bytes=num_bytes,
        mean_surprise=surprise / num_scored,
        mean_entropy=float(readings.scored_entropy.mean()),
        perplexity=_bounded_exp(surprise / num_scored),
        published_perplexity=_bounded_exp(surprise / readings.num_tokens),
        bits_per_byte=surprise / log(2) / num_bytes if num_bytes else None,
        share_first=float((rank == 0).mean()),
    )


def stretches(readings: TokenReadings, what: Stretch) -> tuple[StretchReading, ...]:
    """Cut a text into stretches and read each.

    Tokens that hold pieces of one character are one stretch at least, so every
    character is in exactly one. Words end at spaces, which belong to the word after
    them; sentences end at `.`, `!`, `?` and the like before a space, and at line
    breaks. Nothing is known of abbreviations.

    Args:
        readings: Of one text.
        what: How long a stretch is: a token's characters, a word or a sentence.

    Returns:
        Stretches in order; put together they are the text.
    """
    text = readings.spelled.text
    pieces = character_pieces(readings.spelled)
    if what == "word":
        pieces = _joined(pieces, lambda last, one: _parts_words(text, last, one))
    elif what == "sentence":
        cuts = [found.end() for found in _ENDS.finditer(text)]
        pieces = _joined(pieces, lambda last, one: _lies_between(cuts, last, one))
    return tuple(_reading(readings, first, past) for first, past, _, _ in pieces)


def confident_and_wrong(
    readings: TokenReadings, *, sure_below: float, wrong_above: float
) -> Bool[np.ndarray, " token"]:
    """Tokens where the model was sure of something else.

    Low entropy and high surprise. That is not whether the text is true: a model can be
    sure of what is false, and surprised by what is true.

    Args:
        readings: Of one text.
        sure_below: Entropy below which the model was sure (nats).
        wrong_above: Surprise above which it was wrong (nats).

    Returns:
        True on such tokens, of those that count.
    """
    found = np.zeros(readings.num_tokens, bool)
    first = readings.spelled.num_context
    found[first:] = (readings.scored_entropy < sure_below) & (
        readings.scored_surprise > wrong_above
    )
    return found


def character_pieces(spelled: SpelledText) -> list[Piece]:
    """Put tokens that share a character together; those without one join the next.

    A token before any text stands alone in front of it and joins none.

    Args:
        spelled: The text and its tokens.

    Returns:
        Pieces in order, which together are the text.
    """
    pieces: list[Piece] = []
    waiting: int | None = None
    for number, (start, stop) in enumerate(spelled.spans.tolist()):
        if stop <= start:
            if number >= spelled.num_context or not spelled.has_begin:
                waiting = number if waiting is None else waiting
            continue
        if pieces and start < pieces[-1][3]:
            first, _, begin, end = pieces[-1]
            pieces[-1] = first, number + 1, begin, max(end, stop)
        else:
            first = number if waiting is None else waiting
            pieces.append((first, number + 1, start, stop))
        waiting = None
    if waiting is not None and pieces:
        first, _, begin, end = pieces[-1]
        pieces[-1] = first, len(spelled.spans), begin, end
    return pieces


def _joined(
    pieces: Sequence[Piece], is_border: Callable[[Piece, Piece], bool]
) -> list[Piece]:
    joined: list[Piece] = []
    last: Piece | None = None
    for piece in pieces:
        if last is None or is_border(last, piece):
            joined.append(piece)
        else:
            first, _, start, _ = joined[-1]
            joined[-1] = first, piece[1], start, piece[3]
        last = piece
    return joined


def _parts_words(text: str, last: Piece, one: Piece) -> bool:
    return text[one[2]].isspace() or text[last[3] - 1].isspace()


def _lies_between(cuts: Sequence[int], last: Piece, one: Piece) -> bool:
    """Whether a sentence ends after the first character of `last` and before `one`.

    A token that holds the end of one sentence and the start of the next counts as the
    first one's.
    """
    return bisect_right(cuts, one[2]) > bisect_right(cuts, last[2])


def _reading(readings: TokenReadings, first: int, past: int) -> StretchReading:
    spans = readings.spelled.spans[first:past]
    numbers = readings.numbers
    surprise, entropy = numbers.surprise[first:past], numbers.entropy[first:past]
    is_read = bool(np.isfinite(surprise).all())
    return StretchReading(
        start=int(spans[:, 0].min()),
        stop=int(spans[:, 1].max()),
        first=first,
        past=past,
        surprise=_number(surprise.sum(), is_read),
        mean_entropy=_number(entropy.mean(), is_read),
        max_entropy=_number(entropy.max(), is_read),
        rank=int(numbers.rank[first:past].max()) if is_read else None,
        is_context=first < readings.spelled.num_context,
    )


def _number(value: float, is_read: bool) -> float | None:
    return float(value) if is_read else None


def _counted_from(spelled: SpelledText) -> int:
    """First character that counts."""
    return int(spelled.spans[: spelled.num_context, 1].max())


def _bounded_exp(nats: float) -> float:
    """exp, and the largest number there is beyond it."""
    return exp(min(nats, 709.0))
