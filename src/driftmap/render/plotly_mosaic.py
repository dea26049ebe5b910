"""How is a matrix of thousands of tiles drawn on a page?

Tiles are one heat map, marks are points above it. The colours for a dark page stand
beside those for a light one; the page takes what fits it.
"""

from math import isfinite

from driftmap.render.charts import Marks, Mosaic, label_step
from driftmap.render.plotly_parts import Spec, axis, finite, label
from driftmap.render.wording import number

PALE_TO_FULL = [[0.0, "#e6eef7"], [0.5, "#5b9bd5"], [1.0, "#0b3a75"]]
FULL_FROM_DARK = [[0.0, "#1f2a38"], [0.5, "#2f73b8"], [1.0, "#b5dcff"]]
BOTH_WAYS = [[0.0, "#1257a0"], [0.5, "#f1f3f5"], [1.0, "#c2410c"]]
BOTH_FROM_DARK = [[0.0, "#74b9ff"], [0.5, "#262c35"], [1.0, "#ff9a5c"]]

MOST_LABELS = 16
"""Columns or rows that are named; of more, every second, fourth, ... is."""

_SIGNS = {"dot": "circle", "cross": "x-thin-open"}


def mosaic(chart: Mosaic) -> tuple[list[Spec], Spec]:
    """Describe a mosaic as plotly.js `data` and `layout`."""
    least, most = chart.ends()
    is_split = chart.middle is not None
    heat: Spec = {
        "type": "heatmap",
        "x": list(map(label, chart.x_labels)),
        "y": list(map(label, chart.y_labels)),
        "z": [finite([_short(v) for v in row]) for row in chart.shades()],
        "zmin": least,
        "zmax": most,
        "colorscale": BOTH_WAYS if is_split else PALE_TO_FULL,
        "meta": {"dark": BOTH_FROM_DARK if is_split else FULL_FROM_DARK},
        "colorbar": _bar(chart),
        "hovertemplate": f"{label(chart.y_title)} %{{y}}, {label(chart.x_title)} "
        f"%{{x}}: %{{{'customdata' if chart.is_log else 'z:.3~g'}}}<extra></extra>",
        "hoverongaps": False,
        "xgap": 1,
        "ygap": 1,
    }
    if chart.is_log:
        heat["customdata"] = [[number(v) for v in row] for row in chart.values]
    marks = [_marks(chart, one) for one in chart.marks if one.places]
    return [heat, *marks], {
        "xaxis": axis(chart.x_title) | _labels(len(chart.x_labels)),
        "yaxis": axis(chart.y_title) | _labels(len(chart.y_labels)),
        "annotations": [_written(chart, row) for row in chart.empty_rows()],
        "shapes": [] if chart.line_before is None else [_line(chart.line_before)],
        "hovermode": "closest",
    }


def _marks(chart: Mosaic, marks: Marks) -> Spec:
    size = 6 if len(chart.x_labels) <= 64 else 5
    is_dot = marks.sign == "dot"
    return {
        "type": "scatter",
        "mode": "markers",
        "name": label(marks.name),
        "x": [label(chart.x_labels[column]) for _, column in marks.places],
        "y": [label(chart.y_labels[row]) for row, _ in marks.places],
        "marker": {
            "symbol": _SIGNS[marks.sign],
            "size": size,
            "color": "#111418" if is_dot else "#868e96",
            "line": {"width": 1.5, "color": "#ffffff" if is_dot else "#868e96"},
        },
        "hoverinfo": "skip",
        "showlegend": True,
    }


def _bar(chart: Mosaic) -> Spec:
    bar: Spec = {
        "title": {"text": label(chart.value_title), "side": "right"},
        "thickness": 12,
        "exponentformat": "e",
    }
    if chart.is_log:
        least, most = chart.ends()
        ticks = [least + (most - least) * n / 4 for n in range(5)]
        bar |= {"tickvals": ticks, "ticktext": [number(10**tick) for tick in ticks]}
    return bar


def _labels(num: int) -> Spec:
    return {
        "type": "category",
        "tick0": 0,
        "dtick": label_step(num, MOST_LABELS),
        "showgrid": False,
        "range": [-0.5, num - 0.5],
    }


def _written(chart: Mosaic, row: int) -> Spec:
    return {
        "x": 0.5, "xref": "paper", "y": row, "yref": "y", "showarrow": False,
        "text": label(chart.empty_row), "font": {"size": 11}, "opacity": 0.75,
    }  # fmt: skip


def _line(column: int) -> Spec:
    return {
        "type": "line", "x0": column - 0.5, "x1": column - 0.5, "y0": 0, "y1": 1,
        "yref": "paper", "line": {"width": 2, "color": "#868e96"},
    }  # fmt: skip


def _short(value: float) -> float:
    """Four digits: more would only make the page longer."""
    return float(f"{value:.4g}") if isfinite(value) else value
