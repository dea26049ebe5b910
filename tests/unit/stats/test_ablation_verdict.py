import pytest

from driftmap.core.errors import MeasureError
from driftmap.results.ablation import LOG_ODDS
from driftmap.stats.ablation_cautions import ablation_cautions
from driftmap.stats.ablation_verdict import WITHOUT, ablation_verdict
from made_ablations import about, around, contrast, declared, right


def test_a_fall_beyond_every_control_with_ability_kept_locates_the_behaviour():
    found = ablation_verdict("zero", [declared(), right(0.95)])
    assert found.kind == "carries"
    assert found.sentence == (
        "With `difference` at zero the model refuses 20 % of 50 requests, intact 100 "
        "%, and with each of 5 controls instead 90 % to 100 % (mean 95 %). Group minus "
        "controls: -75 points (-85 to -65), p ≤ 0.0001. What the model gets right "
        "stays: accuracy on facts 95 %, intact 100 %, controls 100 %."
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"p_value": 0.06},
        {"own": 0.95},
        {"own": 0.85, "controls": (0.8, 1.0), "difference": around(-0.2)},
        {"difference": around(-0.05)},
    ],
    ids=["p", "level", "one control as far", "interval"],
)
def test_what_chance_may_give_is_no_difference(changes):
    assert ablation_verdict("zero", [declared(**changes), right()]).kind == (
        "no difference"
    )


def test_a_fall_of_ability_is_said_beside_it():
    found = ablation_verdict("zero", [declared(), right(0.85)])
    assert found.kind == "breaks"
    assert "But what the model gets right falls too: accuracy on facts 85 %" in (
        found.sentence
    )


def test_a_collapsed_model_says_nothing_of_the_behaviour():
    found = ablation_verdict("zero", [declared(), right(), right(0.4)])
    assert found.kind == "collapsed"
    assert "But the model has collapsed:" in found.sentence


def test_a_rise_of_refusal_counts_as_well():
    rise = declared(intact=0.1, own=0.9, controls=(0.1, 0.2))
    assert ablation_verdict("restore", [rise, right()]).kind == "carries"


def test_only_the_accuracies_at_that_dose_count():
    other = right(0.2, dose=0.5)
    assert ablation_verdict("zero", [declared(), right(), other]).kind == "carries"


@pytest.mark.parametrize("by", WITHOUT)
def test_the_sentence_begins_with_what_was_done(by):
    sentence = ablation_verdict(by, [declared(), right()]).sentence
    assert sentence.startswith(WITHOUT[by].format("difference"))


def test_nothing_declared_is_refused():
    with pytest.raises(MeasureError, match="no contrast is declared"):
        ablation_verdict("zero", [contrast()])


def names(groups=None, contrasts=None, num_shared=0):
    odds = contrast(LOG_ODDS)
    found = ablation_cautions(
        groups or [about()], contrasts or [declared(), odds, right()], num_shared
    )
    return [caution.name for caution in found]


def test_nothing_odd_needs_no_caution():
    assert names() == []


def test_each_caution_has_what_triggers_it():
    odds = contrast(LOG_ODDS)
    assert names(groups=[about(num_short=9)]) == ["short-controls"]
    assert names(num_shared=3) == ["shared-samples"]
    assert names(contrasts=[declared(), right()]) == ["no-log-odds"]
    few = [declared(num_controls=4), odds, right()]
    assert names(contrasts=few) == ["few-controls"]
    broken = [declared(), odds, right(0.49)]
    assert names(contrasts=broken) == ["collapsed"]


def test_a_collapse_at_full_dose_blocks_and_names_its_size():
    (full,) = ablation_cautions([about()], [contrast(LOG_ODDS), right(0.25)], 0)
    assert full.is_blocking
    assert full.sentence == (
        "At 100 % of `difference` accuracy on facts is 25 % of the intact model's: it "
        "has collapsed, and not refusing means nothing there."
    )
    half = right(0.25, dose=0.5)
    (part,) = ablation_cautions([about()], [contrast(LOG_ODDS), half], 0)
    assert not part.is_blocking


def test_short_controls_name_how_many_lack():
    (short,) = ablation_cautions([about(num_short=90)], [contrast(LOG_ODDS)], 0)
    assert short.sentence == (
        "Controls of `difference` are 90 of 9000 weights short: too few others are as "
        "large."
    )
    assert short.value == pytest.approx(0.01)
