"""How is a chart drawn on a page that a person can hover over and zoom?

Returns plain plotly.js data; colours of text and grid come from the page itself,
which knows whether it is light or dark. plotly.js reads some HTML in labels, so
labels are escaped here.
"""

from collections.abc import Sequence
from functools import singledispatch
from math import ceil, floor, log10

import numpy as np

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
    Numbers,
    Points,
    Ranges,
    Shades,
    colour_of,
)
from driftmap.render.plotly_mosaic import mosaic
from driftmap.render.plotly_parts import Spec, axis, finite, label
from driftmap.render.plotly_tokens import bars, token_map
from driftmap.render.token_charts import Bars, TokenMap
from driftmap.render.wording import number, ratio, ratio_ticks, share

SEQUENTIAL = [[0.0, "#f1f3f5"], [1.0, "#1c7ed6"]]
DIVERGING = [[0.0, "#1c7ed6"], [0.5, "#f1f3f5"], [1.0, "#d9480f"]]


SYMBOLS = ("circle", "diamond", "square", "x", "triangle-up")


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
    y_axis = axis(chart.y_title, is_log=chart.is_log)
    if chart.y_ends is not None:
        y_axis["range"] = _padded(*chart.y_ends)
    elif chart.y_from_zero:
        y_axis["rangemode"] = "tozero"
    x_axis = axis(chart.x_title, is_log=chart.is_log_x)
    if chart.is_log_x:
        x_axis |= _log_ticks([x for line in chart.lines for x in line.x])
    return data, {"xaxis": x_axis, "yaxis": y_axis, "hovermode": "x unified"}


def _line(line: Line, series: int) -> list[Spec]:
    colour = colour_of(line.role or line.name, series)
    quiet: Spec = {
        "type": "scatter",
        "mode": "lines",
        "hoverinfo": "skip",
        "showlegend": False,
        "legendgroup": line.name,
    }
    traces: list[Spec] = []
    if line.low:
        around = {
            "x": [*line.x, *reversed(line.x)],
            "y": finite([*line.high, *reversed(line.low)]),
            "fill": "toself",
            "fillcolor": _faint(colour),
            "line": {"width": 0},
        }
        traces.append(quiet | around)
    traces += [
        quiet
        | {
            "x": list(line.x),
            "y": finite(thread),
            "opacity": 0.45,
            "line": {"color": colour, "width": 1},
        }
        for thread in line.threads
    ]
    drawn: Spec = {
        "type": "scatter",
        "x": list(line.x),
        "y": finite(line.y),
        "name": label(line.name),
        "mode": "lines+markers" if len(line.x) <= MOST_MARKS else "lines",
        "legendgroup": line.name,
        "line": {"color": colour, "width": 2.5, "dash": _dash(line, series)},
        "marker": {"size": 6, "symbol": SYMBOLS[series % len(SYMBOLS)]},
        "hovertemplate": "%{y:.5~g}" if _is_near_one(line.y) else "%{y:.3~g}",
    }
    return [*traces, drawn]


@_draw.register
def _(chart: Points) -> tuple[list[Spec], Spec]:
    data: list[Spec] = [
        {
            "type": "scatter",
            "mode": "markers",
            "name": label(cloud.name),
            "x": list(cloud.x),
            "y": finite(cloud.y),
            "text": list(map(label, cloud.labels)),
            "marker": {
                "size": 8,
                "opacity": 0.8,
                "color": colour_of(cloud.role or cloud.name, series),
                "symbol": SYMBOLS[series % len(SYMBOLS)],
            },
            "hovertemplate": "%{text}: %{y:.3~g}<extra></extra>",
        }
        for series, cloud in enumerate(chart.clouds)
    ]
    y_axis = axis(chart.y_title, is_log=chart.is_log)
    if chart.y_ends is not None:
        y_axis["range"] = _padded(*chart.y_ends)
    shapes = [] if chart.level is None else [_across(chart.level)]
    x_axis = axis(chart.x_title, is_log=chart.is_log_x)
    if chart.is_log_x:
        x_axis |= _log_ticks([x for cloud in chart.clouds for x in cloud.x])
    if chart.is_log:
        y_axis |= _log_ticks([y for cloud in chart.clouds for y in cloud.y])
    return data, {
        "xaxis": x_axis,
        "yaxis": y_axis,
        "hovermode": "closest",
        "shapes": shapes,
    }


@_draw.register
def _(chart: Boxes) -> tuple[list[Spec], Spec]:
    data: list[Spec] = [
        {
            "type": "box",
            "orientation": "h",
            "name": label(box.name),
            "y": [label(box.name)],
            "lowerfence": [box.low],
            "q1": [box.q25],
            "median": [box.median],
            "q3": [box.q75],
            "upperfence": [box.high],
            "mean": [box.mean],
            "marker": {"color": colour_of(box.role or box.name, series)},
            "showlegend": False,
        }
        for series, box in enumerate(chart.boxes)
    ]
    x_axis = axis(chart.x_title, is_log=chart.is_log)
    if chart.is_log:
        ends = [end for box in chart.boxes for end in (box.low, box.high)]
        x_axis["dtick"] = ceil(log10(max(ends) / min(ends)) / 4)
    return data, {"xaxis": x_axis, "yaxis": _names_downwards()}


@_draw.register
def _(chart: Cells) -> tuple[list[Spec], Spec]:
    ratios = np.array(chart.ratios, dtype=float).reshape(len(chart.y_labels), -1)
    logs = np.log(np.where(ratios > 0, ratios, np.nan))
    reach = chart.log_reach
    ticks = ratio_ticks(reach)
    heat: Spec = {
        "z": [finite(row) for row in logs.tolist()],
        "text": [[ratio(v) for v in row] for row in ratios.tolist()],
        "zmin": -reach,
        "zmax": reach,
        "colorscale": DIVERGING,
        "colorbar": {
            "title": {"text": label(chart.value_title), "side": "right"},
            "tickvals": np.log(ticks).tolist(),
            "ticktext": [ratio(tick) for tick in ticks],
            "thickness": 12,
        },
    }
    return _matrix(chart, heat)


@_draw.register
def _(chart: Shades) -> tuple[list[Spec], Spec]:
    heat: Spec = {
        "z": [finite(row) for row in chart.shares],
        "text": [[share(v) for v in row] for row in chart.shares],
        "zmin": 0,
        "zmax": 1,
        "colorscale": SEQUENTIAL,
        "colorbar": {
            "title": {"text": label(chart.value_title), "side": "right"},
            "thickness": 12,
        },
    }
    return _matrix(chart, heat)


@_draw.register
def _(chart: Mosaic) -> tuple[list[Spec], Spec]:
    return mosaic(chart)


@_draw.register
def _(chart: TokenMap) -> tuple[list[Spec], Spec]:
    return token_map(chart)


@_draw.register
def _(chart: Bars) -> tuple[list[Spec], Spec]:
    return bars(chart)


def _matrix(chart: Cells | Shades, heat: Spec) -> tuple[list[Spec], Spec]:
    """Give coloured places their labels and their axes."""
    drawn: Spec = {
        "type": "heatmap",
        "x": list(map(label, chart.x_labels)),
        "y": list(map(label, chart.y_labels)),
        "texttemplate": "%{text}",
        "hovertemplate": "%{yaxis.title.text} %{y}, %{x}: %{text}<extra></extra>",
        "hoverongaps": False,
        "xgap": 1,
        "ygap": 1,
    }
    every_label = {"type": "category", "dtick": 1, "showgrid": False}
    return [drawn | heat], {
        "xaxis": axis(chart.x_title) | every_label,
        "yaxis": axis(chart.y_title) | every_label,
    }


@_draw.register
def _(chart: Ranges) -> tuple[list[Spec], Spec]:
    names, colours = chart.names, chart.colours()
    rows = zip(names, colours, chart.estimates, chart.lows, chart.highs, strict=True)
    data: list[Spec] = [
        {
            "type": "scatter",
            "name": label(name),
            "x": finite([estimate]),
            "y": [label(name)],
            "error_x": {
                "type": "data",
                "symmetric": False,
                "array": finite([high - estimate]),
                "arrayminus": finite([estimate - low]),
                "thickness": 2.5,
            },
            "mode": "markers",
            "marker": {"size": 11, "color": colour},
            "showlegend": False,
            "hovertemplate": f"{number(estimate)} ({number(low)} to {number(high)})",
        }
        for name, colour, estimate, low, high in rows
    ]
    shapes = [_level(chart.reference)]
    if chart.margin is not None:
        shapes.append(_zone(*chart.margin))
    return data, {
        "xaxis": axis(chart.x_title),
        "yaxis": _names_downwards(),
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
        "name": label(chart.chance_name),
        "marker": {"color": QUIET},
        "hovertemplate": "%{y} draws near %{x:.3~g}<extra></extra>",
    }
    seen: Spec = {
        "type": "scatter",
        "x": [chart.observed] * 2,
        "y": [0, max(chart.counts, default=1)],
        "mode": "lines",
        "name": label(chart.observed_name),
        "line": {"color": LOUD, "width": 3},
        "hovertemplate": "%{x:.3~g}<extra></extra>",
    }
    least, most = min(chart.observed, edges[0]), max(chart.observed, edges[-1])
    return [bars, seen], {
        "xaxis": axis(chart.x_title) | {"range": _padded(least, most)},
        "yaxis": axis("draws"),
        "bargap": 0,
    }


def _log_ticks(values: Sequence[float]) -> Spec:
    """Whole decades where there are several; 1, 2 and 5 of each where there are not."""
    decades = log10(max(values) / min(values)) if values else 1
    if decades >= 2:
        return {"dtick": ceil(decades / 6)}
    marks = [
        digit * 10.0**power
        for power in range(floor(log10(min(values, default=1))),
                           ceil(log10(max(values, default=1))) + 1)
        for digit in (1, 2, 5)
    ]  # fmt: skip
    return {"tickvals": marks, "ticktext": [number(mark) for mark in marks]}


def _dash(line: Line, series: int) -> str:
    return DASHES[series % len(DASHES)] if len(line.x) <= MOST_MARKS else "solid"


def _is_near_one(values: Numbers) -> bool:
    return all(0.9 <= value <= 1 for value in values)


def _names_downwards() -> Spec:
    return {
        "type": "category", "autorange": "reversed", "showgrid": False, "dtick": 1,
    }  # fmt: skip


def _level(value: float) -> Spec:
    return {
        "type": "line",
        "x0": value, "x1": value, "y0": 0, "y1": 1, "yref": "paper",
        "line": {"dash": "dot", "width": 1.5, "color": QUIET},
    }  # fmt: skip


def _across(value: float) -> Spec:
    return {
        "type": "line",
        "x0": 0, "x1": 1, "xref": "paper", "y0": value, "y1": value,
        "line": {"dash": "dot", "width": 1.5, "color": QUIET},
    }  # fmt: skip


def _zone(low: float, high: float) -> Spec:
    return {
        "type": "rect",
        "x0": low, "x1": high, "y0": 0, "y1": 1, "yref": "paper",
        "fillcolor": QUIET, "opacity": 0.14, "line": {"width": 0},
        "layer": "below",
    }  # fmt: skip


def _padded(least: float, most: float) -> list[float]:
    """A hair of room at both ends, so that lines along an end are not cut."""
    room = 0.03 * float(most - least)
    return [float(least) - room, float(most) + room]


def _faint(colour: str) -> str:
    red, green, blue = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.18)"
