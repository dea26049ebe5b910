import numpy as np
import pytest
from scipy import stats

from driftmap.core.errors import MeasureError
from driftmap.results.statistics import Interval
from driftmap.stats.intervals import (
    cluster_bootstrap,
    exponentiated,
    paired_change,
    t_interval,
    wilson_interval,
)


@pytest.mark.parametrize("level", [0.9, 0.95])
def test_t_interval_matches_scipy(level):
    values = np.random.default_rng(0).normal(size=5)
    found = t_interval(values, level)
    expected = stats.t.interval(level, 4, values.mean(), stats.sem(values))
    assert (found.low, found.high) == pytest.approx(expected)
    assert (found.estimate, found.level, found.num) == (values.mean(), level, 5)


def test_one_seed_has_no_interval():
    assert t_interval(np.array([1.0]), 0.95) is None
    assert cluster_bootstrap(np.ones((1, 4)), np.arange(4), 0.95, 0) is None


def test_exponentiated_interval_keeps_level_and_number():
    log = Interval(estimate=0.0, low=-1.0, high=1.0, level=0.9, num=3)
    ratio = exponentiated(log)
    assert (ratio.estimate, ratio.level, ratio.num) == (1.0, 0.9, 3)
    assert ratio.low * ratio.high == pytest.approx(1)


def test_cluster_bootstrap_of_constant_values_is_a_point():
    found = cluster_bootstrap(np.full((3, 6), 0.5), np.arange(6), 0.95, 0)
    assert (found.low, found.estimate, found.high) == (0.5, 0.5, 0.5)


def test_cluster_bootstrap_has_the_spread_of_seeds_and_cells():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(40, 1)) + rng.normal(size=(40, 25))
    found = cluster_bootstrap(values, np.arange(25), 0.95, 0, num_resamples=4000)
    of_seeds = values.mean(axis=1).var() / 40
    of_cells = values.var(axis=1).mean() / 25 / 40
    expected = 2 * 1.96 * (of_seeds + of_cells) ** 0.5
    assert found.high - found.low == pytest.approx(expected, rel=0.06)


def test_matrices_of_one_cell_are_drawn_together():
    values = np.array([[1.0, -1.0, 0.0], [1.0, -1.0, 0.0]])
    found = cluster_bootstrap(values, np.array([0, 0, 1]), 0.95, 0)
    assert (found.low, found.high) == (0.0, 0.0)


def test_cluster_bootstrap_is_the_same_for_the_same_seed():
    values, cells = np.random.default_rng(0).normal(size=(3, 8)), np.arange(8)
    one = cluster_bootstrap(values, cells, 0.95, 0)
    assert one == cluster_bootstrap(values, cells, 0.95, 0)
    assert one != cluster_bootstrap(values, cells, 0.95, 1)


@pytest.mark.parametrize(("hits", "trials"), [(0, 10), (3, 10), (50, 100), (9, 9)])
def test_wilson_matches_scipy(hits, trials):
    found = wilson_interval(hits, trials)
    expected = stats.binomtest(hits, trials).proportion_ci(method="wilson")
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert found.low <= found.estimate <= found.high


@pytest.mark.parametrize(("hits", "trials"), [(0, 0), (3, 2), (-1, 2)])
def test_impossible_rate_is_refused(hits, trials):
    with pytest.raises(MeasureError, match=f"{hits} hits in {trials} trials"):
        wilson_interval(hits, trials)


def test_paired_change_golden():
    before = np.array([True, True, False, True])
    after = np.array([[True, False, False, False], [True, True, False, False]])
    assert paired_change(before, after, seed=0).estimate == -0.375


def test_paired_change_matches_scipy_bootstrap():
    rng = np.random.default_rng(0)
    before, after = rng.random(80) < 0.9, rng.random((2, 80)) < 0.6
    found = paired_change(before, after, seed=0)
    change = after.mean(axis=0) - before
    expected = stats.bootstrap(
        (change,), np.mean, method="percentile", rng=1
    ).confidence_interval
    assert found.low == pytest.approx(expected.low, abs=0.02)
    assert found.high == pytest.approx(expected.high, abs=0.02)
    assert (found.level, found.num) == (0.95, 80)


def test_pairing_removes_what_prompts_share():
    rng = np.random.default_rng(0)
    before = rng.random(200) < 0.5
    unchanged = paired_change(before, before[None], seed=0)
    assert (unchanged.low, unchanged.high) == (0.0, 0.0)


@pytest.mark.parametrize("shape", [(0, 3), (1, 2), (1, 0)])
def test_outcomes_that_do_not_pair_are_refused(shape):
    before = np.ones(0 if shape[1] == 0 else 3, dtype=bool)
    with pytest.raises(MeasureError, match="cannot be paired"):
        paired_change(before, np.ones(shape, dtype=bool), seed=0)


@pytest.mark.slow
def test_t_interval_covers_and_the_bootstrap_alone_does_not():
    rng = np.random.default_rng(0)
    t_covers, bootstrap_covers = [], []
    for trial in range(1500):
        values = rng.normal(size=(3, 1)) + 0.5 * rng.normal(size=(3, 14))
        interval = t_interval(values.mean(axis=1), 0.95)
        t_covers.append(interval.low <= 0 <= interval.high)
        interval = cluster_bootstrap(values, np.arange(14), 0.95, trial, 500)
        bootstrap_covers.append(interval.low <= 0 <= interval.high)
    assert 0.93 < np.mean(t_covers) < 0.97
    assert 0.65 < np.mean(bootstrap_covers) < 0.85
