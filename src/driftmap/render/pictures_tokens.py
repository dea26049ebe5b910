"""How are tokens by layers, and bars by layer, drawn as PNG and SVG?"""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap

from driftmap.render.charts import colour_of, label_step
from driftmap.render.plotly_tokens import MOST_COLUMNS_NAMED, SCALES
from driftmap.render.token_charts import MOST_ROWS_NAMED, Bars, TokenMap, is_tilted

INK, PAPER = "#1b1f24", "#ffffff"


def draw_token_map(chart: TokenMap, axes: Axes) -> None:
    """Draw a map of tokens, the first one on top."""
    low, high = chart.scale()
    rows, columns = chart.row_labels(), chart.column_labels()
    values = np.array(chart.values, dtype=float).reshape(len(rows), -1)
    colours = LinearSegmentedColormap.from_list(chart.hue, SCALES[chart.hue])
    image = axes.imshow(
        np.ma.masked_invalid(values), aspect="auto", origin="upper", vmin=low,
        vmax=high, cmap=colours, interpolation="nearest",
    )  # fmt: skip
    for axis, names, most in (
        (axes.xaxis, columns, MOST_COLUMNS_NAMED),
        (axes.yaxis, rows, MOST_ROWS_NAMED),
    ):
        step = label_step(len(names), most)
        axis.set_ticks(range(0, len(names), step), names[::step])
    if is_tilted(chart):
        axes.tick_params(axis="x", rotation=90)
    axes.set_xlabel(chart.x_title)
    axes.set_ylabel(chart.y_title)
    axes.grid(visible=False)
    if chart.is_written:
        _write(chart, (values - low) / (high - low), colours, axes)
    axes.figure.colorbar(image, ax=axes, label=chart.value_title)


def draw_bars(chart: Bars, axes: Axes) -> None:
    """Draw series of bars side by side."""
    width = 0.8 / max(1, len(chart.bars))
    for series, bar in enumerate(chart.bars):
        values = np.array(bar.values, dtype=float)
        at = np.arange(len(values)) + (series - (len(chart.bars) - 1) / 2) * width
        ends = None
        if bar.lows:
            ends = np.abs(np.array([bar.lows, bar.highs], dtype=float) - values)
        axes.bar(
            at, values, width, yerr=ends, color=colour_of(bar.role or bar.name, series),
            error_kw={"lw": 1, "ecolor": INK}, label=bar.name,
        )  # fmt: skip
    step = label_step(len(chart.x_labels), MOST_COLUMNS_NAMED)
    axes.set_xticks(range(0, len(chart.x_labels), step), chart.x_labels[::step])
    axes.axhline(0, color=INK, lw=0.6)
    axes.set_xlabel(chart.x_title)
    axes.set_ylabel(chart.y_title)
    if chart.bars:
        axes.legend(
            frameon=False, fontsize=9, loc="upper left", bbox_to_anchor=(1.0, 1.0)
        )


def _write(
    chart: TokenMap, places: np.ndarray, colours: LinearSegmentedColormap, axes: Axes
) -> None:
    """Put each number into its tile, in ink on pale ones and in white on full ones."""
    for row, texts in enumerate(chart.written()):
        for column, text in enumerate(texts):
            if not text:
                continue
            red, green, blue, _ = colours(float(places[row, column]))
            is_pale = 0.3 * red + 0.59 * green + 0.11 * blue > 0.55
            axes.text(
                column, row, text, ha="center", va="center", fontsize=7,
                color=INK if is_pale else PAPER,
            )  # fmt: skip
