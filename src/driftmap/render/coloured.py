"""How is a text coloured by a number of each of its pieces?

A scale says what colours mean. It has two forms: sequential, for numbers that only grow
(how surprised), and diverging, for numbers on either side of 0. Every level has a mark
of one character beside its colour, so that a text reads without colours too.
"""

import unicodedata
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np

SHARES = (0.5, 0.7, 0.85, 0.95)
"""Shares of the values below each border of a quantile scale: half of a text stays
plain, and a twentieth is darkest."""

LIMITS = (0.25, 1.0, 2.0)
"""Sizes where a diverging scale changes colour, in units of its numbers."""

Form = Literal["sequential", "diverging"]

MARKS: Mapping[Form, tuple[str, ...]] = {
    "sequential": ("", "▁", "▃", "▅", "█"),
    "diverging": ("⇓", "↓", "↘", "", "↗", "↑", "⇑"),
}
"""A character for every colour, weakest to strongest, or most negative to most
positive."""

NO_READING = "-"
"""The mark of a piece that has no number."""

MARKED = "!"
"""Follows the mark of a piece that is marked."""

# The rest of Unicode's "other" characters: they would reorder or hide a text.
_UNSEEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
_PICTURE = 0x2400
_DELETE, _DELETE_PICTURE = 0x7F, "\u2421"
# Joiners shape emoji and many scripts; a soft hyphen and marks of order do not.
_JOINERS = "\u200c\u200d"


@dataclass(frozen=True, slots=True, kw_only=True)
class ColourScale:
    """What the colours of a text mean.

    Args:
        name: What is shown, with its unit: `surprise (nats)`.
        form: One-sided or two-sided.
        edges: Borders between levels, rising; a value on a border is above it. A
            diverging scale has as many below 0 as above.
        low: What low values mean, in a word or two.
        high: What high values mean.
        note: How the borders were chosen.
    """

    name: str
    form: Form
    edges: tuple[float, ...]
    low: str
    high: str
    note: str

    def level(self, value: float) -> int:
        """Number of the level that a value lies in, from 0."""
        return bisect_right(self.edges, value)

    def colour(self, level: int) -> int:
        """Which of the form's colours (and of `MARKS`) a level has."""
        last = len(MARKS[self.form]) - 1
        return round(level * last / max(1, len(self.edges)))

    def labels(self) -> list[str]:
        """What each level spans.

        >>> scale = ColourScale(name="n", form="sequential", edges=(0.5, 2), low="",
        ...                     high="", note="")
        >>> scale.labels()
        ['below 0.5', '0.5 to 2', '2 and more']
        """
        ends = [f"{edge:.3g}".replace("-", "\u2212") for edge in self.edges]
        if not ends:
            return ["all"]
        between = [f"{a} to {b}" for a, b in pairwise(ends)]
        return [f"below {ends[0]}", *between, f"{ends[-1]} and more"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ColouredPiece:
    """A piece of somebody's text; nothing in it is read as a mark.

    Args:
        text: The piece, with the spaces that belong to it.
        value: Its number; None where it has none.
        note: What is known of it, a line each; shown on request.
        is_marked: It is one of those that the text points at.
        is_context: It is shown in grey and not coloured: not what is read.
    """

    text: str
    value: float | None
    note: str = ""
    is_marked: bool = False
    is_context: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ColouredText:
    """One text in pieces that together are the text.

    `title` says whose it is, `note` what is known of it.
    """

    title: str
    note: str
    pieces: Sequence[ColouredPiece]


@dataclass(frozen=True, slots=True, kw_only=True)
class ColouredTexts:
    """Texts on one scale, beside each other where the page is wide enough.

    Args:
        caption: What is shown and how to read it.
        scale: What the colours mean, the same for all.
        texts: One or more.
        marked: What marked pieces are; empty where there are none.
    """

    caption: str
    scale: ColourScale
    texts: Sequence[ColouredText]
    marked: str = ""


def quantile_scale(
    name: str, values: Sequence[float], *, low: str, high: str
) -> ColourScale:
    """A one-sided scale whose borders are quantiles of the values it shows.

    Borders that fall together, as where most values are equal, are one border; those
    that no value lies below are left out.

    >>> scale = quantile_scale("n", range(101), low="", high="")
    >>> scale.edges
    (50.0, 70.0, 85.0, 95.0)
    """
    found = np.quantile(np.array([*values], float), SHARES) if len(values) else []
    rounded = {float(f"{edge:.2g}") for edge in found}
    edges = tuple(sorted(edge for edge in rounded if edge > min(values)))
    shares = ", ".join(f"{100 * share:.0f}" for share in SHARES)
    return ColourScale(
        name=name,
        form="sequential",
        edges=edges,
        low=low,
        high=high,
        note=f"borders: {shares} % of the shown pieces lie below",
    )


def diverging_scale(
    name: str, *, low: str, high: str, limits: Sequence[float] = LIMITS
) -> ColourScale:
    """A two-sided scale around 0.

    Args:
        name: What is shown, with its unit.
        low: What values below 0 mean.
        high: What values above 0 mean.
        limits: Sizes where the colour changes, rising, above 0.

    >>> diverging_scale("score", low="no", high="yes", limits=[1, 2]).edges
    (-2, -1, 1, 2)
    """
    return ColourScale(
        name=name,
        form="diverging",
        edges=(*(-limit for limit in reversed(limits)), *limits),
        low=low,
        high=high,
        note="the same on both sides of 0",
    )


def visible(text: str) -> str:
    r"""Show characters that would steer a terminal, reorder a text or hide in it.

    Line breaks and tabs stay: who draws the text shows them.

    >>> visible("a\x1b[2J\u202eb\n")
    'a␛[2J⟨202E⟩b\n'
    """
    return "".join(map(_visible, text))


def _visible(character: str) -> str:
    if character in "\n\t" or character in _JOINERS:
        return character
    code = ord(character)
    if code < ord(" "):
        return chr(_PICTURE + code)
    if code == _DELETE:
        return _DELETE_PICTURE
    if unicodedata.category(character) in _UNSEEN:
        return f"\u27e8{code:04X}\u27e9"
    return character
