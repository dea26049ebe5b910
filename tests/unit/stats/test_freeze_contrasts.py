"""Is a difference between training runs told over seeds and over prompts?"""

import math

import numpy as np
import pytest
from scipy.stats import ttest_1samp

from driftmap.core.errors import MeasureError
from driftmap.results.statistics import Interval
from driftmap.stats.freeze_contrasts import (
    freeze_contrast,
    prompts_needed,
    seeds_needed,
)

KINDS = ("group", "matched")


def test_each_seed_is_one_number_and_the_interval_is_students():
    own = np.array([[1.0, 1, 0, 0], [1, 1, 1, 0], [1, 1, 1, 1]])
    other = np.array([[1.0, 0, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]])
    found = freeze_contrast("x", 0.5, KINDS, own, other, seed=0)
    assert found.by_seed == (0.25, 0.5, 1.0)
    mean, spread = 7 / 12, np.std([0.25, 0.5, 1.0], ddof=1)
    half = 4.302653 * spread / math.sqrt(3)
    assert found.over_seeds.estimate == pytest.approx(mean)
    assert found.over_seeds.high - mean == pytest.approx(half, rel=1e-6)
    assert found.over_prompts.estimate == pytest.approx(mean)
    assert found.own.estimate == 0.75
    assert found.own.num == 4
    assert not found.differs


def test_the_p_value_is_the_larger_of_the_two():
    rng = np.random.default_rng(0)
    own = rng.normal(size=(4, 60)) + np.array([0.0, 1.0, 2.0, 3.0])[:, None]
    other = np.zeros((4, 60))
    found = freeze_contrast("x", 0.5, KINDS, own, other, seed=0)
    over_seeds = ttest_1samp(own.mean(axis=1), 0).pvalue
    assert over_seeds > 0.05
    assert found.p_value == pytest.approx(over_seeds)
    assert found.over_prompts.low > 0
    assert not found.differs


def test_a_difference_of_few_prompts_is_none_however_alike_the_seeds_are():
    """The same two of twenty prompts in every seed: seeds have no spread at all."""
    own, other = np.zeros((3, 20)), np.zeros((3, 20))
    own[:, :2] = 1.0
    found = freeze_contrast("x", 0.5, KINDS, own, other, seed=0)
    assert found.over_seeds.low == pytest.approx(found.over_seeds.high)
    assert found.over_seeds.low == pytest.approx(0.1)
    assert found.over_prompts.low == 0
    assert found.p_value == pytest.approx(0.5, abs=0.02)
    assert not found.differs


def test_the_other_way_round_changes_the_sign_alone():
    rng = np.random.default_rng(1)
    own, other = rng.random((3, 30)), rng.random((3, 30))
    one = freeze_contrast("x", 0.5, KINDS, own, other, seed=0)
    two = freeze_contrast("x", 0.5, KINDS, other, own, seed=0)
    assert one.by_seed == pytest.approx([-value for value in two.by_seed])
    assert one.over_prompts.low == pytest.approx(-two.over_prompts.high, abs=0.02)
    assert one.p_value == pytest.approx(two.p_value)
    assert one.within == pytest.approx(two.within, abs=0.02)


def test_within_is_where_both_90_percent_intervals_end():
    own = np.tile(np.array([[0.2], [0.3], [0.4]]), (1, 10))
    found = freeze_contrast("x", 0.5, KINDS, own, np.zeros((3, 10)), seed=0)
    half = 2.919986 * 0.1 / math.sqrt(3)
    assert found.within == pytest.approx(0.3 + half, rel=1e-6)


def test_one_seed_has_no_interval_and_no_p():
    found = freeze_contrast("x", 1.0, KINDS, np.ones((1, 9)), np.zeros((1, 9)), 0)
    assert (found.over_seeds, found.within, found.p_value) == (None, None, None)
    assert not found.differs


@pytest.mark.parametrize("other", [np.zeros((2, 4)), np.zeros((3, 5))])
def test_what_cannot_be_paired_is_refused(other):
    with pytest.raises(MeasureError, match=r"x: readings of \(3, 4\) and .* paired"):
        freeze_contrast("x", 1.0, KINDS, np.zeros((3, 4)), other, 0)


def test_seeds_needed_shrink_the_interval_to_the_margin():
    by_seed = np.array([-0.2, 0.0, 0.2])
    num = seeds_needed(by_seed, 0.1)
    assert num == 18  # 2.110 * .2 / sqrt(18) = .0995; 2.120 * .2 / sqrt(17) = .1028
    assert seeds_needed(np.zeros(3), 0.1) == 3
    assert seeds_needed(np.array([0.5]), 0.1) is None
    assert seeds_needed(np.array([-9.0, 9.0]), 0.01) is None


def test_prompts_needed_grow_with_the_square_of_the_width():
    wide = Interval(estimate=0.0, low=-0.3, high=0.3, level=0.95, num=40)
    assert prompts_needed(wide, 0.1) == 360
