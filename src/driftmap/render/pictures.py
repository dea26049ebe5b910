"""How is a chart drawn for a paper or a slide: PNG and SVG?"""

from collections.abc import Sequence
from functools import singledispatch
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Canvas

from driftmap.render.charts import (
    Boxes,
    Cells,
    Chart,
    Histogram,
    Lines,
    Ranges,
    colour_of,
)
from driftmap.render.page import Figure

STYLE = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "svg.hashsalt": "driftmap",
}


def save_pictures(figures: Sequence[Figure], folder: Path) -> None:
    """Write `NAME.png` (144 dpi) and `NAME.svg` for each figure.

    The bytes depend on the figures alone: neither file holds a date.
    """
    with mpl.rc_context(STYLE):  # pyright: ignore[reportArgumentType]
        for figure in figures:
            canvas = Canvas(figsize=(7.2, 4.2), layout="constrained")
            FigureCanvasAgg(canvas)
            axes = canvas.add_subplot()
            axes.set_title(figure.title, loc="left", fontsize=11, wrap=True)
            _draw(figure.chart, axes)
            canvas.savefig(folder / f"{figure.name}.png", dpi=144)
            canvas.savefig(folder / f"{figure.name}.svg", metadata={"Date": None})


@singledispatch
def _draw(chart: Chart, axes: Axes) -> None:
    raise AssertionError(f"no drawing for {type(chart).__name__}")


@_draw.register
def _(chart: Lines, axes: Axes) -> None:
    for number, line in enumerate(chart.lines):
        colour = colour_of(line.name, number)
        axes.plot(line.x, line.y, marker="o", ms=4, color=colour, label=line.name)
        if line.low:
            axes.fill_between(
                line.x, line.low, line.high, color=colour, alpha=0.18, lw=0
            )
    if chart.reference is not None:
        axes.axhline(chart.reference, ls=":", color="#868e96")
    if chart.y_from_zero:
        axes.set_ylim(bottom=0)
    axes.set_xlabel(chart.x_title)
    axes.set_ylabel(chart.y_title)
    axes.legend(frameon=False, fontsize=9)


@_draw.register
def _(chart: Boxes, axes: Axes) -> None:
    stats = [
        {
            "label": b.name, "whislo": b.low, "q1": b.q25, "med": b.median,
            "q3": b.q75, "whishi": b.high, "mean": b.mean,
        }
        for b in chart.boxes
    ]  # fmt: skip
    drawn = axes.bxp(stats, showfliers=False, showmeans=True, patch_artist=True)
    for number, (patch, box) in enumerate(
        zip(drawn["boxes"], chart.boxes, strict=True)
    ):
        patch.set(facecolor=colour_of(box.name, number), alpha=0.55)
    if chart.log:
        axes.set_yscale("log")
    axes.set_ylabel(chart.y_title)


@_draw.register
def _(chart: Cells, axes: Axes) -> None:
    values = np.ma.masked_invalid(np.array(chart.values, dtype=float))
    reach = float(np.abs(values - chart.middle).max() or 1) if values.count() else 1.0
    image = axes.imshow(
        values, cmap="RdBu_r", aspect="auto", origin="lower",
        vmin=chart.middle - reach, vmax=chart.middle + reach,
    )  # fmt: skip
    axes.set_xticks(range(len(chart.x_labels)), chart.x_labels)
    axes.set_yticks(range(len(chart.y_labels)), chart.y_labels)
    axes.set_xlabel(chart.x_title)
    axes.set_ylabel(chart.y_title)
    axes.grid(visible=False)
    axes.figure.colorbar(image, ax=axes, label=chart.value_title)


@_draw.register
def _(chart: Ranges, axes: Axes) -> None:
    if chart.margin is not None:
        axes.axvspan(*chart.margin, color="#868e96", alpha=0.14, lw=0)
    axes.axvline(chart.reference, ls=":", color="#868e96")
    rows = zip(chart.names, chart.estimates, chart.lows, chart.highs, strict=True)
    for number, (name, estimate, low, high) in enumerate(rows):
        colour = colour_of(name, number)
        axes.plot([low, high], [number, number], color=colour, lw=2.5)
        axes.plot([estimate], [number], "o", color=colour, ms=8)
    axes.set_yticks(range(len(chart.names)), chart.names)
    axes.invert_yaxis()
    axes.set_xlabel(chart.x_title)


@_draw.register
def _(chart: Histogram, axes: Axes) -> None:
    axes.stairs(
        chart.counts, chart.edges, fill=True, color="#868e96", label=chart.chance_name
    )
    axes.axvline(chart.observed, color="#d9480f", lw=2.5, label=chart.observed_name)
    axes.set_xlabel(chart.x_title)
    axes.set_ylabel("draws")
    axes.legend(frameon=False, fontsize=9)
