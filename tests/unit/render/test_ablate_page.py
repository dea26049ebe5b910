import pytest

from driftmap.render.ablate_answer import TITLES
from driftmap.render.ablate_page import ablate_page
from driftmap.render.ablate_words import DONE, ZEROS
from driftmap.render.charts import Lines
from driftmap.render.html import html_of
from driftmap.render.page import figures_of
from driftmap.render.text import text_of
from driftmap.results.table import Table
from made_ablations import about, study


def text(**changes):
    return " ".join(text_of(ablate_page(study(**changes))).split())


def test_the_answer_comes_first_with_its_numbers_and_what_it_means():
    said = text()
    assert said.index("1. The answer") < said.index("2. What `difference` does")
    assert "[The behaviour depends on these weights] With `difference` at zero" in said
    assert "causal evidence that the behaviour runs through them" in said
    assert ZEROS in said


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({}, "carries"),
        ({"own": 0.94}, "no difference"),
        ({"accuracy": 0.8}, "breaks"),
        ({"accuracy": 0.1}, "collapsed"),
    ],
)
def test_every_verdict_has_its_words(changes, kind):
    assert f"[{TITLES[kind]}]" in text(**changes)


@pytest.mark.parametrize("by", DONE)
def test_every_way_has_its_words(by):
    named = "`difference` (9,000 weights, 1.3 %) of `tiny`"
    assert f"{named}, {DONE[by]}, a growing share" in text(by=by)


def test_every_number_has_its_count_its_interval_and_its_null():
    said = text()
    assert "With 100 % of `difference` taken. Brackets hold 95 % intervals" in said
    row = said[said.index("refusal rate (`declared`) 50") :]
    assert row.startswith(
        "refusal rate (`declared`) 50 100 % (90 to 110) 20 % (10 to 30) "
        "95 % (90 to 100) -75 (-85 to -65) ≤ 0.0001 refusal log-odds"
    )
    assert "refusal log-odds 50 6.00 (5.90 to 6.10) -1.00" in said
    by_dose = said[said.index("Every outcome at every dose") :]
    assert (
        "refusal rate 0.5 50 60 % (50 to 70) 95 % (90 to 100) "
        "-35 (-45 to -25) 2.00e-4" in by_dose
    )


def test_curves_show_the_group_beside_the_band_of_its_controls():
    figures = {f.title: f.chart for f in figures_of(ablate_page(study()))}
    chart = figures["Refusal rate by dose"]
    assert isinstance(chart, Lines)
    own, controls = chart.lines
    assert (own.name, list(own.x), list(own.y)) == (
        "difference",
        [0.0, 0.5, 1.0],
        [1.0, 0.6, 0.2],
    )
    assert list(own.low) == pytest.approx([0.9, 0.5, 0.1])
    assert list(controls.y) == pytest.approx([1.0, 0.95, 0.85])
    assert list(controls.low) == pytest.approx([1.0, 0.9, 0.8])
    assert list(controls.high) == pytest.approx([1.0, 1.0, 0.9])
    assert chart.y_ends == (0.0, 1.0)


def test_what_was_taken_and_its_controls_are_named():
    said = text(groups=(about(note="Doses count the others."),))
    assert "`difference` 9,000 weights 1.3 % top 2 % by behaviour score. Doses" in said
    assert "as many others" in said


def test_cautions_stand_with_the_answer():
    said = text(num_shared=7)
    assert "[Samples used twice] 7 prompts were scored and asked as well" in said


def test_what_directions_hold_is_said_by_part():
    rows = [
        {
            "path": f"m.{layer}.{part}",
            "layer": layer,
            "part": part,
            "most": 16,
            "rank": rank,
            "taken": 2,
            "energy_share": energy,
            "num_tokens": 1234,
        }
        for layer, part, rank, energy in [
            (0, "q", 16, 0.25), (0, "down", 16, 0.9), (1, "q", 12, 0.75),
        ]
    ]  # fmt: skip
    said = text(directions=Table.from_rows(rows))
    assert "What the directions hold" in said
    assert "1,234 tokens tell `told apart` of them apart" in said
    assert "`q` 2 2 16 12 to 16 50 % (25 % to 75 %)" in said
    assert "`down` 1 2 16 16 90 %" in said
    assert "What the directions hold" not in text()


def test_answers_and_requests_cannot_break_the_page():
    page = html_of(ablate_page(study()))
    assert "Open &lt;the&gt; door" in page
    assert "Sure &lt;b&gt;" in page
    assert "Sure <b>" not in page
