"""Does the verdict follow the declared rule, and does it carry its numbers?"""

import pytest

from driftmap.results.freeze_study import REFUSAL
from driftmap.stats.freeze_verdict import freeze_verdict
from made_freezes import LOST, around, contrasts


def verdict(lost=LOST, margin=0.1, *, is_trial=False, **levels):
    return freeze_verdict(contrasts(**levels), lost, margin, is_trial=is_trial)


@pytest.mark.parametrize(
    ("levels", "kind"),
    [
        ({}, "helps"),
        ({"right": 0.85}, "costs"),
        ({"right": 0.89}, "helps"),
        ({"own": 0.1, "control": 0.3, "free": 0.3}, "harms"),
        ({"own": 0.32, "control": 0.3}, "alike"),
        ({"own": 0.35, "control": 0.3, "half": 0.2}, "not found"),
        ({"seeds": 2}, "few seeds"),
        ({"seeds": 1}, "few seeds"),
        ({"lost": around(-0.05, 0.1)}, "nothing lost"),
        ({"lost": around(0.1, 0.05)}, "nothing lost"),
        ({"is_trial": True}, "trial"),
    ],
)
def test_every_kind_has_its_rule(levels, kind):
    assert verdict(**levels).kind == kind


def test_more_than_the_control_but_less_than_nothing_frozen_is_no_help():
    """The control itself did harm: freezing the group did not help by that."""
    assert verdict(own=0.5, control=0.2, free=0.55).kind == "not found"


def test_less_than_the_control_but_more_than_nothing_frozen_is_no_harm():
    assert verdict(own=0.4, control=0.6, free=0.3).kind == "not found"


def test_a_wide_p_value_is_no_difference_however_the_intervals_lie():
    made = list(contrasts())
    made[0] = made[0].__class__(
        **{name: getattr(made[0], name) for name in made[0].__slots__}
        | {"p_value": 0.06}
    )
    assert freeze_verdict(made, LOST, 0.1).kind == "not found"


def test_the_sentence_holds_levels_differences_intervals_and_p():
    said = verdict().sentence
    assert said == (
        "Freezing 50 % of the group helps. After tuning the model refuses 60 % of 50 "
        "requests with them frozen, 30 % with as many matched weights frozen, and 25 % "
        "with nothing frozen. Group minus control: +30 points (+25 to +35 over 3 "
        "seeds, +25 to +35 over prompts, p 0.001); group minus nothing: +35 points "
        "(+30 to +40 over 3 seeds, +30 to +40 over prompts, p 0.001). What the model "
        "gets right: accuracy on facts 98 %, with nothing frozen 98 %."
    )


def test_log_odds_stand_beside_what_tuning_took():
    found = freeze_verdict(contrasts(), LOST, 0.1, lost_odds=around(-7.0, 0.5))
    assert (
        "In log-odds the difference is +1.50 nats (+1.45 to +1.55 over 3 seeds), where "
        "tuning alone makes -7.00. What the model gets right"
    ) in found.sentence
    one = freeze_verdict(contrasts(seeds=1), LOST, 0.1, lost_odds=around(-7.0, 0.5))
    assert "+1.50 nats (+1.45 to +1.55 over prompts), where" in one.sentence


def test_where_none_is_found_it_says_how_many_would_tell():
    found = verdict(own=0.35, control=0.3, half=0.2)
    assert found.seeds_needed == 7  # spread .1: 2.447 * .1 / sqrt(7) = .0925
    assert found.sentence.endswith(
        "To tell 10 points from none takes about 7 training seeds and 200 requests."
    )
    assert verdict().seeds_needed is None
    assert "takes about" not in verdict().sentence


def test_one_seed_says_that_several_are_needed():
    found = verdict(seeds=1)
    assert found.seeds_needed is None
    assert "takes about several training seeds" in found.sentence
    assert "over 1 seeds" not in found.sentence


def test_the_declared_contrast_alone_decides():
    """Log-odds may differ as they like."""
    made = contrasts(own=0.32, control=0.3)
    assert made[3].outcome != REFUSAL
    assert made[3].differs
    assert freeze_verdict(made, LOST, 0.1).kind == "alike"
