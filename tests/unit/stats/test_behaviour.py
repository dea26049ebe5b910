import numpy as np
import pytest

from driftmap.core.errors import MeasureError
from driftmap.stats.behaviour import behaviour_change
from driftmap.stats.intervals import paired_change, wilson_interval


def test_it_holds_both_rates_and_their_paired_difference():
    rng = np.random.default_rng(0)
    before, after = rng.random(50) < 0.9, rng.random((3, 50)) < 0.4
    found = behaviour_change("refusal rate", before, after, seed=4)
    assert found.outcome == "refusal rate"
    assert found.before == wilson_interval(float(before.sum()), 50)
    assert found.after.estimate == pytest.approx(after.mean())
    assert found.after.num == 50
    assert found.change == paired_change(before, after, 4)
    assert found.has_changed


def test_nothing_changed_when_every_answer_is_the_same():
    before = np.array([True, False, True])
    found = behaviour_change("accuracy", before, np.stack([before] * 3), seed=0)
    assert not found.has_changed


def test_no_prompt_is_refused():
    with pytest.raises(MeasureError, match="ask the same prompts each time"):
        behaviour_change("accuracy", np.ones(0, bool), np.ones((1, 0), bool), seed=0)
