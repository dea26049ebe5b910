import itertools

import numpy as np
import pytest

from driftmap.core.errors import MeasureError
from driftmap.stats.contrasts import (
    adjusted,
    mean_interval,
    paired_difference,
    sign_flip_p,
)


def readings(seed=0, prompts=40, controls=5, shift=0.0):
    draw = np.random.default_rng(seed)
    own = draw.standard_normal(prompts) + shift
    return own, draw.standard_normal((controls, prompts))


def test_the_p_value_is_that_of_all_signs():
    own = np.array([3.0, -1.0, 2.0, 4.0, 0.5, 2.5, 1.0, 3.5])
    controls = np.zeros((2, 8))
    apart = own - controls.mean(0)
    signs = np.array(list(itertools.product([-1, 1], repeat=8)))
    exact = (np.abs(signs @ apart) >= abs(apart.sum())).mean()
    assert sign_flip_p(own, controls, 0) == pytest.approx(exact, abs=0.005)


def test_what_does_not_differ_is_found_to_differ_one_time_in_twenty():
    p_values = [sign_flip_p(*readings(seed), seed) for seed in range(60)]
    assert sum(p <= 0.05 for p in p_values) <= 8
    assert 0.3 < np.mean(p_values) < 0.7


def test_an_interval_covers_prompts_and_controls():
    own, controls = readings(shift=2.0)
    found = paired_difference(own, controls, 0)
    assert found.estimate == pytest.approx(own.mean() - controls.mean())
    assert found.low < found.estimate < found.high
    assert found.low > 0
    # Controls that lie apart from each other widen it; the estimate stays.
    apart = controls + np.linspace(-2, 2, 5)[:, None]
    wider = paired_difference(own, apart, 0)
    assert wider.estimate == pytest.approx(found.estimate)
    assert wider.high - wider.low > 1.5 * (found.high - found.low)


def test_an_interval_covers_the_truth_as_often_as_it_says():
    covered = 0
    for seed in range(40):
        own, controls = readings(seed, shift=1.0)
        found = paired_difference(own, controls, seed)
        covered += found.low <= 1.0 <= found.high
    assert covered >= 34


def test_pairing_takes_the_difficulty_of_prompts_away():
    difficulty = 10 * np.random.default_rng(1).standard_normal(40)
    own, controls = readings(shift=1.0)
    plain = paired_difference(own, controls, 0)
    harder = paired_difference(own + difficulty, controls + difficulty, 0)
    assert harder.low == pytest.approx(plain.low)
    assert harder.high == pytest.approx(plain.high)


def test_a_mean_has_the_interval_of_its_prompts():
    own, _ = readings(shift=3.0)
    found = mean_interval(own, 0)
    half = 1.96 * own.std() / 40**0.5
    assert found.estimate == pytest.approx(own.mean())
    assert found.high - found.low == pytest.approx(2 * half, rel=0.1)


def test_the_same_seed_gives_the_same_numbers():
    own, controls = readings()
    assert paired_difference(own, controls, 1) == paired_difference(own, controls, 1)
    assert sign_flip_p(own, controls, 1) == sign_flip_p(own, controls, 1)


def test_no_test_needs_no_adjusting():
    assert adjusted([]) == []


@pytest.mark.parametrize("shape", [(0, 3), (2, 4), (2, 0)])
def test_readings_that_do_not_pair_are_refused(shape):
    own = np.zeros(3 if shape != (2, 0) else 0)
    for compare in (paired_difference, sign_flip_p):
        with pytest.raises(MeasureError, match="ask the same prompts each time"):
            compare(own, np.zeros(shape), 0)
