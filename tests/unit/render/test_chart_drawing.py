"""Is every kind of chart drawn by both back ends, whatever its numbers?"""

import json
import math
import re
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from driftmap.render.charts import (
    PALETTE,
    Box,
    Boxes,
    Cells,
    Cloud,
    Histogram,
    Line,
    Lines,
    Marks,
    Mosaic,
    Points,
    Ranges,
    Shades,
    colour_of,
    height_of,
    least_width_of,
)
from driftmap.render.page import Figure
from driftmap.render.pictures import save_pictures
from driftmap.render.plotly_charts import plotly_spec
from driftmap.render.token_charts import Bar, Bars, TokenMap

NAN = math.nan


def lines(**options):
    line = Line(
        name="top", x=[0, 5, 10], y=[0.0, NAN, 2.0], low=[0.0, 0.5, 1.0],
        high=[0.5, 1.5, 3.0], threads=[[0.0, 1.0, 1.5], [0.0, NAN, 2.5]],
    )  # fmt: skip
    return Lines(x_title="step", y_title="$d$ (units)", lines=[line], **options)


def points(**options):
    clouds = [
        Cloud(name="up", x=[10, 1000], y=[0.2, NAN], labels=["0.up", "1.<b>"]),
        Cloud(name="down", x=[400], y=[0.9], labels=["0.down"]),
    ]
    return Points(x_title="weights", y_title="share", clouds=clouds, **options)


def boxes(name="random"):
    box = Box(name=name, low=0.0, q25=1.0, median=2.0, q75=3.0, high=9.0, mean=2.5)
    return Boxes(x_title="drift", boxes=[box, box])


def cells(ratios=((0.5, NAN), (1.0, 2.0))):
    return Cells(
        x_labels=["q", "k"],
        y_labels=[str(n) for n in range(len(ratios))],
        x_title="part",
        y_title="layer",
        ratios=ratios,
        value_title="ratio",
        reach=1.25,
    )


def shades(shares=((0.0, NAN), (0.3, 1.4))):
    return Shades(
        x_labels=["top", "utility"],
        y_labels=[str(n) for n in range(len(shares))],
        x_title="group",
        y_title="layer",
        shares=shares,
        value_title="Jaccard",
    )


def mosaic(values=((0.001, NAN), (NAN, NAN), (10.0, 0.1)), **options):
    marks = Marks(name="chosen <b>", places=[(2, 0)])
    crosses = Marks(name="unvisited", places=[(0, 1)], sign="cross")
    kept = {
        "x_labels": [str(n) for n in range(len(values[0]))],
        "y_labels": [str(n) for n in range(len(values))],
        "x_title": "expert",
        "y_title": "layer",
        "values": values,
        "value_title": "score",
        "marks": (marks, crosses),
        "empty_row": "dense: no experts",
    }
    return Mosaic(**kept | options)


def ranges():
    return Ranges(
        x_title="ratio", names=["difference", "<b>"], estimates=[1.1, 1.0],
        lows=[0.9, 1.0], highs=[1.4, 1.0], reference=1.0, margin=(0.8, 1.25),
    )  # fmt: skip


def token_map(values=((0.1, NAN), (0.9, 0.2), (1.4, -0.3)), **options):
    kept = {
        "tokens": ["<b>", " the", "日\n"][: len(values)],
        "x_labels": [str(n) for n in range(len(values[0]))],
        "x_title": "layer",
        "values": values,
        "value_title": "p",
        "hue": "hidden",
        "ends": (0.1, 0.9),
        "starred": (1,),
    }
    return TokenMap(**kept | options)


def bars():
    plain = Bar(
        name="<b>", values=[0.2, NAN], lows=[0.1, NAN], highs=[0.4, NAN],
        role="restored hidden",
    )  # fmt: skip
    return Bars(
        x_labels=["0", "1"], x_title="layer", y_title="effect",
        bars=[plain, Bar(name="severed", values=[-0.1, 0.0])],
    )  # fmt: skip


def histogram(observed=1.3):
    return Histogram(
        x_title="ratio", edges=[0.9, 1.0, 1.1], counts=[4, 6], observed=observed,
        observed_name="observed", chance_name="chance",
    )  # fmt: skip


CHARTS = {
    "lines": lines(),
    "rates": lines(y_ends=(0.0, 1.0)),
    "from zero": lines(y_from_zero=True),
    "no lines": Lines(x_title="step", y_title="drift", lines=[]),
    "over a logarithm": Lines(
        x_title="weights", y_title="share", is_log_x=True,
        lines=[Line(name="a", x=[0.02, 0.3], y=[0.1, 0.2])],
    ),
    "points": points(level=0.5, is_log_x=True),
    "points of shares": points(y_ends=(0.0, 1.0)),
    "boxes": boxes(),
    "cells": cells(),
    "empty cells": cells(((NAN, NAN),)),
    "many cells": cells(tuple((1.0, 1.5) for _ in range(32))),
    "shades": shades(),
    "empty shades": shades(((NAN, NAN),)),
    "mosaic": mosaic(),
    "mosaic over a logarithm": mosaic(is_log=True),
    "mosaic of differences": mosaic(middle=0.0, line_before=1),
    "empty mosaic": mosaic(((NAN, NAN),), marks=()),
    "ranges": ranges(),
    "histogram": histogram(),
    "tokens": token_map(),
    "wide tokens": token_map(((0.5,) * 40,)),
    "tokens by tokens": token_map(hue="difference", x_labels=["a", "long <i>"]),
    "no tokens": token_map(((NAN,),), ends=(0.3, 0.3)),
    "bars": bars(),
}  # fmt: skip


@pytest.mark.parametrize("chart", CHARTS.values(), ids=CHARTS.keys())
def test_a_page_chart_is_plain_json_without_nan(chart):
    spec = plotly_spec(chart)
    assert json.loads(json.dumps(spec, allow_nan=False)) == spec
    assert set(spec) == {"data", "layout"}


@pytest.mark.parametrize("chart", CHARTS.values(), ids=CHARTS.keys())
def test_a_picture_is_drawn_twice_with_the_same_bytes(chart, tmp_path):
    figure = Figure(name="it", title="A $title$ & `name`", reading="R.", chart=chart)
    for folder in (tmp_path / "a", tmp_path / "b"):
        folder.mkdir()
        save_pictures([figure], folder)
    for name in ("it.png", "it.svg"):
        first, second = (tmp_path / part / name for part in "ab")
        assert first.read_bytes() == second.read_bytes()
    with Image.open(tmp_path / "a/it.png") as picture:
        assert np.asarray(picture.convert("L")).std() > 1
    assert "<dc:date>" not in (tmp_path / "a/it.svg").read_text()


def test_lines_carry_band_threads_and_gap():
    band, *threads, main = plotly_spec(lines())["data"]
    assert band["fill"] == "toself"
    assert band["y"] == [0.5, 1.5, 3.0, 1.0, 0.5, 0.0]
    assert [thread["line"]["width"] for thread in threads] == [1, 1]
    assert main["y"] == [0.0, None, 2.0]
    assert not any(trace["showlegend"] for trace in (band, *threads))


def test_rates_show_the_whole_scale():
    low, high = plotly_spec(lines(y_ends=(0.0, 1.0)))["layout"]["yaxis"]["range"]
    assert low < 0
    assert high > 1


def test_cells_are_coloured_by_the_logarithm_and_labelled_by_the_ratio():
    heat = plotly_spec(cells())["data"][0]
    assert heat["z"] == [[-math.log(2), None], [0.0, math.log(2)]]
    assert heat["text"] == [["0.50", ""], ["1.00", "2.00"]]
    assert heat["zmax"] == -heat["zmin"] == math.log(2)


def test_shares_are_coloured_from_none_to_all_and_keep_their_numbers():
    (heat,) = plotly_spec(shades())["data"]
    assert (heat["zmin"], heat["zmax"]) == (0, 1)
    assert heat["z"] == [[0.0, None], [0.3, 1.4]]
    assert heat["text"] == [["0", ""], ["0.30", "1.40"]]


def test_cells_near_one_stay_pale():
    heat = plotly_spec(cells(((1.01, 0.99),)))["data"][0]
    assert heat["zmax"] == math.log(1.25)


def test_every_layer_of_a_deep_model_has_room_and_label():
    chart = cells(tuple((1.0, 1.0) for _ in range(32)))
    assert height_of(chart) >= 32 * 20
    assert plotly_spec(chart)["layout"]["yaxis"]["dtick"] == 1


def test_a_mosaic_draws_every_tile_at_the_true_size():
    chart = mosaic(tuple(tuple(range(128)) for _ in range(48)), marks=())
    spec = plotly_spec(chart)
    (heat,), layout = spec["data"], spec["layout"]
    assert (len(heat["z"]), {len(row) for row in heat["z"]}) == (48, {128})
    assert layout["xaxis"]["range"] == [-0.5, 127.5]
    assert layout["yaxis"]["range"] == [-0.5, 47.5]
    assert (layout["xaxis"]["dtick"], layout["yaxis"]["dtick"]) == (8, 4)
    assert height_of(chart) >= 48 * 13
    assert 900 >= least_width_of(chart) >= 128 * 6


def test_a_mosaic_marks_tiles_and_writes_into_empty_rows():
    spec = plotly_spec(mosaic())
    _, dots, crosses = spec["data"]
    assert (dots["x"], dots["y"]) == (["0"], ["2"])
    assert dots["name"] == "chosen &lt;b&gt;"
    assert (crosses["x"], crosses["y"]) == (["1"], ["0"])
    (written,) = spec["layout"]["annotations"]
    assert (written["y"], written["text"]) == (1, "dense: no experts")


def test_a_mosaic_over_a_logarithm_keeps_its_numbers():
    chart = mosaic(((0.001, 0.0), (NAN, 10.0), (1.0, 1.0)), is_log=True, marks=())
    heat = plotly_spec(chart)["data"][0]
    assert heat["z"] == [[-1.0, -1.0], [None, 1.0], [0.0, 0.0]]
    assert heat["customdata"] == [["0.001", "0"], ["–", "10"], ["1", "1"]]
    assert (heat["zmin"], heat["zmax"]) == (-1.0, 1.0)
    assert heat["colorbar"]["ticktext"] == ["0.1", "0.316", "1", "3.16", "10"]


def test_a_mosaic_with_a_middle_is_as_strong_on_both_sides():
    heat = plotly_spec(mosaic(((-0.1, 0.3),), middle=0.0, marks=()))["data"][0]
    assert (heat["zmin"], heat["zmax"]) == (-0.3, 0.3)
    lifts = plotly_spec(mosaic(((0.01, 10.0),), middle=1.0, is_log=True, marks=()))
    assert (lifts["data"][0]["zmin"], lifts["data"][0]["zmax"]) == (-2.0, 2.0)
    same = plotly_spec(mosaic(((0.0, 0.0),), middle=0.0, marks=()))["data"][0]
    assert same["zmin"] < 0 < same["zmax"]


def test_a_mosaic_has_colours_for_a_dark_page():
    heat = plotly_spec(mosaic())["data"][0]
    light, dark = heat["colorscale"], heat["meta"]["dark"]
    assert luminance(rgb(light[0][1])) > 0.7
    assert luminance(rgb(dark[0][1])) < 0.05


def test_tokens_run_downwards_and_may_repeat():
    spec = plotly_spec(token_map(tokens=[" a", " a", " a"]))
    (heat,), layout = spec["data"], spec["layout"]
    assert heat["z"] == [[0.1, None], [0.9, 0.2], [1.4, -0.3]]
    assert layout["yaxis"]["range"] == [2.5, -0.5]
    assert layout["yaxis"]["ticktext"] == ["a", "a *", "a"]
    assert (heat["zmin"], heat["zmax"]) == (0.1, 0.9)
    assert heat["meta"]["rows"] == ["a", "a *", "a"]


def test_tokens_are_shown_without_markup_and_with_unseen_signs_seen():
    chart = token_map(tokens=["<b>", " \n", "x\x00" + 40 * "y"])
    assert chart.row_labels() == [
        "<b>",
        "⏎ *",
        "x\N{SYMBOL FOR NULL}" + 19 * "y" + "…",
    ]
    spec = plotly_spec(chart)
    assert spec["layout"]["yaxis"]["ticktext"][0] == "&lt;b&gt;"
    assert spec["data"][0]["meta"]["rows"][0] == "&lt;b&gt;"


def test_colours_of_tokens_run_equally_far_both_ways():
    assert token_map(hue="honesty", ends=None).scale() == (-1.4, 1.4)
    assert token_map(ends=None).scale() == (-0.3, 1.4)
    assert token_map(ends=(0.9, 0.1)).scale() == (0.1, 0.9)
    low, high = token_map(((0.0,),), ends=(0.0, 0.0)).scale()
    assert low < 0 < high


def test_narrow_maps_hold_their_numbers_and_wide_ones_do_not():
    narrow = plotly_spec(token_map())["data"][0]
    assert narrow["text"] == [["0.10", ""], ["0.90", "0.20"], ["1.40", "-0.30"]]
    assert "text" not in plotly_spec(CHARTS["wide tokens"])["data"][0]


@pytest.mark.parametrize(
    ("ends", "told"),
    [((0, 1), "0.04"), ((0, 0.04), "0.036"), ((-30, 30), "0"), ((3.6, 3.7), "0.036")],
)
def test_tiles_hold_as_many_decimals_as_their_scale_asks_for(ends, told):
    chart = token_map(((0.0361, -1e-9, NAN),), ends=ends)
    assert chart.written() == [[told, "0", ""]]


def test_bars_have_intervals_and_gaps():
    plain, severed = plotly_spec(bars())["data"]
    assert (plain["name"], plain["y"]) == ("&lt;b&gt;", [0.2, None])
    assert plain["error_y"]["array"] == [pytest.approx(0.2), None]
    assert plain["error_y"]["arrayminus"] == [pytest.approx(0.1), None]
    assert plain["customdata"][0] == "0.2 (0.1 to 0.4)"
    assert "error_y" not in severed


def test_the_observed_ratio_is_never_at_the_edge():
    low, high = plotly_spec(histogram(observed=1.3))["layout"]["xaxis"]["range"]
    assert low < 0.9
    assert high > 1.3


def test_a_short_logarithmic_axis_has_marks_of_its_own():
    axis = plotly_spec(CHARTS["over a logarithm"])["layout"]["xaxis"]
    assert {"0.02", "0.05", "0.1", "0.2"} <= set(axis["ticktext"])
    long = plotly_spec(points(is_log_x=True))["layout"]["xaxis"]
    assert long["dtick"] == 1


@pytest.mark.parametrize(
    "chart",
    [
        CHARTS["over a logarithm"],
        points(is_log_x=True),
        lines(is_log=True),
        replace(boxes(), is_log=True),
    ],
    ids=["short", "points", "lines", "boxes"],
)
def test_pictures_mark_logarithmic_axes_with_plain_numbers(chart, tmp_path):
    figure = Figure(name="f", title="t", reading="", chart=chart)
    save_pictures([figure], tmp_path)
    drawn = (tmp_path / "f.svg").read_text()
    assert "mathdefault" not in drawn
    assert re.search(r"<!-- (0\.1|1|10|100) -->", drawn)


def test_each_point_says_what_it_is():
    data = plotly_spec(points())["data"]
    assert data[0]["text"] == ["0.up", "1.&lt;b&gt;"]
    assert data[0]["mode"] == "markers"


def test_labels_cannot_hold_markup():
    assert plotly_spec(ranges())["data"][1]["y"] == ["&lt;b&gt;"]
    assert plotly_spec(boxes("<script>"))["data"][0]["name"] == "&lt;script&gt;"


@pytest.mark.parametrize("paper", [(255, 255, 255), (0x14, 0x17, 0x1C)])
def test_usual_groups_stand_out_from_either_paper(paper):
    for group in PALETTE:
        assert contrast(rgb(colour_of(group, 0)), paper) >= 3


def rgb(colour):
    return tuple(int(colour[at : at + 2], 16) for at in (1, 3, 5))


def contrast(one, other):
    """WCAG 2: ratio of relative luminances."""
    first, second = sorted((luminance(one), luminance(other)))
    return (second + 0.05) / (first + 0.05)


def luminance(colour):
    parts = [c / 255 for c in colour]
    linear = [
        c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts
    ]
    return float(np.dot([0.2126, 0.7152, 0.0722], linear))
