from itertools import combinations

import numpy as np
import pytest

from driftmap.stats.matched import (
    bin_moments,
    matched_sums,
    null_moments,
    outside,
)

DRIFT = np.array([1.0, 4.0, 2.0, 7.0, 0.5, 3.0, 6.0])
BINS = np.array([0, 0, 0, 0, 1, 1, 1], dtype=np.int16)


def control_of(*groups):
    free = outside(DRIFT.size, groups)
    return bin_moments(DRIFT[free], BINS[free], 2)


def test_golden_by_hand():
    group = np.array([1, 5])
    sums = matched_sums(DRIFT, BINS, group, control_of(group))
    assert sums.observed == 7.0
    assert sums.expected == pytest.approx((1 + 2 + 7) / 3 + (0.5 + 6) / 2)
    assert (sums.num_weights, sums.num_left_out_bins) == (2, 0)


def test_no_declared_group_serves_as_control():
    group, other = np.array([0]), np.array([1, 2])
    sums = matched_sums(DRIFT, BINS, group, control_of(group, other))
    assert sums.expected == 7.0


def test_bin_without_control_is_left_out_and_counted():
    group = np.array([0, 4, 5, 6])
    sums = matched_sums(DRIFT, BINS, group, control_of(group))
    assert (sums.observed, sums.num_weights, sums.num_left_out_bins) == (1.0, 1, 1)


def test_group_that_is_the_whole_matrix_has_no_control():
    group = np.arange(7)
    sums = matched_sums(DRIFT, BINS, group, control_of(group))
    assert (sums.observed, sums.expected, sums.num_left_out_bins) == (0.0, 0.0, 2)


@pytest.mark.parametrize("num_drawn", [(1, 1), (2, 1), (3, 2), (4, 3), (0, 2)])
def test_closed_form_equals_enumeration(num_drawn):
    first = list(combinations(range(4), num_drawn[0]))
    second = list(combinations(range(4, 7), num_drawn[1]))
    sums = [DRIFT[list(a + b)].sum() for a in first for b in second]
    group = np.array(first[0] + second[0])
    moments = null_moments(BINS, group, bin_moments(DRIFT, BINS, 2))
    assert moments.mean == pytest.approx(np.mean(sums), rel=1e-14)
    assert moments.variance == pytest.approx(np.var(sums), rel=1e-12, abs=1e-14)


def test_moments_match_numpy_per_bin():
    moments = bin_moments(DRIFT, BINS, 3)
    assert moments.count.tolist() == [4, 3, 0]
    assert moments.mean == pytest.approx([DRIFT[:4].mean(), DRIFT[4:].mean(), 0])
    assert moments.variance == pytest.approx([DRIFT[:4].var(), DRIFT[4:].var(), 0])
