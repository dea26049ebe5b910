"""Does the page on freezing say what was found, each number with its null?"""

import pytest

from driftmap.render.charts import Cells, Lines
from driftmap.render.freeze_answer import CAUTION_TITLES, MEANINGS, TITLES
from driftmap.render.freeze_page import freeze_page
from driftmap.render.freeze_words import DONE
from driftmap.render.html import html_of
from driftmap.render.page import figures_of
from driftmap.render.text import text_of
from driftmap.stats.freeze_cautions import freeze_cautions
from made_freezes import around, card, findings, overlap, part, study


def text(**changes):
    return " ".join(text_of(freeze_page(study(**changes))).split())


def figures(**changes):
    return {f.name: f.chart for f in figures_of(freeze_page(study(**changes)))}


def test_the_answer_comes_first_with_its_numbers_and_what_it_means():
    said = text()
    assert said.index("1. The answer") < said.index("2. What is left, share by share")
    assert "[Freezing these weights helps] Freezing 50 % of the group helps." in said
    assert MEANINGS["helps"] in said
    assert "refused before tuning 90 % (85 to 95)" in said
    assert "change by tuning -60 points (-70 to -50)" in said
    assert "change of its log-odds by tuning -7.00 nats (-7.50 to -6.50)" in said


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({}, "helps"),
        ({"right": 0.8}, "costs"),
        ({"own": 0.1, "control": 0.3, "free": 0.3}, "harms"),
        ({"own": 0.32}, "alike"),
        ({"own": 0.35, "half": 0.2}, "not found"),
        ({"lost": around(0.0)}, "nothing lost"),
        ({"seeds": 1}, "few seeds"),
        ({"is_trial": True}, "trial"),
    ],
)
def test_every_verdict_has_its_words(changes, kind):
    said = text(**changes)
    assert f"[{TITLES[kind]}]" in said
    assert MEANINGS[kind] in said


@pytest.mark.parametrize("way", DONE)
def test_every_way_of_freezing_has_its_words(way):
    said = text(found={"group": card(way=way)})
    assert f"`difference` of `tiny`, {DONE[way]}, a growing share at a time" in said


def test_every_contrast_has_its_count_intervals_p_and_null():
    said = text()
    row = said[said.index("refusal rate (`declared`)") :]
    assert row.startswith(
        "refusal rate (`declared`) group / control 50 +30 (+25 to +35) +25 to +35 "
        "0.001 – 60 % (55 to 65) 30 % (25 to 35)"
    )
    assert (
        "refusal log-odds 50 % group / control 50 +1.50 (+1.45 to +1.55) +1.45 to "
        "+1.55 0.001 0.01 2.00 (1.95 to 2.05) 0.50 (0.45 to 0.55)"
    ) in said


def test_one_seed_leaves_no_interval_over_seeds():
    said = text(seeds=1)
    row = said[said.index("refusal rate (`declared`)") :]
    assert "50 +30 (+25 to +35) – – – 60 % (55 to 65) 30 %" in row


def test_curves_show_the_group_beside_its_control_and_the_model_before():
    chart = figures()["frozen_refusal_rate"]
    assert isinstance(chart, Lines)
    group, control, before = chart.lines
    assert (group.name, list(group.x)) == ("difference", [0.0, 0.5, 1.0])
    assert list(group.y) == [0.25, 0.6, 0.8]
    assert list(group.low) == pytest.approx([0.15, 0.5, 0.7])
    assert [list(t) for t in group.threads] == [
        pytest.approx([0.23, 0.58, 0.78]),
        pytest.approx([0.27, 0.62, 0.82]),
    ]
    assert (control.name, list(control.y)) == ("control", [0.25, 0.3, 0.35])
    assert (list(before.x), list(before.y)) == ([0.0, 1.0], [0.9, 0.9])
    assert chart.y_ends == (0.0, 1.0)
    assert figures()["frozen_refusal_log_odds"].y_ends is None


def test_the_overlap_stands_between_floor_and_ceiling():
    said = text()
    assert (
        "With nothing frozen, 82 % of the group is chosen again by the same samples "
        "after tuning (Jaccard 0.70 (0.68 to 0.72); 1 would be no change). That shares "
        "the noise of the samples, so it cannot be read against the ceiling. Across "
        "disjoint halves of the samples the old and the new group share 0.45 (0.43 to "
        "0.47), where the old groups of these halves share 0.60 (the ceiling, 32 "
        "samples a half) and chance gives 0.010: 75 % of the way from chance to no "
        "change at all."
    ) in said
    assert (
        "nothing frozen 0 % 3 82 % 0.70 (0.68 to 0.72) 0.010 0.45 (0.43 to 0.47) 0.60 "
        "0.75"
    ) in said


def test_frozen_weights_are_told_from_those_that_could_move():
    found = {"overlaps": [overlap(), overlap("group", 1.0), overlap("matched", 1.0)]}
    said = text(found=found)
    kept = said[said.index("Are frozen weights still in the group") :]
    assert "nothing frozen 0 % – 82 % –" in kept
    assert "group frozen 100 % 90 % – 85 %" in kept


def test_the_map_is_the_overlap_over_its_ceiling():
    chart = figures()["overlap_by_place"]
    assert isinstance(chart, Cells)
    assert (list(chart.y_labels), list(chart.x_labels)) == (["0", "1"], ["q"])
    assert [list(row) for row in chart.ratios] == [
        [pytest.approx(1.0)],
        [pytest.approx(0.5)],
    ]


def test_an_unknown_ceiling_is_said():
    found = {"overlaps": [overlap(across=None, ceiling=None, standing=None)]}
    said = text(found=found)
    assert "1 would be no change). Old and new group over all matrices" in said
    assert "[No ceiling]" in said


def test_nothing_scored_again_is_said():
    said = text(found={"overlaps": []})
    assert "No tuned model was scored again (`--rescore none`)." in said


def test_what_was_frozen_and_what_was_blocked_with_it_is_counted():
    frozen = [part(0.5, blocked=3500.0), part(1.0, blocked=7000.0)]
    said = text(found={"frozen": frozen, "group": card(num_mobile=6750)})
    assert "75 % of them lie in tuned matrices" in said
    assert "group frozen 50 % 4,500 4,500 3,500 0.5 %" in said
    assert "[Weights that would not have moved anyway] 25 % of `difference`" in said


def test_every_caution_has_a_title():
    every = findings(
        is_trial=True, is_four_bit=True, num_shared=3, contrasts=findings().contrasts
    )
    assert {c.name for c in freeze_cautions(every)} <= set(CAUTION_TITLES)


def test_what_models_say_is_shown_as_text():
    page = html_of(freeze_page(study()))
    assert "Sure &lt;b&gt;" in page
    assert "Sure <b>" not in page
