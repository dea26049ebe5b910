"""How does a page become plain text, for a terminal, a diff or a test?"""

import textwrap
from collections.abc import Sequence
from functools import singledispatch

from driftmap.render.charts import Boxes, Cells, Chart, Histogram, Lines, Ranges
from driftmap.render.page import (
    Callout,
    Facts,
    Figure,
    Folded,
    Grid,
    Node,
    Page,
    Paragraph,
)

WIDTH = 88


def text_of(page: Page) -> str:
    """Write a page as plain text, 88 columns wide except for its tables."""
    parts = [_title(page.title, "="), _wrapped(page.lead)]
    for section in page.sections:
        parts.append(_title(section.title, "-"))
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
    return f"[{node.title}]\n{_wrapped(node.text)}"


@_text.register
def _(node: Facts) -> str:
    width = max((len(name) for name, _ in node.pairs), default=0)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in node.pairs)


@_text.register
def _(node: Grid) -> str:
    lines = [list(map(str, node.columns)), *[list(map(str, r)) for r in node.rows]]
    widths = [max(len(line[c]) for line in lines) for c in range(len(node.columns))]
    written = [_row(line, widths, node.align_right) for line in lines]
    written.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join([_wrapped(node.caption), *written])


@_text.register
def _(node: Figure) -> str:
    title = _wrapped(f"Figure: {node.title}")
    return f"{title}\n{_wrapped(node.reading)}\n{_numbers(node.chart)}"


@_text.register
def _(node: Folded) -> str:
    return "\n\n".join([node.summary + ":", *[_text(child) for child in node.nodes]])


@singledispatch
def _numbers(chart: Chart) -> str:
    raise AssertionError(f"no text for {type(chart).__name__}")


@_numbers.register
def _(chart: Lines) -> str:
    return "\n".join(
        f"  {line.name}: "
        + ", ".join(f"{x:g} -> {y:.4g}" for x, y in zip(line.x, line.y, strict=True))
        for line in chart.lines
    )


@_numbers.register
def _(chart: Boxes) -> str:
    return "\n".join(
        f"  {b.name}: {b.q25:.4g} | {b.median:.4g} | {b.q75:.4g}, mean {b.mean:.4g}"
        for b in chart.boxes
    )


@_numbers.register
def _(chart: Ranges) -> str:
    rows = zip(chart.names, chart.estimates, chart.lows, chart.highs, strict=True)
    return "\n".join(f"  {n}: {e:.3f} ({lo:.3f} to {hi:.3f})" for n, e, lo, hi in rows)


@_numbers.register
def _(chart: Histogram) -> str:
    return f"  {chart.observed_name}: {chart.observed:.4g}"


@_numbers.register
def _(chart: Cells) -> str:
    head = "  " + " " * 10 + "".join(f"{x:>8}" for x in chart.x_labels)
    rows = [
        f"  {name:<10}" + "".join(f"{v:8.3f}" for v in values)
        for name, values in zip(chart.y_labels, chart.values, strict=True)
    ]
    return "\n".join([head, *rows])


def _row(cells: Sequence[str], widths: Sequence[int], right: frozenset[int]) -> str:
    aligned = [
        f"{cell:>{width}}" if number in right else f"{cell:<{width}}"
        for number, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ]
    return "  ".join(aligned).rstrip()


def _title(text: str, mark: str) -> str:
    wrapped = _wrapped(text)
    return f"{wrapped}\n{mark * min(WIDTH, max(map(len, wrapped.splitlines())))}"


def _wrapped(text: str) -> str:
    return textwrap.fill(text, WIDTH)
