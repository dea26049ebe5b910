"""How are tokens by layers, and bars by layer, drawn on a page?

Axes of tokens count places and name them: tokens of a text repeat, and names that
repeat would share one place. The page puts the names of `meta` beside each tile.
"""

from math import isfinite

from driftmap.render.charts import colour_of, label_step
from driftmap.render.plotly_parts import Spec, axis, finite, label
from driftmap.render.token_charts import (
    MOST_ROWS_NAMED,
    Bar,
    Bars,
    Hue,
    TokenMap,
    is_tilted,
)
from driftmap.render.wording import number

SCALES: dict[Hue, tuple[str, str, str]] = {
    "hidden": ("#f3f0f9", "#9775d6", "#3f1d75"),
    "mlp": ("#edf6ee", "#5fae6b", "#0b5a2a"),
    "attn": ("#fbeeec", "#e0705f", "#8a1414"),
    "weight": ("#e6eef7", "#5b9bd5", "#0b3a75"),
    "honesty": ("#c2410c", "#f1f3f5", "#1257a0"),
    "difference": ("#1257a0", "#f1f3f5", "#c2410c"),
}
"""Colours of the lowest, middle and highest value, on a light page."""

DARK_SCALES: dict[Hue, tuple[str, str, str]] = {
    "hidden": ("#231d30", "#7a5bb5", "#dccbff"),
    "mlp": ("#17261b", "#35894c", "#b9f2c5"),
    "attn": ("#2c1b1b", "#b8453c", "#ffc7bd"),
    "weight": ("#1f2a38", "#2f73b8", "#b5dcff"),
    "honesty": ("#ff9a5c", "#262c35", "#74b9ff"),
    "difference": ("#74b9ff", "#262c35", "#ff9a5c"),
}

MOST_COLUMNS_NAMED = 24


def token_map(chart: TokenMap) -> tuple[list[Spec], Spec]:
    """Describe a map of tokens as plotly.js `data` and `layout`."""
    low, high = chart.scale()
    rows, columns = chart.row_labels(), chart.column_labels()
    heat: Spec = {
        "type": "heatmap",
        "z": [finite([_short(v) for v in row]) for row in chart.values],
        "zmin": low,
        "zmax": high,
        "colorscale": _scale(SCALES[chart.hue]),
        "meta": {
            "dark": _scale(DARK_SCALES[chart.hue]),
            "rows": list(map(label, rows)),
            "columns": list(map(label, columns)),
        },
        "colorbar": {
            "title": {"text": label(chart.value_title), "side": "right"},
            "thickness": 12,
            "exponentformat": "e",
        },
        "hovertemplate": "%{customdata[0]}, "
        f"{label(chart.x_title)} %{{customdata[1]}}: %{{z:.3~g}}<extra></extra>",
        "hoverongaps": False,
        "xgap": 1,
        "ygap": 1,
    }
    if chart.is_written:
        heat["text"] = chart.written()
        heat["texttemplate"] = "%{text}"
    x_axis = axis(chart.x_title) | _names(columns, MOST_COLUMNS_NAMED)
    if is_tilted(chart):
        x_axis["tickangle"] = -90
    downwards: Spec = {"range": [len(rows) - 0.5, -0.5]}
    y_axis = axis(chart.y_title) | _names(rows, MOST_ROWS_NAMED) | downwards
    return [heat], {"xaxis": x_axis, "yaxis": y_axis, "hovermode": "closest"}


def bars(chart: Bars) -> tuple[list[Spec], Spec]:
    """Describe bars side by side as plotly.js `data` and `layout`."""
    data = [_bars(chart, one, series) for series, one in enumerate(chart.bars)]
    return data, {
        "xaxis": axis(chart.x_title)
        | {"type": "category", "dtick": label_step(len(chart.x_labels), 24)},
        "yaxis": axis(chart.y_title),
        "barmode": "group",
        "hovermode": "x unified",
    }


def _bars(chart: Bars, bar: Bar, series: int) -> Spec:
    drawn: Spec = {
        "type": "bar",
        "name": label(bar.name),
        "x": list(map(label, chart.x_labels)),
        "y": finite(bar.values),
        "marker": {"color": colour_of(bar.role or bar.name, series)},
        "customdata": [_told(bar, place) for place in range(len(bar.values))],
        "hovertemplate": "%{customdata}",
    }
    if bar.lows:
        ends = list(zip(bar.values, bar.lows, bar.highs, strict=True))
        drawn["error_y"] = {
            "type": "data",
            "symmetric": False,
            "array": finite([high - value for value, _, high in ends]),
            "arrayminus": finite([value - low for value, low, _ in ends]),
            "thickness": 1.5,
            "width": 3,
        }
    return drawn


def _told(bar: Bar, place: int) -> str:
    if not bar.lows:
        return number(bar.values[place])
    low, high = number(bar.lows[place]), number(bar.highs[place])
    return f"{number(bar.values[place])} ({low} to {high})"


def _scale(colours: tuple[str, str, str]) -> list[list[object]]:
    return [[0.0, colours[0]], [0.5, colours[1]], [1.0, colours[2]]]


def _names(names: list[str], most: int) -> Spec:
    step = label_step(len(names), most)
    return {
        "tickvals": list(range(0, len(names), step)),
        "ticktext": list(map(label, names[::step])),
        "range": [-0.5, len(names) - 0.5],
        "showgrid": False,
        "zeroline": False,
        "ticks": "",
    }


def _short(value: float) -> float:
    """Four digits: more would only make the page longer."""
    return float(f"{value:.4g}") if isfinite(value) else float(value)
