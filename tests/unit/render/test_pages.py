"""Is every kind of node written in both forms, and is its text kept safe?"""

import json
from html.parser import HTMLParser

import pytest

from driftmap.render.charts import Histogram, Line, Lines, Ranges
from driftmap.render.html import html_of, inline
from driftmap.render.page import (
    Beside,
    Callout,
    Choices,
    Facts,
    Figure,
    Folded,
    Grid,
    Page,
    Paragraph,
    Picker,
    Row,
    Section,
    Side,
    Terms,
    Word,
    figures_of,
)
from driftmap.render.text import text_of


def page_of(*nodes, title="A question?"):
    section = Section(anchor="one", title="First", nodes=nodes)
    return Page(
        title=title, lead="What it is about.", sections=[section], footer="End."
    )


def figure_of(name="curve", title="A curve", line="a"):
    chart = Lines(
        x_title="step",
        y_title="drift",
        lines=[Line(name=line, x=[0, 1], y=[0.0, 0.5])],
    )
    return Figure(name=name, title=title, reading="Higher is more.", chart=chart)


def picker_of(notes=("a.", "b.", "c.", "d.", "e.", "f."), first=4):
    charts = [
        Lines(x_title="step", y_title=f"{n}", lines=[Line(name="a", x=[0], y=[n])])
        for n in range(6)
    ]
    return Picker(
        name="heads", title="Heads", reading="Read rows.",
        choices=[
            Choices(name="layer", options=["0", "<b>", "2"]),
            Choices(name="head", options=["0", "1"]),
        ],
        charts=charts, notes=notes, first=first,
    )  # fmt: skip


class Tags(HTMLParser):
    """All tags of a document with their attributes, and the text of its scripts."""

    def __init__(self, document):
        super().__init__(convert_charrefs=True)
        self.found, self.scripts, self._open, self._is_data = [], [], "", False
        self.feed(document)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        self._open = tag
        if tag == "script":
            self.scripts.append("")
            self._is_data = dict(attrs).get("type") == "application/json"

    def handle_endtag(self, tag):
        self._open = ""

    def handle_data(self, data):
        if self._open == "script":
            self.scripts[-1] += data
            if self._is_data:
                self.charts = self.scripts[-1]


def test_a_page_as_text():
    page = page_of(
        Paragraph(text="Some `code` and words."),
        Callout(kind="verdict", title="Verdict: yes", texts=["Because."]),
        Callout(kind="caution", title="Careful", texts=["One.", "Two."]),
        Facts(pairs=[("a", "1"), ("long name", "2")]),
        Terms(pairs=[("word", "What it means.")]),
        Grid(
            caption="A table.",
            columns=("name", "n"),
            rows=[("x", "1"), ("longer", "22")],
            align_right=frozenset({1}),
        ),
        Folded(summary="More", nodes=[Row(figures=[figure_of()])]),
    )
    assert text_of(page) == (
        "A question?\n===========\n\nWhat it is about.\n\n1. First\n--------\n\n"
        "Some `code` and words.\n\n"
        "[Verdict: yes]\nBecause.\n\n"
        "[Careful]\n- One.\n- Two.\n\n"
        "a          1\nlong name  2\n\n"
        "word  What it means.\n\n"
        "A table.\nname     n\n------  --\nx        1\nlonger  22\n\n"
        "* More *\n\n"
        "Figure: A curve\nHigher is more.\n  a: 0 -> 0, 1 -> 0.5\n\n"
        "End.\n"
    )


def test_words_of_a_side_are_marked_on_the_page_and_in_text():
    words = [
        Word(text="so ", value=0, note=""),
        Word(text="<b> ", value=0.5, note="again", is_marked=True),
    ]
    side = Side(title="Base", note="2 words", text="so <b> ", words=words)
    page = page_of(Beside(caption="Both", sides=[side]))
    assert "| Base (2 words)\n|   so *<b>*" in text_of(page)
    html = html_of(page)
    assert 'class="word marked"' in html
    assert "&lt;b&gt; </span>" in html


def test_charts_as_text():
    ranges = Ranges(
        x_title="ratio", names=["a", "b"], estimates=[1.5, 1.0], lows=[1.25, 1.0],
        highs=[1.75, 1.0], reference=1.0,
    )  # fmt: skip
    draws = Histogram(
        x_title="ratio", edges=[0.5, 1.0, 1.5], counts=[3, 4], observed=2.0,
        observed_name="observed", chance_name="chance",
    )  # fmt: skip
    nodes = [
        Figure(name=str(n), title="T", reading="R.", chart=chart)
        for n, chart in enumerate((ranges, draws))
    ]
    text = text_of(page_of(*nodes))
    assert "  a: 1.5 (1.25 to 1.75)\n  b: 1\n" in text
    assert "  observed: 2; chance: 0.5 to 1.5\n" in text


def test_text_and_picture_hold_the_chart_that_is_shown_first():
    page = page_of(Folded(summary="More", nodes=[picker_of()]))
    (figure,) = figures_of(page)
    assert (figure.name, figure.title) == ("heads", "Heads (layer 2, head 0)")
    assert figure.chart.y_title == "4"
    assert (
        "Figure: Heads (layer 2, head 0)\ne. Read rows.\n  a: 0 -> 4\n"
        "  (the page shows any of 6)\n" in text_of(page)
    )


@pytest.mark.parametrize("first", range(6))
def test_a_picker_knows_which_options_are_shown(first):
    picker = picker_of(first=first)
    layer, head = picker.chosen()
    assert layer * 2 + head == first
    assert 0 <= head < 2


def test_the_document_holds_every_chart_of_a_picker_and_its_note():
    document = Tags(html_of(page_of(picker_of())))
    data = json.loads(document.charts)
    assert [data[f"heads/{n}"]["note"] for n in range(6)] == [
        "a.", "b.", "c.", "d.", "e.", "f.",
    ]  # fmt: skip
    assert data["heads/5"]["layout"]["yaxis"]["title"]["text"] == "5"
    assert [tag for tag, _ in document.found].count("select") == 2
    chosen = [a for tag, a in document.found if tag == "option" and "selected" in a]
    assert len(chosen) == 2
    assert "<b>" not in html_of(page_of(picker_of()))


def test_long_lines_are_thinned_in_text_but_keep_their_ends():
    line = Line(name="loss", x=list(range(1000)), y=[float(n) for n in range(1000)])
    chart = Lines(x_title="step", y_title="loss", lines=[line])
    figure = Figure(name="loss", title="Loss", reading="Lower.", chart=chart)
    text = text_of(page_of(figure))
    assert "0 -> 0" in text
    assert "999 -> 999" in text
    assert text.count("->") == 12


def test_long_paths_are_not_broken_in_text():
    path = "/very/long" * 15
    assert path in text_of(page_of(Facts(pairs=[("model", path)])))


def test_the_document_asks_nobody_for_anything():
    tags = Tags(html_of(page_of(figure_of()))).found
    links = [
        value
        for _, attributes in tags
        for name, value in attributes.items()
        if name in ("src", "href", "action", "data", "srcset", "poster")
    ]
    assert links == ["data:,", "#content", "#one"]
    policy = [a["content"] for _, a in tags if "http-equiv" in a]
    assert policy[0].startswith("default-src 'none';")


@pytest.mark.parametrize(
    "evil", ["<script>alert(1)</script>", "</script><b>", "<!--", '"><img src=x>']
)
def test_no_text_can_leave_its_place(evil):
    page = page_of(
        Paragraph(text=evil),
        Callout(kind="note", title=evil, texts=[evil]),
        Facts(pairs=[(evil, evil)]),
        Grid(caption=evil, columns=(evil,), rows=[(f"`{evil}`",)]),
        Folded(summary=evil, nodes=[figure_of(title=evil, line=evil)]),
        title=evil,
    )
    plain = page_of(
        Paragraph(text="x"),
        Callout(kind="note", title="x", texts=["x"]),
        Facts(pairs=[("x", "x")]),
        Grid(caption="x", columns=("x",), rows=[("`x`",)]),
        Folded(summary="x", nodes=[figure_of(title="x", line="x")]),
        title="x",
    )
    found, expected = Tags(html_of(page)), Tags(html_of(plain))
    assert [tag for tag, _ in found.found] == [tag for tag, _ in expected.found]
    data = json.loads(found.charts)
    assert "<" not in data["curve"]["data"][0]["name"]


def test_names_become_code_after_escaping():
    assert inline("`a<b` & `c`") == "<code>a&lt;b</code> &amp; <code>c</code>"
    assert inline("one ` alone") == "one ` alone"


def test_a_page_without_charts_holds_no_chart_library():
    document = html_of(page_of(Paragraph(text="Only words.")))
    assert "plotly" not in document.lower()
    assert len(document) < 25_000


def test_figures_are_found_in_order_and_in_folds():
    page = page_of(
        figure_of("a"),
        Folded(summary="s", nodes=[Row(figures=[figure_of("b"), figure_of("c")])]),
        figure_of("d"),
    )
    assert [figure.name for figure in figures_of(page)] == ["a", "b", "c", "d"]


def test_equal_pages_give_equal_bytes():
    assert html_of(page_of(figure_of())) == html_of(page_of(figure_of()))
