"""How does a page become plain text, for a terminal, a diff or a test?"""

import textwrap
from collections.abc import Sequence
from functools import singledispatch
from math import isfinite
from typing import TypeVar

from driftmap.render.charts import (
    Boxes,
    Cells,
    Chart,
    Histogram,
    Line,
    Lines,
    Mosaic,
    Points,
    Ranges,
    Shades,
)
from driftmap.render.coloured import ColouredTexts
from driftmap.render.coloured_text import terminal_text
from driftmap.render.columns import Columns, Listing
from driftmap.render.page import (
    Beside,
    Callout,
    Facts,
    Figure,
    Folded,
    Grid,
    Node,
    Page,
    Paragraph,
    Picker,
    Row,
    Shaded,
    Terms,
    Word,
)
from driftmap.render.token_charts import Bars, TokenMap
from driftmap.render.wording import number, share

WIDTH = 88

Point = TypeVar("Point")

MOST_POINTS = 12
"""Points of a line that the text shows; the tables hold all."""


def node_text(node: Node) -> str:
    """Write one node of a page as plain text."""
    return _text(node)


def text_of(page: Page) -> str:
    """Write a page as plain text, 88 columns wide except for its tables."""
    parts = [_title(page.title, "="), _wrapped(page.lead)]
    for place, section in enumerate(page.sections, 1):
        parts.append(_title(f"{place}. {section.title}", "-"))
        parts += [_text(node) for node in section.nodes]
    parts.append(_wrapped(page.footer))
    return "\n\n".join(parts) + "\n"


@singledispatch
def _text(node: Node) -> str:
    raise AssertionError(f"no text for {type(node).__name__}")


@_text.register
def _(node: Paragraph) -> str:
    return _wrapped(node.text)


@_text.register
def _(node: Callout) -> str:
    if len(node.texts) == 1:
        texts = [_wrapped(node.texts[0])]
    else:
        texts = [_wrapped(f"- {text}", "  ") for text in node.texts]
    return "\n".join([f"[{node.title}]", *texts])


@_text.register
def _(node: Facts) -> str:
    return _pairs(node.pairs)


@_text.register
def _(node: Terms) -> str:
    return _pairs(node.pairs)


@_text.register
def _(node: Grid) -> str:
    lines = [list(map(str, node.columns)), *[list(map(str, r)) for r in node.rows]]
    widths = [max(len(line[c]) for line in lines) for c in range(len(node.columns))]
    written = [_row(line, widths, node.align_right) for line in lines]
    written.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join([_wrapped(node.caption), *written])


@_text.register
def _(node: Listing) -> str:
    return _text(
        Grid(
            caption=node.caption,
            columns=node.columns,
            rows=node.rows,
            align_right=node.align_right,
        )
    )


@_text.register
def _(node: Columns) -> str:
    rows = zip(node.rows, *(one.cells for one in node.columns), strict=True)
    titles = ["", *(one.title for one in node.columns)]
    return _text(Grid(caption=node.caption, columns=titles, rows=list(rows)))


@_text.register
def _(node: Figure) -> str:
    title = _wrapped(f"Figure: {node.title}")
    return f"{title}\n{_wrapped(node.reading)}\n{_numbers(node.chart)}"


@_text.register
def _(node: Picker) -> str:
    num = len(node.charts)
    others = f"\n  (the page shows any of {num})" if num > 1 else ""
    return _text(node.shown_first()) + others


@_text.register
def _(node: Beside) -> str:
    parts = [_wrapped(node.caption)]
    for side in node.sides:
        title = f"| {side.title}" + (f" ({side.note})" if side.note else "")
        said = "".join(map(_marked, side.words)) or side.text
        lines = [line for text in said.splitlines() for line in _quoted(text)]
        parts.append("\n".join([title, *lines]))
    return "\n".join(part for part in parts if part)


@_text.register
def _(node: Shaded) -> str:
    """The text, and after each piece its strength in tenths where it has any."""
    told = "".join(
        word.text + (f"[{round(10 * word.value)}]" if word.value >= 0.05 else "")
        for word in node.words
    )
    lines = [line for text in told.splitlines() for line in _quoted(text)]
    return "\n".join([f"| {node.title} ({node.note}; tenths in brackets)", *lines])


@_text.register
def _(node: ColouredTexts) -> str:
    caption = [_wrapped(node.caption)] if node.caption else []
    return "\n".join([*caption, terminal_text(node)])


@_text.register
def _(node: Row) -> str:
    return "\n\n".join(_text(figure) for figure in node.figures)


@_text.register
def _(node: Folded) -> str:
    return "\n\n".join([f"* {node.summary} *", *[_text(child) for child in node.nodes]])


def _marked(word: Word) -> str:
    """A word between asterisks where it is underlined on the page."""
    bare = word.text.rstrip()
    return f"*{bare}*{word.text[len(bare) :]}" if word.is_marked else word.text


@singledispatch
def _numbers(chart: Chart) -> str:
    raise AssertionError(f"no text for {type(chart).__name__}")


@_numbers.register
def _(chart: Lines) -> str:
    return "\n".join(
        _wrapped(
            f"  {line.name}: "
            + ", ".join(f"{x:g} -> {number(y)}" for x, y in _sparse(line)),
            "    ",
        )
        for line in chart.lines
    )


@_numbers.register
def _(chart: Points) -> str:
    return "\n".join(
        _wrapped(
            f"  {cloud.name}: "
            + ", ".join(
                f"{label} {number(y)}"
                for label, y in _spread(
                    list(zip(cloud.labels, cloud.y, strict=True)), MOST_POINTS
                )
            ),
            "    ",
        )
        for cloud in chart.clouds
    )


@_numbers.register
def _(chart: Boxes) -> str:
    return "\n".join(
        f"  {b.name}: {number(b.q25)} | {number(b.median)} | {number(b.q75)}, "
        f"mean {number(b.mean)}"
        for b in chart.boxes
    )


@_numbers.register
def _(chart: Ranges) -> str:
    rows = zip(chart.names, chart.estimates, chart.lows, chart.highs, strict=True)
    return "\n".join(
        f"  {name}: {number(estimate)}"
        + (f" ({number(low)} to {number(high)})" if high > low else "")
        for name, estimate, low, high in rows
    )


@_numbers.register
def _(chart: Histogram) -> str:
    return (
        f"  {chart.observed_name}: {number(chart.observed)}; {chart.chance_name}: "
        f"{number(chart.edges[0])} to {number(chart.edges[-1])}"
    )


@_numbers.register
def _(chart: Cells) -> str:
    head = f"  {chart.y_title:<10}" + "".join(f"{x:>8}" for x in chart.x_labels)
    rows = [
        f"  {name:<10}" + "".join(f"{number(v):>8}" for v in ratios)
        for name, ratios in zip(chart.y_labels, chart.ratios, strict=True)
    ]
    return "\n".join([head, *rows])


@_numbers.register
def _(chart: Shades) -> str:
    first = max(len(name) for name in (chart.y_title, *chart.y_labels)) + 2
    widths = [max(8, len(name) + 2) for name in chart.x_labels]
    lines = [(chart.y_title, chart.x_labels)] + [
        (name, [share(value) for value in shares])
        for name, shares in zip(chart.y_labels, chart.shares, strict=True)
    ]
    return "\n".join(
        f"  {name:<{first}}"
        + "".join(f"{cell:>{w}}" for cell, w in zip(cells, widths, strict=True))
        for name, cells in lines
    ).replace(" \n", "\n")


@_numbers.register
def _(chart: Mosaic) -> str:
    """The three highest of each row, and its marked tiles: a matrix is too wide."""
    lines: list[str] = []
    for row, name in enumerate(chart.y_labels):
        seen = [(v, n) for n, v in enumerate(chart.values[row]) if isfinite(v)]
        seen.sort(key=lambda one: (-one[0], one[1]))
        told = ", ".join(f"{chart.x_labels[n]} {number(v)}" for v, n in seen[:3])
        for one in chart.marks:
            columns = sorted(column for at, column in one.places if at == row)
            if columns:
                named = ", ".join(chart.x_labels[column] for column in columns)
                told += f"; {one.name}: {named}"
        lines.append(
            _wrapped(f"  {chart.y_title} {name}: {told or chart.empty_row}", "    ")
        )
    return "\n".join(lines)


@_numbers.register
def _(chart: TokenMap) -> str:
    """All numbers of a narrow map; of a wide one the three highest of each row."""
    names, columns = chart.row_labels(), chart.column_labels()
    rows = list(zip(names, chart.values, strict=True))
    if not chart.is_written:
        return "\n".join(
            _wrapped(f"  {name}: {_highest(columns, row)}", "    ")
            for name, row in rows
        )
    first = max(len(name) for name in ("", chart.y_title, *names)) + 2
    lines = [(chart.y_title, columns), *zip(names, chart.written(), strict=True)]
    return "\n".join(
        f"  {name:<{first}}" + "".join(f"{cell[:7]:>8}" for cell in cells)
        for name, cells in lines
    )


@_numbers.register
def _(chart: Bars) -> str:
    return "\n".join(
        _wrapped(
            f"  {bar.name}: "
            + ", ".join(
                f"{name} -> {number(value)}"
                for name, value in _spread(
                    list(zip(chart.x_labels, bar.values, strict=True)), MOST_POINTS
                )
            ),
            "    ",
        )
        for bar in chart.bars
    )


def _highest(names: Sequence[str], values: Sequence[float]) -> str:
    seen = [(v, n) for n, v in enumerate(values) if isfinite(v)]
    seen.sort(key=lambda one: (-one[0], one[1]))
    return ", ".join(f"{names[n]} {number(v)}" for v, n in seen[:3]) or "–"


def _sparse(line: Line) -> list[tuple[float, float]]:
    """All points of a short line; evenly picked ones, both ends kept, of a long one."""
    return _spread(list(zip(line.x, line.y, strict=True)), MOST_POINTS)


def _spread(points: list[Point], most: int) -> list[Point]:
    """So many at most, evenly picked, both ends kept."""
    if len(points) <= most:
        return points
    last = len(points) - 1
    return [points[round(n * last / (most - 1))] for n in range(most)]


def _pairs(pairs: Sequence[tuple[str, str]]) -> str:
    width = max((len(name) for name, _ in pairs), default=0)
    return "\n".join(
        textwrap.fill(
            f"{name:<{width}}  {value}",
            WIDTH,
            subsequent_indent=" " * (width + 2),
            break_long_words=False,
            break_on_hyphens=False,
        )
        for name, value in pairs
    )


def _row(cells: Sequence[str], widths: Sequence[int], right: frozenset[int]) -> str:
    aligned = [
        f"{cell:>{width}}" if column in right else f"{cell:<{width}}"
        for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ]
    return "  ".join(aligned).rstrip()


def _title(text: str, mark: str) -> str:
    wrapped = _wrapped(text)
    return f"{wrapped}\n{mark * min(WIDTH, max(map(len, wrapped.splitlines())))}"


def _quoted(line: str) -> list[str]:
    """A line of somebody's text, never read as words of the page."""
    return textwrap.wrap(
        line, WIDTH, initial_indent="|   ", subsequent_indent="|   ",
        break_long_words=True, break_on_hyphens=False,
    ) or ["|"]  # fmt: skip


def _wrapped(text: str, indent: str = "") -> str:
    """Lines of a page's width; what follows the first line is indented."""
    return textwrap.fill(
        text,
        WIDTH,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
