"""Coloured texts: the same tree for a page, a terminal and plain text."""

import re
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from driftmap.render.coloured import (
    MARKS,
    ColouredPiece,
    ColouredText,
    ColouredTexts,
    diverging_scale,
    quantile_scale,
    visible,
)
from driftmap.render.coloured_text import PAINTS, colours_for, terminal_text
from driftmap.render.html import html_of
from driftmap.render.page import Folded, Page, Section
from driftmap.render.text import text_of

SCALE = quantile_scale("surprise (nats)", range(101), low="expected", high="odd")
CODE = re.compile(r"\x1b\[[0-9;]*m")


def texts_of(*pieces, scale=SCALE, marked=""):
    text = ColouredText(title="One", note="", pieces=pieces)
    return ColouredTexts(caption="", scale=scale, texts=[text], marked=marked)


def piece(text, value=0.0, **more):
    return ColouredPiece(text=text, value=value, **more)


def page_of(node):
    return Page(
        title="t",
        lead="l",
        sections=[Section(anchor="a", title="s", nodes=[node])],
        footer="f",
    )


class Shown(HTMLParser):
    """The text of all elements of class `pieces`, and what their spans say."""

    def __init__(self):
        super().__init__()
        self.depth, self.texts, self.spans, self.body = 0, [], [], []

    def handle_starttag(self, tag, attrs):
        held = dict(attrs)
        if self.depth:
            self.depth += 1
            if tag == "span":
                self.spans.append(held)
        elif held.get("class") == "pieces":
            self.depth = 1
            self.texts.append("")

    def handle_endtag(self, tag):
        self.depth -= bool(self.depth)

    def handle_data(self, data):
        if self.depth:
            self.texts[-1] += data


def shown(node):
    parser = Shown()
    parser.feed(html_of(page_of(node)))
    parser.close()
    return parser


@settings(max_examples=10)
@given(st.lists(st.text(min_size=1), min_size=1, max_size=6))
def test_with_tags_stripped_the_page_is_the_text(words):
    found = shown(texts_of(*(piece(word) for word in words)))
    assert found.texts == [visible("".join(words))]


def test_plain_text_is_not_changed_by_being_made_visible():
    text = "a é 漢 \U0001f468\u200d\U0001f469 <b>&\"'\n\tz"
    assert visible(text) == text
    assert shown(texts_of(piece(text))).texts == [text]


def test_text_cannot_become_markup_or_steer_a_terminal():
    nasty = "</span><script>x</script>\x1b[31m\u202e\x00\r&lt;"
    html = html_of(page_of(texts_of(piece(nasty, note='"><img src=x>'))))
    assert "<script>x" not in html
    assert "<img" not in html
    assert not re.search(r"[\x00\x1b\r\u202e]", html)
    written = terminal_text(texts_of(piece(nasty)), "none")
    assert "\x1b" not in written
    assert "␛[31m⟨202E⟩␀␍&lt;" in written


def test_pieces_say_what_is_known_of_them_and_are_reached_by_keys():
    node = texts_of(piece("a", None), piece(" b", 99.0, note="p .1\nrank 3"))
    first, second = shown(node).spans
    assert first["class"].split() == ["piece", "unread"]
    assert (first["tabindex"], second["tabindex"]) == ("0", "-1")
    assert second["class"].split() == ["piece", "c4"]
    assert second["title"] == "p .1\nrank 3"
    assert "ArrowRight" in html_of(page_of(node))


def test_pages_without_coloured_texts_have_no_script_for_them():
    html = html_of(page_of(Folded(summary="s", nodes=[])))
    assert "piece-note" not in html
    assert "piece-note" in html_of(
        page_of(Folded(summary="s", nodes=[texts_of(piece("a"))]))
    )


def test_quantile_scale_by_hand():
    assert SCALE.edges == (50, 70, 85, 95)
    assert [SCALE.level(v) for v in (0, 49.9, 50, 90, 95, 1e9)] == [0, 0, 1, 3, 4, 4]
    assert SCALE.labels() == [
        "below 50",
        "50 to 70",
        "70 to 85",
        "85 to 95",
        "95 and more",
    ]


@pytest.mark.parametrize("values", [[], [3.0], [0.0] * 9])
def test_equal_values_have_one_colour_the_plain_one(values):
    scale = quantile_scale("n", values, low="", high="")
    assert [scale.colour(scale.level(v)) for v in values] == [0] * len(values)
    assert len(scale.labels()) == 1


def test_diverging_scale_is_symmetric_and_plain_in_the_middle():
    scale = diverging_scale("score", low="no", high="yes")
    last = len(PAINTS["diverging"]) - 1
    for value in (0.1, 0.3, 1.5, 7.0):
        down, up = (scale.colour(scale.level(v)) for v in (-value, value))
        assert down + up == last
    assert PAINTS["diverging"][scale.colour(scale.level(0.0))] is None
    assert len(set(MARKS["diverging"])) == len(PAINTS["diverging"])


def test_the_plain_text_reads_without_colours():
    node = texts_of(
        piece("The", None),
        piece(" cat", 10.0),
        piece(" sat", 99.0, is_marked=True),
        piece("\n", 60.0),
        piece(" mat", 0.0, is_context=True),
        marked="sure and wrong",
    )
    text = text_of(page_of(node))
    assert "|   The- cat sat█!↵▁\n|    mat" in text
    assert "! sure and wrong" in text
    assert "▅ 85 to 95 | █ 95 and more" in text


def test_colours_end_with_their_line_and_leave_the_marks():
    node = texts_of(piece("one\ntwo", 99.0), piece(" three", 60.0))
    for colours in ("24bit", "256"):
        written = terminal_text(node, colours)
        assert CODE.sub("", written) == terminal_text(node)
        for line in written.split("\n"):
            assert CODE.findall(line)[1::2] == ["\x1b[0m"] * (
                len(CODE.findall(line)) // 2
            )
    assert "\x1b[48;2;184;67;10;38;2;255;255;255mone\x1b[0m" in terminal_text(
        node, "24bit"
    )
    # #b8430a lies nearest to (175, 95, 0) of the cube: 16 + 36 * 3 + 6 * 1 + 0.
    assert "\x1b[48;5;130;38;5;231mone" in terminal_text(node, "256")


@pytest.mark.parametrize(
    ("environment", "is_terminal", "wish", "colours"),
    [
        ({}, True, "auto", "256"),
        ({"COLORTERM": "24bit"}, True, "auto", "24bit"),
        ({"COLORTERM": "truecolor"}, False, "auto", "none"),
        ({"COLORTERM": "truecolor", "NO_COLOR": "1"}, True, "auto", "none"),
        ({"NO_COLOR": ""}, True, "auto", "256"),
        ({"TERM": "dumb"}, True, "auto", "none"),
        ({"NO_COLOR": "1", "COLORTERM": "truecolor"}, False, "always", "24bit"),
        ({}, True, "never", "none"),
    ],
)
def test_which_colours_there_are(environment, is_terminal, wish, colours):
    found = colours_for(environment, is_terminal=is_terminal, wish=wish)
    assert found == colours
