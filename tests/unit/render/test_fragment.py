import base64
import re

from driftmap.render.coloured import ColouredPiece, ColouredText, ColouredTexts
from driftmap.render.coloured import quantile_scale as scale_of
from driftmap.render.fragment import fragment_of
from driftmap.render.page import (
    Beside,
    Callout,
    Choices,
    Facts,
    Figure,
    Folded,
    Grid,
    Paragraph,
    Picker,
    Row,
    Side,
)
from driftmap.render.pictures import svg_of
from driftmap.render.token_charts import TokenMap

EVIL = '<script>alert("x")</script>'


def chart(value=1.0):
    return TokenMap(
        tokens=[EVIL], x_labels=["0"], x_title="layer", values=[[value]],
        value_title="weight", hue="weight",
    )  # fmt: skip


def figure(name="one", value=1.0):
    return Figure(name=name, title=f"A {EVIL}", reading=EVIL, chart=chart(value))


def drawn(*nodes):
    return fragment_of(EVIL, nodes, lambda figure: figure.name.encode())


def test_words_from_data_are_never_read_as_marks():
    piece = ColouredPiece(text=EVIL, value=1.0, note=EVIL)
    texts = [ColouredText(title=EVIL, note="", pieces=[piece])]
    scale = scale_of("surprise", [0.1, 1.0, 2.0], low="low", high="high")
    told = drawn(
        Paragraph(text=f"`name` {EVIL}"),
        Callout(kind="verdict", title=EVIL, texts=[EVIL]),
        Facts(pairs=[(EVIL, EVIL)]),
        Grid(caption=EVIL, columns=[EVIL], rows=[[EVIL]]),
        figure(),
        Folded(summary=EVIL, nodes=[Paragraph(text=EVIL)]),
        Beside(caption=EVIL, sides=[Side(title=EVIL, note=EVIL, text=EVIL)]),
        ColouredTexts(caption=EVIL, scale=scale, texts=texts),
    )
    assert "<script" not in told
    assert "&lt;script&gt;" in told
    assert "<code>name</code>" in told
    assert told.startswith('<div class="driftmap">')
    assert told.endswith("</div>")
    opened = re.findall(r"<(div|p|table|figure|details|span|pre)[ >]", told)
    closed = re.findall(r"</(div|p|table|figure|details|span|pre)>", told)
    assert sorted(opened) == sorted(closed)


def test_a_picker_shows_its_first_chart_and_a_row_all_figures():
    picker = Picker(
        name="picked", title="T", reading="R", charts=[chart(1.0), chart(2.0)],
        choices=[Choices(name="layer", options=["0", "1"])], first=1,
    )  # fmt: skip
    told = drawn(picker, Row(figures=[figure("a"), figure("b")]))
    data = re.findall(r"base64,([^\"]+)\"", told)
    assert [base64.b64decode(one) for one in data] == [b"picked", b"a", b"b"]
    assert "T (layer 1)" in told


def test_a_style_reaches_no_further_than_its_part():
    style = drawn().partition("<style>")[2].partition("</style>")[0]
    rules = [line for line in style.splitlines() if "{" in line]
    assert len(rules) > 5
    assert all(line.startswith(".driftmap") for line in rules)


def test_a_picture_is_svg_and_the_same_each_time():
    first = svg_of(figure())
    assert first.startswith(b"<?xml")
    assert b"<script" not in first
    assert svg_of(figure()) == first
