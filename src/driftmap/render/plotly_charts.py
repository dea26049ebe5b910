"""How is a chart drawn on a page that a person can hover over and zoom?

Returns plain plotly.js data; colours of text and grid come from the page itself,
which knows whether it is light or dark.
"""

from collections.abc import Sequence
from functools import singledispatch
from typing import TypeAlias

import numpy as np

from driftmap.render.charts import (
    Boxes,
    Cells,
    Chart,
    Histogram,
    Line,
    Lines,
    Ranges,
    colour_of,
)

Spec: TypeAlias = dict[str, object]

DIVERGING = [[0.0, "#1c7ed6"], [0.5, "#f1f3f5"], [1.0, "#d9480f"]]


def plotly_spec(chart: Chart) -> Spec:
    """Describe a chart as plotly.js `data` and `layout`."""
    data, layout = _draw(chart)
    return {"data": data, "layout": layout}


@singledispatch
def _draw(chart: Chart) -> tuple[list[Spec], Spec]:
    raise AssertionError(f"no drawing for {type(chart).__name__}")


@_draw.register
def _(chart: Lines) -> tuple[list[Spec], Spec]:
    data = [t for n, line in enumerate(chart.lines) for t in _line(line, n)]
    layout: Spec = {
        "xaxis": {"title": {"text": chart.x_title}},
        "yaxis": {
            "title": {"text": chart.y_title},
            "rangemode": "tozero" if chart.y_from_zero else "normal",
        },
    }
    if chart.reference is not None:
        layout["shapes"] = [_level("y", chart.reference)]
    return data, layout


def _line(line: Line, number: int) -> list[Spec]:
    colour = colour_of(line.name, number)
    traces: list[Spec] = []
    if line.low:
        traces.append(
            {
                "type": "scatter",
                "x": [*line.x, *reversed(line.x)],
                "y": _finite([*line.high, *reversed(line.low)]),
                "fill": "toself",
                "fillcolor": colour,
                "opacity": 0.18,
                "line": {"width": 0},
                "mode": "lines",
                "hoverinfo": "skip",
                "showlegend": False,
                "legendgroup": line.name,
            }
        )
    traces.append(
        {
            "type": "scatter",
            "x": list(line.x),
            "y": _finite(line.y),
            "name": line.name,
            "mode": "lines+markers",
            "legendgroup": line.name,
            "line": {"color": colour, "width": 2.5},
            "marker": {"size": 6},
        }
    )
    return traces


@_draw.register
def _(chart: Boxes) -> tuple[list[Spec], Spec]:
    data: list[Spec] = [
        {
            "type": "box",
            "name": box.name,
            "x": [box.name],
            "lowerfence": [box.low],
            "q1": [box.q25],
            "median": [box.median],
            "q3": [box.q75],
            "upperfence": [box.high],
            "mean": [box.mean],
            "marker": {"color": colour_of(box.name, number)},
            "showlegend": False,
        }
        for number, box in enumerate(chart.boxes)
    ]
    axis: Spec = {"title": {"text": chart.y_title}}
    if chart.log:
        axis["type"] = "log"
    return data, {"yaxis": axis, "xaxis": {"type": "category"}}


@_draw.register
def _(chart: Cells) -> tuple[list[Spec], Spec]:
    values = np.array(chart.values, dtype=float)
    reach = _reach(values, chart.middle)
    heat: Spec = {
        "type": "heatmap",
        "x": list(chart.x_labels),
        "y": list(chart.y_labels),
        "z": [_finite(row) for row in values.tolist()],
        "zmin": chart.middle - reach,
        "zmax": chart.middle + reach,
        "colorscale": DIVERGING,
        "colorbar": {"title": {"text": chart.value_title, "side": "right"}},
        "hoverongaps": False,
        "xgap": 2,
        "ygap": 2,
    }
    return [heat], {
        "xaxis": {"title": {"text": chart.x_title}, "type": "category"},
        "yaxis": {"title": {"text": chart.y_title}, "type": "category"},
    }


@_draw.register
def _(chart: Ranges) -> tuple[list[Spec], Spec]:
    estimates = np.array(chart.estimates)
    data: list[Spec] = [
        {
            "type": "scatter",
            "x": [estimate],
            "y": [name],
            "error_x": {
                "type": "data",
                "symmetric": False,
                "array": _finite([high - estimate]),
                "arrayminus": _finite([estimate - low]),
                "thickness": 2.5,
            },
            "mode": "markers",
            "marker": {"size": 11, "color": colour_of(name, number)},
            "showlegend": False,
        }
        for number, (name, estimate, low, high) in enumerate(
            zip(chart.names, estimates.tolist(), chart.lows, chart.highs, strict=True)
        )
    ]
    shapes = [_level("x", chart.reference)]
    if chart.margin is not None:
        shapes.append(_zone(*chart.margin))
    return data, {
        "xaxis": {"title": {"text": chart.x_title}},
        "yaxis": {"type": "category", "autorange": "reversed"},
        "shapes": shapes,
    }


@_draw.register
def _(chart: Histogram) -> tuple[list[Spec], Spec]:
    edges = np.array(chart.edges)
    bars: Spec = {
        "type": "bar",
        "x": ((edges[1:] + edges[:-1]) / 2).tolist(),
        "y": list(chart.counts),
        "width": np.diff(edges).tolist(),
        "name": chart.chance_name,
        "marker": {"color": "#868e96"},
    }
    seen: Spec = {
        "type": "scatter",
        "x": [chart.observed] * 2,
        "y": [0, max(chart.counts, default=1)],
        "mode": "lines",
        "name": chart.observed_name,
        "line": {"color": "#d9480f", "width": 3},
    }
    return [bars, seen], {
        "xaxis": {"title": {"text": chart.x_title}},
        "yaxis": {"title": {"text": "draws"}},
        "bargap": 0,
    }


def _level(axis: str, value: float) -> Spec:
    other = "y" if axis == "x" else "x"
    return {
        "type": "line",
        f"{axis}0": value, f"{axis}1": value,
        f"{other}0": 0, f"{other}1": 1, f"{other}ref": "paper",
        "line": {"dash": "dot", "width": 1.5, "color": "#868e96"},
    }  # fmt: skip


def _zone(low: float, high: float) -> Spec:
    return {
        "type": "rect",
        "x0": low, "x1": high, "y0": 0, "y1": 1, "yref": "paper",
        "fillcolor": "#868e96", "opacity": 0.14, "line": {"width": 0},
        "layer": "below",
    }  # fmt: skip


def _reach(values: np.ndarray, middle: float) -> float:
    away = np.abs(values - middle)
    away = away[np.isfinite(away)]
    return float(away.max()) if away.size and away.max() > 0 else 1.0


def _finite(values: Sequence[float]) -> list[float | None]:
    """JSON has no NaN: a gap is null."""
    return [v if np.isfinite(v) else None for v in values]
