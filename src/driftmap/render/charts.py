"""Which charts can a report hold? Described once, drawn by any back end."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite, log, log10, nan
from typing import Literal, TypeAlias

from driftmap.render.token_charts import (
    Bars,
    TokenMap,
    height_of_tokens,
    width_of_tokens,
)

Numbers: TypeAlias = Sequence[float]

PALETTE = {
    "difference": "#d9480f",
    "matched": "#1c7ed6",
    "top": "#b07d0a",
    "utility": "#2f9e44",
    "random": "#868e96",
    "q": "#1c7ed6",
    "k": "#0c8599",
    "v": "#7048e8",
    "o": "#ae3ec9",
    "gate": "#e8590c",
    "up": "#b07d0a",
    "down": "#c2255c",
    "norm": "#868e96",
    "bias": "#5c940d",
    "embed": "#2f9e44",
    "head": "#d6336c",
    "router": "#b35c00",
    "expert": "#d9480f",
    "block": "#495ecf",
    "attention": "#1c7ed6",
    "mlp": "#e8590c",
    "layer": "#2f9e44",
    "match": "#d9480f",
    "background": "#1c7ed6",
    "restored hidden": "#7048e8",
    "restored mlp": "#2f9e44",
    "restored attn": "#e03131",
}
"""Colour of each role of a group, and of each part, legible on white and near-black."""

SPARE_COLOURS = ("#ae3ec9", "#0c8599", "#e8590c", "#1c7ed6", "#5c940d", "#c2255c")

QUIET = "#868e96"
"""Colour of what stands in the background: chance, levels, margins."""

LOUD = "#d9480f"
"""Colour of the one thing to look at."""


DASHES = ("solid", "dash", "dot", "dashdot", "longdash")
"""Strokes of lines in turn, so that none is hidden under another."""

MOST_MARKS = 40
"""Longest line whose points are marked, and that is dashed."""


def colour_of(name: str, number: int) -> str:
    """The colour of a role or a name; `number` picks a spare one for other names."""
    return PALETTE.get(name, SPARE_COLOURS[number % len(SPARE_COLOURS)])


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One series over x.

    Args:
        name: Name in the legend.
        x: Places on the axis, ascending.
        y: Values; NaN is a gap.
        low: Lower edge of a band; empty for none.
        high: Upper edge of it.
        threads: The single series behind a mean, drawn thin, each as long as x.
        role: Whose colour it has, where that is not its name's.
    """

    name: str
    x: Numbers
    y: Numbers
    low: Numbers = ()
    high: Numbers = ()
    threads: Sequence[Numbers] = ()
    role: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lines:
    """Several series over a common axis.

    Args:
        x_title: What x is.
        y_title: What y is, with its unit.
        lines: The series.
        y_ends: Ends of the axis of y; None lets the values decide.
        y_from_zero: The axis of y begins at 0, where `y_ends` leaves it open.
        is_log: The axis of y is logarithmic; all values are above 0.
        is_log_x: The axis of x is; likewise.
    """

    x_title: str
    y_title: str
    lines: Sequence[Line]
    y_ends: tuple[float, float] | None = None
    y_from_zero: bool = False
    is_log: bool = False
    is_log_x: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Cloud:
    """Single points that belong together; `labels` say what each is."""

    name: str
    x: Numbers
    y: Numbers
    labels: Sequence[str]
    role: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Points:
    """Points over two axes.

    Args:
        x_title: What x is.
        y_title: What y is, with its unit.
        clouds: The points.
        level: A value of y to compare with; None for none.
        y_ends: Ends of the axis of y; None lets the values decide.
        is_log_x: The axis of x is logarithmic; all values are above 0.
        is_log: The axis of y is; likewise.
    """

    x_title: str
    y_title: str
    clouds: Sequence[Cloud]
    level: float | None = None
    y_ends: tuple[float, float] | None = None
    is_log_x: bool = False
    is_log: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """The five numbers of a distribution and its mean; `role` as for a line."""

    name: str
    low: float
    q25: float
    median: float
    q75: float
    high: float
    mean: float
    role: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Boxes:
    """Distributions above each other along a common axis.

    With `is_log` the axis is logarithmic; all values are above 0.
    """

    x_title: str
    boxes: Sequence[Box]
    is_log: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Cells:
    """A matrix of ratios as colours; 1 is neutral and NaN is left empty.

    Colours follow the logarithm: twice and half are equally far from 1. They are
    full at `reach`, or at the farthest ratio if that lies beyond. The first row of
    `ratios` is drawn lowest.
    """

    x_labels: Sequence[str]
    y_labels: Sequence[str]
    x_title: str
    y_title: str
    ratios: Sequence[Numbers]
    value_title: str
    reach: float

    @property
    def log_reach(self) -> float:
        """Where colours are full, as a logarithm."""
        seen = [r for row in self.ratios for r in row if isfinite(r) and r > 0]
        return max(abs(log(ratio)) for ratio in [self.reach, *seen])


@dataclass(frozen=True, slots=True, kw_only=True)
class Shades:
    """A matrix of shares as colours, from 0, pale, to 1, full; NaN is left empty.

    What lies outside 0 to 1 has the colour of the nearer end and keeps its number. The
    first row of `shares` is drawn lowest.
    """

    x_labels: Sequence[str]
    y_labels: Sequence[str]
    x_title: str
    y_title: str
    shares: Sequence[Numbers]
    value_title: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Marks:
    """Places of a mosaic that stand out, as (row, column); `sign` is how."""

    name: str
    places: Sequence[tuple[int, int]]
    sign: Literal["dot", "cross"] = "dot"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mosaic:
    """A matrix too large for numbers in its places: every one is a coloured tile.

    NaN is left empty. The first row of `values` is drawn lowest.

    Args:
        x_labels: Names of columns; of many, only some are written.
        y_labels: Names of rows, distinct, likewise.
        x_title: What columns are.
        y_title: What rows are.
        values: One number per tile, row by row.
        value_title: What they are, with their unit.
        middle: Colours run both ways from here; None for pale to full, from the lowest
            to the highest.
        is_log: Colours follow the logarithm, down to a hundredth of the highest; 0 is
            as pale as that. With a `middle`, what is not above 0 is left empty.
        marks: Tiles that stand out.
        empty_row: What is written into rows without a number.
        line_before: Column before which a line is drawn; None for none.
    """

    x_labels: Sequence[str]
    y_labels: Sequence[str]
    x_title: str
    y_title: str
    values: Sequence[Numbers]
    value_title: str
    middle: float | None = None
    is_log: bool = False
    marks: Sequence[Marks] = ()
    empty_row: str = ""
    line_before: int | None = None

    def shades(self) -> list[list[float]]:
        """What colours follow: the values or their logarithms to base 10."""
        if not self.is_log:
            return [list(row) for row in self.values]
        logs = [[log10(v) if v > 0 else nan for v in row] for row in self.values]
        if self.middle is not None:
            return logs
        floor = max((v for row in logs for v in row if isfinite(v)), default=0.0) - 2
        return [
            [
                max(shade, floor) if v > 0 else (floor if v == 0 else nan)
                for shade, v in zip(shades, row, strict=True)
            ]
            for shades, row in zip(logs, self.values, strict=True)
        ]

    def ends(self) -> tuple[float, float]:
        """Shades at which colours are palest and fullest."""
        seen = [v for row in self.shades() for v in row if isfinite(v)]
        if self.middle is None:
            return min(seen, default=0.0), max(seen, default=1.0)
        middle = log10(self.middle) if self.is_log else self.middle
        reach = max((abs(v - middle) for v in seen), default=0.0) or 1.0
        return middle - reach, middle + reach

    def empty_rows(self) -> list[int]:
        """Rows without a number."""
        return [n for n, row in enumerate(self.values) if not any(map(isfinite, row))]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranges:
    """Estimates with intervals, one line each, beside a level of no effect.

    An interval without extent, or of NaN, is drawn as a point alone. `roles` say whose
    colours they have; empty for those of their names.
    """

    x_title: str
    names: Sequence[str]
    estimates: Numbers
    lows: Numbers
    highs: Numbers
    reference: float
    margin: tuple[float, float] | None = None
    roles: Sequence[str] = ()

    def colours(self) -> list[str]:
        """The colour of each estimate."""
        return [colour_of(n, i) for i, n in enumerate(self.roles or self.names)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Histogram:
    """How often chance gives each value, and where the observed one lies."""

    x_title: str
    edges: Numbers
    counts: Numbers
    observed: float
    observed_name: str
    chance_name: str


Chart: TypeAlias = (
    Lines
    | Points
    | Boxes
    | Cells
    | Shades
    | Mosaic
    | Ranges
    | Histogram
    | TokenMap
    | Bars
)


def height_of(chart: Chart) -> int:
    """Height that a chart needs to be legible, in pixels.

    >>> height_of(Boxes(x_title="drift", boxes=[]))
    240
    """
    if isinstance(chart, TokenMap | Bars):
        return height_of_tokens(chart)
    if isinstance(chart, Cells | Shades | Mosaic):
        return _matrix_height(chart)
    if isinstance(chart, Ranges):
        return max(220, 120 + 38 * len(chart.names))
    if isinstance(chart, Boxes):
        return max(240, 110 + 40 * len(chart.boxes))
    if isinstance(chart, Histogram):
        return 320
    names = chart.lines if isinstance(chart, Lines) else chart.clouds
    return 360 + 16 * max(0, len(names) - 4)


def _matrix_height(chart: Cells | Shades | Mosaic) -> int:
    rows = len(chart.y_labels)
    if isinstance(chart, Mosaic):
        return max(320, 150 + tile_height(rows) * rows)
    return max(260, 130 + 24 * rows)


def least_width_of(chart: Chart) -> int:
    """Width below which a chart had better be scrolled, in pixels; 0 for none.

    >>> least_width_of(Boxes(x_title="drift", boxes=[]))
    0
    """
    if isinstance(chart, TokenMap | Bars):
        return width_of_tokens(chart)
    return 110 + 6 * len(chart.x_labels) if isinstance(chart, Mosaic) else 0


def tile_height(num_rows: int) -> int:
    """Height of a mosaic's rows, in pixels.

    >>> [tile_height(num) for num in (4, 16, 48, 96)]
    [26, 22, 13, 9]
    """
    steps = ((8, 26), (20, 22), (32, 17), (64, 13))
    return next((height for most, height in steps if num_rows <= most), 9)


def label_step(num_labels: int, most: int) -> int:
    """Every how many labels one is written, so that they are `most` or fewer.

    >>> [label_step(num, 16) for num in (8, 16, 17, 64, 128)]
    [1, 1, 2, 4, 8]
    """
    step = 1
    while num_labels > most * step:
        step *= 2
    return step
