"""How does one text look that two models have read, piece by piece?"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import exp

import numpy as np

from driftmap.render.coloured import ColouredPiece, ColouredText
from driftmap.render.read_texts import MOST_PIECES, chance, quoted_token
from driftmap.render.wording import number
from driftmap.results.behaviour_change import TextDivergence
from driftmap.results.readings import TokenNumbers
from driftmap.results.readings_change import TextReadings

Text = TextDivergence | TextReadings


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """Tokens that share a character.

    Args:
        first: First token.
        past: One past the last.
        text: What they stand for.
        is_read: All of them have a reading.
    """

    first: int
    past: int
    text: str
    is_read: bool


def pieces(text: Text) -> Iterator[Piece]:
    """A text cut into pieces, as many as a page shows."""
    surprise = text.before.surprise
    for first, past, start, stop in text.pieces[:MOST_PIECES].tolist():
        yield Piece(
            first=first,
            past=past,
            text=text.spelled.text[start:stop],
            is_read=bool(np.isfinite(surprise[first:past]).all()),
        )


def coloured(
    text: Text,
    value: Callable[[Piece], float],
    *,
    note: str,
    more: Callable[[Piece], Sequence[str]] = lambda _: (),
    title: str = "",
) -> ColouredText:
    """One text, coloured by a number of each piece.

    Args:
        text: The text.
        value: The number of a piece that was read.
        note: What is known of the text.
        more: Lines of a piece's note, beside what both models give it.
        title: Whose it is; the text's name by default.
    """
    return ColouredText(
        title=title or text.name,
        note=note + _left_out(text),
        pieces=[
            ColouredPiece(
                text=one.text,
                value=value(one) if one.is_read else None,
                note="\n".join([*more(one), *_told(text, one)])
                if one.is_read
                else "no reading: nothing stands before it",
            )
            for one in pieces(text)
        ],
    )


def _left_out(text: Text) -> str:
    num = len(text.pieces)
    if num <= MOST_PIECES:
        return ""
    return f"; the first {MOST_PIECES:,} of {num:,} pieces are shown"


def _told(text: Text, piece: Piece) -> list[str]:
    """What both models give a piece."""
    here = slice(piece.first, piece.past)
    before, after = text.before, text.after
    return [
        _change("surprise", before.surprise[here].sum(), after.surprise[here].sum()),
        f"p {_p(before, here)} → {_p(after, here)}",
        _change("entropy", before.entropy[here].max(), after.entropy[here].max()),
        f"rank {before.rank[here].max():,} → {after.rank[here].max():,}",
        f"base: {_tops(text.before_tops, before, piece.past - 1)}",
        f"tuned: {_tops(text.after_tops, after, piece.past - 1)}",
    ]


def _change(name: str, before: float, after: float) -> str:
    return f"{name} {number(float(before))} → {number(float(after))} nats"


def _p(numbers: TokenNumbers, here: slice) -> str:
    return chance(exp(-float(numbers.surprise[here].sum())))


def _tops(
    tops: Sequence[Sequence[str]], numbers: TokenNumbers, place: int, most: int = 3
) -> str:
    return ", ".join(
        f"{quoted_token(top)} {chance(float(p))}"
        for top, p in zip(tops[place][:most], numbers.top_p[place][:most], strict=False)
    )
