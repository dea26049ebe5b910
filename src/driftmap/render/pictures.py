"""How is a chart drawn for a paper or a slide: PNG and SVG?"""

import textwrap
import warnings
from collections.abc import Sequence
from functools import singledispatch
from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure as Drawing
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from driftmap.render.charts import (
    DASHES,
    LOUD,
    MOST_MARKS,
    QUIET,
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
    colour_of,
    height_of,
    label_step,
)
from driftmap.render.page import Figure
from driftmap.render.pictures_tokens import draw_bars, draw_token_map
from driftmap.render.token_charts import Bars, TokenMap
from driftmap.render.wording import number, ratio, ratio_ticks, share, unmarked

STYLE = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.alpha": 0.25,
    "svg.hashsalt": "driftmap",
    "text.parse_math": False,
}

STROKES = {
    "solid": "-", "dash": "--", "dot": ":", "dashdot": "-.", "longdash": (0, (9, 3)),
}  # fmt: skip
MARKERS = ("o", "D", "s", "X", "^")

WIDTH_INCHES = 7.2
DOTS_PER_INCH = 120
SVG_DOTS_PER_INCH = 72
TITLE_COLUMNS = 80
INK = "#1b1f24"
DIVERGING = LinearSegmentedColormap.from_list(
    "drift", ["#1c7ed6", "#f1f3f5", "#d9480f"]
)
TILES = LinearSegmentedColormap.from_list("tiles", ["#e6eef7", "#5b9bd5", "#0b3a75"])
SEQUENTIAL = LinearSegmentedColormap.from_list("share", ["#f1f3f5", "#1c7ed6"])


def save_pictures(figures: Sequence[Figure], folder: Path) -> None:
    """Write `NAME.png` and `NAME.svg` for each figure.

    The bytes depend on the figures alone: neither file holds a date. Both are
    written by their own canvas, because `savefig` would draw everything twice. Signs
    that the one font does not have, as in Chinese tokens, become boxes.
    """
    with (
        mpl.rc_context(STYLE),  # pyright: ignore[reportArgumentType]
        warnings.catch_warnings(),
    ):
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        for figure in figures:
            drawing = _drawing(figure)
            path = str(folder / figure.name)
            FigureCanvasAgg(drawing).print_png(f"{path}.png")
            drawing.set_dpi(SVG_DOTS_PER_INCH)
            FigureCanvasSVG(drawing).print_svg(f"{path}.svg", metadata={"Date": None})


def svg_of(figure: Figure) -> bytes:
    """Draw one figure as SVG, for a page that shows pictures alone."""
    into = BytesIO()
    with (
        mpl.rc_context(STYLE),  # pyright: ignore[reportArgumentType]
        warnings.catch_warnings(),
    ):
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        drawing = _drawing(figure)
        drawing.set_dpi(SVG_DOTS_PER_INCH)
        FigureCanvasSVG(drawing).print_svg(into, metadata={"Date": None})
    return into.getvalue()


def _drawing(figure: Figure) -> Drawing:
    """The drawing, laid out once."""
    height = 0.6 + height_of(figure.chart) / 100
    drawing = Drawing(
        figsize=(WIDTH_INCHES, height), dpi=DOTS_PER_INCH, layout="constrained"
    )
    axes = drawing.add_subplot()
    title = textwrap.fill(unmarked(figure.title), TITLE_COLUMNS)
    axes.set_title(title, loc="left", fontsize=11)
    _draw(figure.chart, axes)
    layout = drawing.get_layout_engine()
    assert layout is not None
    layout.execute(drawing)
    drawing.set_layout_engine("none")
    return drawing


@singledispatch
def _draw(chart: Chart, axes: Axes) -> None:
    raise AssertionError(f"no drawing for {type(chart).__name__}")


@_draw.register
def _(chart: Lines, axes: Axes) -> None:
    for series, line in enumerate(chart.lines):
        _draw_line(line, series, axes)
    if chart.y_ends is not None:
        least, most = chart.y_ends
        room = 0.03 * (most - least)
        axes.set_ylim(least - room, most + room)
    elif chart.y_from_zero:
        axes.set_ylim(bottom=0)
    axes.set_xlabel(chart.x_title)
    axes.set_ylabel(chart.y_title)
    _scale(axes, is_log_x=chart.is_log_x, is_log=chart.is_log)
    if chart.lines:
        _legend(axes)


def _scale(axes: Axes, *, is_log_x: bool, is_log: bool) -> None:
    if is_log_x:
        axes.set_xscale("log")
        _mark_logarithm(axes.xaxis)
    else:
        axes.locator_params(axis="x", nbins=5)
    if is_log:
        axes.set_yscale("log")
        _mark_logarithm(axes.yaxis)
    else:
        axes.locator_params(axis="y", nbins=5)


def _mark_logarithm(axis: Axis) -> None:
    """Plain numbers: by itself the library writes powers as formulas."""
    low, high = axis.get_view_interval()
    is_short = high < 100 * low
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if is_short else (1,), numticks=8))
    axis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))
    axis.set_minor_formatter(NullFormatter())


def _draw_line(line: Line, series: int, axes: Axes) -> None:
    colour = colour_of(line.role or line.name, series)
    if line.low:
        axes.fill_between(line.x, line.low, line.high, color=colour, alpha=0.18, lw=0)
    for thread in line.threads:
        axes.plot(line.x, thread, color=colour, lw=0.7, alpha=0.45)
    marks: dict[str, Any] = {}
    if len(line.x) <= MOST_MARKS:
        dash = DASHES[series % len(DASHES)]
        marks = {
            "marker": MARKERS[series % len(MARKERS)],
            "linestyle": STROKES[dash],
        }
    axes.plot(line.x, line.y, ms=4, color=colour, label=line.name, **marks)


@_draw.register
def _(chart: Points, axes: Axes) -> None:
    for series, cloud in enumerate(chart.clouds):
        colour = colour_of(cloud.role or cloud.name, series)
        mark = MARKERS[series % len(MARKERS)]
        axes.plot(cloud.x, cloud.y, mark, ms=5, alpha=0.8, color=colour,
                  label=cloud.name)  # fmt: skip
    if chart.level is not None:
        axes.axhline(chart.level, ls=":", color=QUIET)
    if chart.y_ends is not None:
        least, most = chart.y_ends
        room = 0.03 * (most - least)
        axes.set_ylim(least - room, most + room)
    axes.set_xlabel(chart.x_title)
    axes.set_ylabel(chart.y_title)
    _scale(axes, is_log_x=chart.is_log_x, is_log=chart.is_log)
    if chart.clouds:
        _legend(axes)


@_draw.register
def _(chart: Boxes, axes: Axes) -> None:
    stats = [
        {
            "label": b.name, "whislo": b.low, "q1": b.q25, "med": b.median,
            "q3": b.q75, "whishi": b.high, "mean": b.mean,
        }
        for b in chart.boxes
    ]  # fmt: skip
    drawn = axes.bxp(
        stats, showfliers=False, showmeans=True, meanline=True, patch_artist=True,
        orientation="horizontal", medianprops={"color": INK},
        meanprops={"color": INK, "linestyle": "--"},
    )  # fmt: skip
    for series, (patch, box) in enumerate(
        zip(drawn["boxes"], chart.boxes, strict=True)
    ):
        patch.set(facecolor=colour_of(box.role or box.name, series), alpha=0.55)
    axes.invert_yaxis()
    if chart.is_log:
        axes.set_xscale("log")
        _mark_logarithm(axes.xaxis)
    else:
        axes.locator_params(axis="x", nbins=5)
    axes.set_xlabel(chart.x_title)


@_draw.register
def _(chart: Cells, axes: Axes) -> None:
    ratios = np.array(chart.ratios, dtype=float).reshape(len(chart.y_labels), -1)
    logs = np.ma.masked_invalid(np.log(np.where(ratios > 0, ratios, np.nan)))
    reach = chart.log_reach
    image = axes.imshow(
        logs, cmap=DIVERGING, aspect="auto", origin="lower", vmin=-reach, vmax=reach
    )
    _label_places(chart, [[ratio(v) for v in row] for row in ratios.tolist()], axes)
    ticks = ratio_ticks(reach)
    bar = axes.figure.colorbar(image, ax=axes, label=chart.value_title)
    bar.set_ticks(np.log(ticks).tolist(), labels=[ratio(tick) for tick in ticks])
    bar.minorticks_off()


@_draw.register
def _(chart: Shades, axes: Axes) -> None:
    shares = np.array(chart.shares, dtype=float).reshape(len(chart.y_labels), -1)
    image = axes.imshow(
        np.ma.masked_invalid(shares), cmap=SEQUENTIAL, aspect="auto", origin="lower",
        vmin=0, vmax=1,
    )  # fmt: skip
    _label_places(chart, [[share(v) for v in row] for row in shares.tolist()], axes)
    axes.figure.colorbar(image, ax=axes, label=chart.value_title)


@_draw.register
def _(chart: Mosaic, axes: Axes) -> None:
    least, most = chart.ends()
    shades = np.array(chart.shades(), dtype=float).reshape(len(chart.y_labels), -1)
    image = axes.imshow(
        np.ma.masked_invalid(shades), aspect="auto", origin="lower", vmin=least,
        vmax=most, cmap=TILES if chart.middle is None else DIVERGING,
        interpolation="nearest",
    )  # fmt: skip
    for one in chart.marks:
        rows, columns = zip(*one.places, strict=True) if one.places else ((), ())
        sign = {"c": INK, "marker": "o", "edgecolors": "white", "linewidths": 0.6}
        if one.sign == "cross":
            sign = {"c": QUIET, "marker": "x", "linewidths": 0.8}
        axes.scatter(columns, rows, s=14, label=one.name, **sign)
    for row in chart.empty_rows():
        middle = (len(chart.x_labels) - 1) / 2
        axes.text(middle, row, chart.empty_row, ha="center", va="center", fontsize=7)
    if chart.line_before is not None:
        axes.axvline(chart.line_before - 0.5, color=QUIET, lw=1.5)
    _label_some(chart, axes)
    bar = axes.figure.colorbar(image, ax=axes, label=chart.value_title)
    if chart.is_log:
        bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda v, _: number(10**v)))
    if any(one.places for one in chart.marks):
        axes.figure.legend(frameon=False, fontsize=9, loc="outside lower left", ncols=2)


@_draw.register
def _(chart: TokenMap, axes: Axes) -> None:
    draw_token_map(chart, axes)


@_draw.register
def _(chart: Bars, axes: Axes) -> None:
    draw_bars(chart, axes)


def _label_some(chart: Mosaic, axes: Axes) -> None:
    for axis, labels in ((axes.xaxis, chart.x_labels), (axes.yaxis, chart.y_labels)):
        step = label_step(len(labels), 16)
        axis.set_ticks(range(0, len(labels), step), labels[::step])
    axes.set_xlabel(chart.x_title)
    axes.set_ylabel(chart.y_title)
    axes.grid(visible=False)


def _label_places(
    chart: Cells | Shades, texts: Sequence[Sequence[str]], axes: Axes
) -> None:
    """Write what each place holds, and the labels of both axes."""
    for height, row in enumerate(texts):
        for place, text in enumerate(row):
            axes.text(place, height, text, ha="center", va="center", fontsize=8,
                      color=INK)  # fmt: skip
    axes.set_xticks(range(len(chart.x_labels)), chart.x_labels)
    axes.set_yticks(range(len(chart.y_labels)), chart.y_labels)
    axes.set_xlabel(chart.x_title)
    axes.set_ylabel(chart.y_title)
    axes.grid(visible=False)


@_draw.register
def _(chart: Ranges, axes: Axes) -> None:
    if chart.margin is not None:
        axes.axvspan(*chart.margin, color=QUIET, alpha=0.14, lw=0)
    axes.axvline(chart.reference, ls=":", color=QUIET)
    rows = zip(chart.colours(), chart.estimates, chart.lows, chart.highs, strict=True)
    for series, (colour, estimate, low, high) in enumerate(rows):
        axes.plot([low, high], [series, series], color=colour, lw=2.5)
        axes.plot([estimate], [series], "o", color=colour, ms=8)
    axes.set_yticks(range(len(chart.names)), chart.names)
    axes.set_ylim(len(chart.names) - 0.5, -0.5)
    axes.set_xlabel(chart.x_title)


@_draw.register
def _(chart: Histogram, axes: Axes) -> None:
    axes.stairs(
        chart.counts, chart.edges, fill=True, color=QUIET, label=chart.chance_name
    )
    axes.axvline(chart.observed, color=LOUD, lw=2.5, label=chart.observed_name)
    axes.set_xlabel(chart.x_title)
    axes.set_ylabel("draws")
    _legend(axes)


def _legend(axes: Axes) -> None:
    """Beside the drawing: nothing is hidden, and no place is searched for."""
    axes.legend(frameon=False, fontsize=9, loc="upper left", bbox_to_anchor=(1.0, 1.0))
