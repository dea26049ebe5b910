"""Does each caution come when it applies, and only then, with its value?"""

import pytest

from driftmap.results.freeze_study import ACCURACY, LOG_ODDS
from driftmap.stats.freeze_cautions import freeze_cautions
from made_freezes import around, card, contrast, contrasts, findings, overlap, part


def named(**changes):
    return {c.name: c for c in freeze_cautions(findings(**changes))}


def test_a_sound_experiment_has_none():
    assert named() == {}


@pytest.mark.parametrize(
    ("changes", "name", "said", "value"),
    [
        ({"is_trial": True}, "trial", "a trial run (`--quick`)", 1.0),
        (
            {"group": card(num_mobile=6750)},
            "immobile",
            "25 % of `difference` lies where nothing is tuned",
            0.25,
        ),
        (
            {"frozen": [part(0.5), part(1.0, blocked=70_000.0)]},
            "blocked",
            "With 100 % frozen, 70,000 other weights cannot move either, 10 % of",
            0.1,
        ),
        (
            {"group": card(num_short=90)},
            "short-controls",
            "lacks 90 of 9,000 weights",
            0.01,
        ),
        ({"group": card(way="rewind")}, "rewound", "rewound, not frozen", 1.0),
        (
            {"contrasts": contrasts(right=0.3)},
            "collapsed",
            "With 50 % of the group frozen, accuracy on facts is 30 % of what it was",
            0.3 / 0.99,
        ),
        (
            {"contrasts": contrasts(own=0.01, control=0.02, free=0.0)},
            "at-an-end",
            "refuses about 1 % of the requests",
            0.01,
        ),
        (
            {"overlaps": [overlap(ceiling=None, standing=None)]},
            "no-ceiling",
            "there is no ceiling",
            0.0,
        ),
        (
            {"overlaps": [overlap(ceiling=0.3)]},
            "poor-ceiling",
            "Disjoint halves of 32 samples agree on the group to Jaccard 0.30",
            0.3,
        ),
        ({"num_shared": 7}, "shared-samples", "7 prompts that are asked", 7.0),
        (
            {"contrasts": [c for c in contrasts() if c.outcome != LOG_ODDS]},
            "no-log-odds",
            "there are no log-odds",
            0.0,
        ),
        ({"is_four_bit": True}, "four-bit", "holds the rounding as well", 1.0),
    ],
)
def test_each_caution_has_one_input_that_triggers_it(changes, name, said, value):
    found = named(**changes)
    assert set(found) == {name}
    assert said in found[name].sentence
    assert found[name].value == pytest.approx(value)
    assert found[name].is_blocking == (name == "trial")


def test_nothing_frozen_can_collapse_too_and_is_told_once():
    about = f"{ACCURACY}facts"
    made = [
        *contrasts(),
        contrast(about, own=0.9, other=0.2, against="free", share=1.0),
        contrast(about, own=0.9, other=0.2, against="free", kind="matched"),
    ]
    found = freeze_cautions(findings(contrasts=made))
    assert [c.name for c in found] == ["collapsed"]
    assert "With nothing frozen, accuracy on facts is 20 %" in found[0].sentence


def test_nothing_scored_again_has_no_ceiling_to_speak_of():
    assert named(overlaps=[], is_four_bit=True) == {}


def test_a_high_end_is_an_end_as_well():
    level = {"own": 1.0, "control": 0.99, "free": 0.98}
    assert "at-an-end" in named(contrasts=contrasts(**level))
    assert "at-an-end" not in named(contrasts=contrasts(**level | {"free": 0.97}))


def test_levels_before_tuning_are_what_collapse_is_measured_by():
    low = {f"{ACCURACY}facts": around(0.4)}
    assert named(contrasts=contrasts(right=0.3), before=low) == {}
