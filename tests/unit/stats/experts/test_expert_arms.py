"""Arms are compared on the same prompts, and chance covers drawn models."""

import numpy as np
import pytest

from driftmap.core.errors import MeasureError
from driftmap.results.expert_readings import ArmValues, PromptValues
from driftmap.stats.experts.arms import compare_arms
from driftmap.stats.experts.paired import Chance

IDS = tuple(f"p{number}" for number in range(24))
CHANCE = Chance(seed=0, num_resamples=400)


def arm(name, kind, *models, method="", ids=IDS):
    values = PromptValues(ids=ids, models=tuple(tuple(m) for m in models))
    return ArmValues(name=name, kind=kind, method=method, outcomes={"refused": values})


def rates(*shares):
    return [[float(n < share * len(IDS)) for n in range(len(IDS))] for share in shares]


def test_each_arm_is_compared_with_the_untouched_model():
    base = arm("base", "base", *rates(0))
    tuned = arm("gradient", "method", *rates(0.75), method="gradient")
    (first, second), contrasts = compare_arms([base, tuned], CHANCE)
    assert contrasts == ()
    assert first.readings["refused"].change is None
    reading = second.readings["refused"]
    assert reading.value.estimate == reading.change.estimate == 0.75
    assert 0.5 < reading.change.low < 0.75 < reading.change.high < 1
    assert reading.p_value < 0.001


def test_a_chosen_arm_is_compared_with_all_random_ones_at_once():
    base = arm("base", "base", *rates(0))
    tuned = arm("gradient", "method", *rates(1), method="gradient")
    drawn = arm("random", "random", *rates(0, 0.5), method="gradient")
    arms, (contrast,) = compare_arms([base, tuned, drawn], CHANCE)
    assert (contrast.left, contrast.right) == ("gradient", "random")
    assert contrast.difference.estimate == pytest.approx(0.75)
    assert contrast.difference.low < 0.55, "which model was drawn is chance as well"
    assert arms[2].num_models == 2
    assert arms[2].readings["refused"].value.low < 0.1


def test_two_chosen_arms_are_compared_once():
    arms = [
        arm("base", "base", *rates(0)),
        arm("gradient", "method", *rates(0.5), method="gradient"),
        arm("routing", "method", *rates(0.5), method="routing"),
    ]
    _, contrasts = compare_arms(arms, CHANCE)
    assert [(one.left, one.right) for one in contrasts] == [("gradient", "routing")]
    assert contrasts[0].difference.estimate == 0
    assert contrasts[0].p_value == 1


def test_prompts_of_one_goal_count_once():
    base = arm("base", "base", *rates(0))
    tuned = arm("gradient", "method", *rates(0.5))
    one_goal = Chance(seed=0, goal_of=dict.fromkeys(IDS, "g"), num_resamples=400)
    (_, found), _ = compare_arms([base, tuned], one_goal)
    assert found.readings["refused"].value.num == 1
    assert found.readings["refused"].p_value == 1


def test_other_prompts_are_refused():
    base = arm("base", "base", *rates(0))
    other = arm("x", "method", *rates(1), ids=tuple(reversed(IDS)))
    with pytest.raises(MeasureError, match="x was asked other prompts than base"):
        compare_arms([base, other], CHANCE)


def test_numbers_are_one_row_a_model():
    found = PromptValues(ids=("a", "b"), models=((1.0, 2.0),)).matrix
    np.testing.assert_array_equal(found, [[1.0, 2.0]])
