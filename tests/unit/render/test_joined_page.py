"""Several reports on one page: what each found, and all of each below."""

import pytest

from driftmap.render.charts import Lines
from driftmap.render.html import html_of
from driftmap.render.joined_page import Part, joined_page, verdict_of
from driftmap.render.page import (
    Callout,
    Figure,
    Folded,
    Page,
    Paragraph,
    Section,
    figures_of,
)
from driftmap.render.text import text_of


def figure():
    lines = Lines(x_title="step", y_title="loss", lines=())
    return Figure(name="curve", title="A curve", reading="Read it.", chart=lines)


def page(title, says):
    callout = Callout(kind="verdict", title=title, texts=[says])
    more = Section(
        anchor="more",
        title="More",
        nodes=[figure(), Folded(summary="Deep", nodes=[figure()])],
    )
    first = Section(anchor="answer", title="The answer", nodes=[callout, figure()])
    return Page(title="A <question>", lead="Lead.", sections=[first, more], footer="")


def part(name, one):
    return Part(name=name, command="driftmap x", report=f"{name}/r.html", page=one)


@pytest.mark.parametrize(
    ("title", "says", "answer"),
    [
        ("Verdict: B", "It is so.", "Verdict: B. It is so."),
        ("What is it?", "It is so.", "It is so."),
        ("It is so.", "It is so. n 3.", "It is so. n 3."),
    ],
)
def test_the_answer_of_each_stands_first_and_once(title, says, answer):
    joined = joined_page("All", "About.", [part("one", page(title, says))], (), "")
    assert joined.sections[0].nodes[0].pairs[0][1] == answer


def test_a_page_without_a_verdict_is_told_by_its_lead():
    bare = Page(
        title="T",
        lead="Its lead.",
        sections=[Section(anchor="a", title="A", nodes=[Paragraph(text="x")])],
        footer="",
    )
    assert verdict_of(bare) is None
    joined = joined_page("All", "About.", [part("one", bare)], (), "")
    assert joined.sections[0].nodes[0].pairs[0][1] == "Its lead."


def test_figures_of_equal_names_stay_apart():
    parts = [part(name, page("T", "x")) for name in ("one", "two")]
    joined = joined_page("All", "About.", parts, (), "")
    assert [f.name for f in figures_of(joined)] == ["one-curve"] * 3 + ["two-curve"] * 3


def test_all_of_each_is_there_and_escaped():
    joined = joined_page(
        "All", "About.", [part("one", page("T", "x"))], ["two"], "A paper"
    )
    text = text_of(joined)
    for said in ("More", "Deep", "There is no report yet of: two.", "A paper"):
        assert said in text
    assert "A &lt;question&gt;" in html_of(joined)
