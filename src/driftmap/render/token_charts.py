"""Which charts show what happens at single tokens, layer by layer?"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import floor, isfinite, log10
from typing import Literal, TypeAlias

from driftmap.render.coloured import visible

Numbers: TypeAlias = Sequence[float]

Hue: TypeAlias = Literal["hidden", "mlp", "attn", "weight", "honesty", "difference"]
"""`hidden` is purple, `mlp` green, `attn` red, `weight` blue, each from pale to full.
`honesty` runs both ways from the middle of its ends, red below and blue above it, and
`difference` the other way round."""

LONGEST_LABEL = 22
"""Characters of a token that an axis shows."""

MOST_WRITTEN = 13
"""Columns up to which every tile holds its number."""

MOST_ROWS_NAMED = 64
"""Rows up to which every one is named."""

SEEN = {"\n": "⏎", "\t": "⇥"}
"""Signs for breaks that a running text keeps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenMap:
    """A number for each token and column, tokens downwards in the order of the text.

    Args:
        tokens: Texts of tokens, one per row; they may repeat.
        x_labels: Names of columns, such as layers; they may repeat.
        x_title: What columns are.
        values: One row of numbers per token; NaN is left empty.
        value_title: What they are, with their unit.
        hue: Which colours.
        ends: Values whose colours are palest and fullest; what lies beyond has the
            colour of the nearer end and keeps its number. None for the lowest and the
            highest of `values`, equally far from 0 where colours run both ways.
        starred: Numbers of the rows that are the subject.
        y_title: What rows are.
    """

    tokens: Sequence[str]
    x_labels: Sequence[str]
    x_title: str
    values: Sequence[Numbers]
    value_title: str
    hue: Hue
    ends: tuple[float, float] | None = None
    starred: Sequence[int] = ()
    y_title: str = "token"

    def scale(self) -> tuple[float, float]:
        """The ends of the colours; never without extent."""
        seen = [float(v) for row in self.values for v in row if isfinite(v)]
        if self.ends is not None:
            low, high = sorted(map(float, self.ends))
        elif self.hue in ("honesty", "difference"):
            high = max(map(abs, seen), default=1.0)
            low = -high
        else:
            low, high = min(seen, default=0.0), max(seen, default=1.0)
        if high > low:
            return low, high
        room = max(abs(low) * 1e-3, 1e-6)
        return low - room, high + room

    def row_labels(self) -> list[str]:
        """Tokens as an axis names them; those of the subject have a star."""
        stars = frozenset(self.starred)
        return [
            seen_token(token) + (" *" if row in stars else "")
            for row, token in enumerate(self.tokens)
        ]

    def column_labels(self) -> list[str]:
        """Columns as an axis names them."""
        return [seen_token(one) for one in self.x_labels]

    def written(self) -> list[list[str]]:
        """Numbers as tiles hold them: as many decimals as the colours' ends ask for."""
        low, high = self.scale()
        decimals = min(6, max(1, 1 - floor(log10(0.999 * (high - low)))))
        return [[_decimal(value, decimals) for value in row] for row in self.values]

    @property
    def is_written(self) -> bool:
        """Whether tiles have room for their numbers."""
        return len(self.x_labels) <= MOST_WRITTEN


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One series of bars; `lows` and `highs` are ends of intervals, empty for none.

    `role` says whose colour it has, where that is not its name's.
    """

    name: str
    values: Numbers
    lows: Numbers = ()
    highs: Numbers = ()
    role: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bars:
    """Series of bars side by side; NaN leaves a gap.

    Args:
        x_labels: Names of places along the axis, distinct.
        x_title: What they are.
        y_title: What bars show, with its unit.
        bars: The series.
    """

    x_labels: Sequence[str]
    x_title: str
    y_title: str
    bars: Sequence[Bar]


def seen_token(token: str) -> str:
    r"""A token as a label: short, and nothing in it unseen.

    >>> seen_token("\n"), seen_token(" the"), seen_token("  ")
    ('⏎', 'the', '␣␣')
    """
    shown = "".join(SEEN.get(sign, sign) for sign in visible(token))
    word = shown.strip()
    if not word:
        return "␣" * len(shown)
    return word if len(word) <= LONGEST_LABEL else f"{word[: LONGEST_LABEL - 1]}…"


def _decimal(value: float, decimals: int) -> str:
    """A number with so many decimals; a bare 0 where they are all 0.

    >>> _decimal(-0.0004, 2), _decimal(0.5, 2), _decimal(float("nan"), 2)
    ('0', '0.50', '')
    """
    if not isfinite(value):
        return ""
    told = f"{value:.{decimals}f}"
    return told if float(told) else "0"


def height_of_tokens(chart: TokenMap | Bars) -> int:
    """Height that such a chart needs to be legible, in pixels."""
    if isinstance(chart, Bars):
        return 380
    rows = len(chart.tokens)
    row = 24 if rows <= 32 else (18 if rows <= MOST_ROWS_NAMED else 11)
    return max(300, 130 + row * rows + _label_room(chart))


def width_of_tokens(chart: TokenMap | Bars) -> int:
    """Width below which it had better be scrolled, in pixels."""
    if isinstance(chart, Bars):
        return 80 + max(1, len(chart.bars)) * 6 * len(chart.x_labels)
    column = 34 if chart.is_written else (18 if is_tilted(chart) else 8)
    longest = max((len(name) for name in chart.row_labels()), default=0)
    return 100 + 7 * longest + column * len(chart.x_labels)


def is_tilted(chart: TokenMap) -> bool:
    """Whether names of columns are too long to stand beside each other."""
    return any(len(name) > 4 for name in chart.column_labels())


def _label_room(chart: TokenMap) -> int:
    longest = max((len(name) for name in chart.column_labels()), default=0)
    return 6 * longest if is_tilted(chart) else 0
