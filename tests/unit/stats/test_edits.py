"""Measures of an edit by hand, and laws of their intervals."""

from dataclasses import replace

import numpy as np
import pytest

from driftmap.results.edits import EditPrompt
from driftmap.stats.edits import margin, point_measures, succeeded
from made_edits import KINDS, made_report, measured


def prompts(*kinds):
    return [EditPrompt(fact=n, kind=kind, text=kind) for n, kind in kinds]


def of(report, name):
    found = report.measure(name)
    assert found is not None, name
    return found


def test_shares_and_score_by_hand():
    # Fact 0: own prompt taken, one of two paraphrases, its neighbour spared.
    # Fact 1: own prompt taken, its only paraphrase, its neighbour lost.
    asked = prompts(
        (0, "rewrite"), (0, "paraphrase"), (0, "paraphrase"), (0, "neighbour"),
        (1, "rewrite"), (1, "paraphrase"), (1, "neighbour"),
    )  # fmt: skip
    true = np.array([2.0, 2, 1, 1, 2, 2, 2])
    new = np.array([1.0, 1, 2, 2, 1, 1, 1])
    found = point_measures(asked, true, new, seed=0)
    shares = [found[n].estimate for n in ("efficacy", "paraphrase", "neighbourhood")]
    assert shares == [1.0, 0.75, 0.5]
    # 3 / (1/1 + 1/.75 + 1/.5) = 9 / 13
    assert found["score"].estimate == pytest.approx(900 / 13)
    ahead = np.exp(-1) - np.exp(-2)
    assert found["efficacy magnitude"].estimate == pytest.approx(ahead)
    assert found["paraphrase magnitude"].estimate == pytest.approx(ahead / 2)
    assert found["neighbourhood magnitude"].estimate == pytest.approx(0)
    assert found["nll true"].estimate == 2.0
    assert found["nll new"].estimate == 1.0


def test_equal_losses_are_no_success_on_either_side():
    same = np.array([1.0])
    for kind in KINDS:
        assert not succeeded(same, same, kind).any()
        assert margin(same, same, kind) == 0


def test_what_there_is_no_prompt_for_is_left_out_and_not_0():
    found = point_measures(
        prompts((0, "rewrite"), (1, "rewrite")), np.ones(2), np.zeros(2), seed=0
    )
    assert set(found) == {"efficacy", "efficacy magnitude", "nll true", "nll new"}


def test_facts_without_neighbours_do_not_count_as_lost():
    asked = prompts((0, "rewrite"), (0, "paraphrase"), (0, "neighbour"), (1, "rewrite"))
    true, new = np.array([2.0, 2, 1, 2]), np.array([1.0, 1, 2, 1])
    found = point_measures(asked, true, new, seed=0)
    assert found["neighbourhood"].estimate == 1.0
    assert found["neighbourhood"].num == 1
    assert found["score"].estimate == pytest.approx(100)


def test_a_model_beside_itself_differs_in_nothing():
    report = made_report(is_same=True)
    assert report.measures
    for one in report.measures:
        assert (one.change.estimate, one.change.low, one.change.high) == (0, 0, 0)
        assert one.before == one.after


def test_changes_are_paired_and_their_intervals_hold_them():
    report = made_report(10, took=1.0, spared=0.6)
    for one in report.measures:
        change = one.after.estimate - one.before.estimate
        assert one.change.estimate == pytest.approx(change, abs=1e-9), one.name
        assert one.change.low <= one.change.estimate + 1e-12
        assert one.change.high >= one.change.estimate - 1e-12
    spared = of(report, "neighbourhood").change
    assert spared.estimate == pytest.approx(-0.4)
    assert -0.8 < spared.low < -0.4 < spared.high < 0


def test_an_unanimous_share_still_has_an_interval():
    took = of(made_report(8), "efficacy")
    # Wilson at 0 and at 8 of 8: z^2 / (8 + z^2) = .324
    assert took.before.high == pytest.approx(0.324, abs=1e-3)
    assert took.after.low == pytest.approx(0.676, abs=1e-3)
    assert took.change.low == pytest.approx(1 - 0.324 * 2**0.5, abs=1e-3)
    assert took.change.high == 1.0


def test_more_facts_make_intervals_narrower():
    def width(num):
        change = of(made_report(num, spared=0.5), "neighbourhood").change
        return change.high - change.low

    assert width(64) < 0.5 * width(8)


def test_the_same_seed_gives_the_same_interval_and_none_moves_an_estimate():
    report = made_report(9, spared=0.5)
    assert measured(report, seed=0).measures == report.measures
    drawn = measured(report, seed=1)
    for one, other in zip(drawn.measures, report.measures, strict=True):
        assert one.change.estimate == other.change.estimate


def test_a_single_fact_has_no_interval():
    for one in made_report(1).measures:
        if one.name != "text surprise":  # of two texts
            assert one.change.low == one.change.high == one.change.estimate, one.name
            assert one.after.low == one.after.high == one.after.estimate, one.name


def test_score_is_0_where_nothing_was_taught():
    report = made_report(took=0.0, spared=1.0)
    assert of(report, "score").after.estimate == 0.0


def test_known_facts_are_drawn_by_subject():
    report = made_report(4)
    twice = replace(
        report,
        known=tuple(replace(one, subject="one") for one in report.known),
    )
    assert of(measured(twice), "unrelated p").change.num == 1
    assert of(report, "unrelated p").change.num == 4


def test_distances_are_means_over_facts():
    (shift,) = made_report(5).shift_measures
    assert shift.kl_forward.estimate == pytest.approx(1.5)
    assert (shift.js.low, shift.js.estimate, shift.js.high) == (0.5, 0.5, 0.5)


def test_the_lens_is_averaged_layer_by_layer():
    lines = made_report(4, took=0.5).lens_means
    after_new = next(one for one in lines if one.is_after and one.is_new)
    assert [one.estimate for one in after_new.layers] == pytest.approx([0.1, 0.46])
