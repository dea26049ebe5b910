"""Does the page say what was compared, and warn of what misleads?"""

import numpy as np

from driftmap.render.html import html_of
from driftmap.render.page import figures_of
from driftmap.render.profiles_page import profiles_page
from driftmap.render.text import text_of
from made_comparison import both_ways, compared, kind_of, of_facts, report
from made_profiles import crossed


def test_the_page_answers_with_numbers_and_warns_of_raw_cosines():
    kinds = [kind_of(of_facts(3.0), own=0.97), kind_of(of_facts(0.0), kind="mlp")]
    page = profiles_page(report(*kinds, show=10))
    text = text_of(page)
    first = kinds[0].contrasts[0]
    assert f"AUC {first.auc.estimate:.2f} ({first.auc.low:.2f} to" in text.replace(
        "\n", " "
    )
    assert "MLP output, window of 3" in text
    assert "[A raw cosine misleads]" in text
    assert "The first 10 prompts." in text.replace("\n", " ")
    assert "a fact and its reversal" in text
    assert "likeness of a prompt to itself  0.970 over 1 other seed" in text
    names = [figure.name for figure in figures_of(page)]
    assert names == ["areas", "profiles", "relations", "matrix-hidden", "matrix-mlp"]
    matrix = figures_of(page)[3].chart
    assert np.isnan(np.diag(matrix.values)).all()
    assert len(matrix.x_labels) == 10
    assert "<script" in html_of(page)


def test_a_page_without_pairs_says_what_was_not_asked():
    alone = of_facts(1.0, subjects=1, relations=1, wordings=2)
    text = text_of(profiles_page(report(kind_of(alone))))
    assert text.count("[Not asked: ") == 3
    assert "Which pairs are more alike" not in text


def test_reversed_facts_have_their_row():
    text = text_of(profiles_page(report(kind_of(both_ways(4.0)))))
    assert "reversed / unrelated, reversed" in text


def test_whole_grids_have_no_lines_and_no_published_measures():
    facts, grids = crossed(2.0, subjects=4)
    page = profiles_page(report(kind_of(compared(facts, grids, row="all roles"))))
    assert [f.name for f in figures_of(page)] == ["areas", "matrix-hidden"]
    assert "raw outcomes" in text_of(page)
    assert "Manhattan" not in text_of(page)
