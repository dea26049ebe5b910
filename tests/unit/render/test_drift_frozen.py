"""Does the report of a study say what was kept from moving, and how much of it?"""

from dataclasses import replace

import pytest

from driftmap.render.drift_page import drift_page
from driftmap.render.text import text_of
from driftmap.results.freezing import Freezing
from studies import VERDICT, study_of

HALF = Freezing(
    group="difference",
    way="element",
    share=0.5,
    num_weights=200,
    num_mobile=150,
    num_blocked=0,
    num_tuned=10_000,
)


def said(**changed):
    study = replace(study_of(), freezing=replace(HALF, **changed))
    return " ".join(text_of(drift_page(study)).split())


def test_group_share_and_what_could_have_moved_are_told():
    text = said()
    assert "3. What was kept from moving" in text
    assert "Group `difference`, 50 % of it" in text
    assert "How each weight alone" in text
    assert "Weights of it 200" in text
    assert "Training would have moved 150 of them (75 %)" in text
    assert "Others that were blocked with them 0" in text
    assert "tuned matrices 150 of 10,000 (1.5 %)" in text
    assert "[Read with care: part of it would not have moved anyway] 25 % of" in text
    assert "more was blocked" not in text


def test_nothing_is_said_where_nothing_was_frozen():
    text = text_of(drift_page(study_of()))
    assert "kept from moving" not in text.replace("tuned or kept from moving", "")


@pytest.mark.parametrize(
    ("way", "words"),
    [
        ("element", "all others were free to move"),
        ("rows", "and so is every other weight in their rows"),
        ("columns", "and so is every other weight in their columns"),
    ],
)
def test_each_way_says_what_it_leaves(way, words):
    assert words in said(way=way)
    assert "rewound" not in said(way=way)


def test_rewinding_is_never_called_freezing():
    text = said(way="rewind", num_mobile=200)
    assert "3. What was put back after training" in text
    assert "put back after free training: rewound, not frozen" in text
    assert "not what training does without them" in text


def test_blocked_weights_that_outnumber_the_frozen_are_a_caution():
    text = said(way="rows", num_mobile=200, num_blocked=5300)
    assert "more was blocked than was frozen] For 200 frozen weights 5,300 o" in text
    assert "tuned matrices 5,500 of 10,000 (55 %)" in text
    assert "would not have moved anyway" not in text


def test_group_where_nothing_is_tuned_is_said_to_be_no_freezing():
    text = said(num_mobile=0)
    assert "[Read with care: nothing was frozen that could move] None of these" in text


def test_declared_group_that_could_not_move_has_no_ratio_and_says_so():
    study = replace(study_of(verdict=replace(VERDICT, kind="inconclusive")))
    others = tuple(r for r in study.statistics.ratios if r.group != "difference")
    still = replace(study.statistics, ratios=others)
    assert still.primary is None
    text = " ".join(text_of(drift_page(replace(study, statistics=still))).split())
    assert "(`difference`) were kept from moving, so nothing can be said of" in text
    assert "its control none: its weights were kept from moving" in text
    assert "Would chance give this ratio?" not in text
    assert "Only one test was declared before training: `difference`, whole" in text
