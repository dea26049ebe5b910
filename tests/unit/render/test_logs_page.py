import re

import pytest

from driftmap.render.html import html_of
from driftmap.render.logs_page import logs_page
from driftmap.render.page import figures_of
from driftmap.render.text import text_of
from driftmap.results.table import Table
from made_logs import CAUTIONS, comparison, logs_study


def flat(study):
    return " ".join(text_of(logs_page(study)).split())


@pytest.fixture(scope="module")
def text():
    return flat(logs_study())


def test_sections_come_in_the_order_of_a_first_reading():
    assert [s.title for s in logs_page(logs_study()).sections] == [
        "What these logs can say",
        "Words on this page",
        "Absolute change |dW| (weight units)",
        "Relative change |dW| / |W| (ratio)",
        "Cosine similarity of the group's part of a row (-1 to 1)",
        "L2 distance of the group's part of a row (weight units)",
        "Against the published comparisons",
        "How the published source reads this",
        "How it was read",
    ]


def test_what_cannot_be_known_stands_before_any_number(text):
    assert text.index("No test, no p-value, no verdict") < text.index("Mean of each")
    assert "What would: the adapters of the checkpoints." in text


def test_every_caution_and_gap_is_on_the_page(text):
    for caution in CAUTIONS:
        assert text.count(caution.sentence) == 1
    assert "`a` lacks `b`." in text


def test_every_metric_has_curves_boxes_and_effects():
    names = [figure.name for figure in figures_of(logs_page(logs_study()))]
    assert len(names) == len(set(names)) == 4 * 5
    kinds = ["mean", "spread", "boxes", "d_utility", "d_random"]
    assert names[:5] == [f"1_absolute_change_{kind}" for kind in kinds]


def test_every_step_and_pair_is_in_the_folded_table(text):
    for step in (500, 1000, 1500):
        row = rf"\b{step} `safety_set_diff` `utility` -0\.1\d -[\d.e-]+ negligible"
        assert len(re.findall(row, text)) == 4


def test_the_readings_of_the_source_are_no_verdict(text):
    assert "For comparison only, and no verdict" in text
    assert "No weight of these groups moved by more than" in text


def test_without_a_safety_group_the_source_is_not_mentioned():
    assert "published source" not in flat(logs_study(groups=("utility", "random")))


def test_one_step_has_no_course_of_effects():
    page = logs_page(logs_study(steps=(7,), metrics=("absolute_change",)))
    assert [f.name.rpartition("_")[2] for f in figures_of(page)] == [
        "mean", "spread", "boxes",
    ]  # fmt: skip
    assert "1 training step (7), 1 metric and 4 groups" in page.lead


def test_checks_name_their_step_and_both_values():
    row = {"metric": "absolute_change", "group": "mine", "baseline": "utility"}
    other = comparison((2.0, 1.0), (1.0, 1.0), 0.5)
    study = logs_study(comparisons=Table.from_rows([row | other]))
    text = flat(study)
    assert "[It disagrees]" in text
    assert (
        "`statistical_results.json` repeats the means and deviations of no step."
        in text
    )
    assert "`absolute_change` `mine` `utility` none 0.5 1 no" in text


def test_the_page_is_the_same_bytes_each_time():
    assert html_of(logs_page(logs_study())) == html_of(logs_page(logs_study()))
