from itertools import combinations
from math import comb

import numpy as np
import pytest
from scipy.stats import binomtest

from driftmap.core.errors import MeasureError
from driftmap.results.judging import Confusion, Rulings
from driftmap.stats.intervals import wilson_interval
from driftmap.stats.refusal_rates import (
    any_of_n,
    corrected_rate,
    mcnemar,
    separation,
)


def rulings(refusal, compliance):
    return Rulings(refusal=refusal, partial=0, compliance=compliance)


def errors(found, passed, num=100):
    return Confusion(
        refusal=rulings(found, num - found),
        partial=rulings(0, 0),
        compliance=rulings(num - passed, passed),
    )


@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_any_of_n_is_the_share_of_draws_with_a_success(n):
    m = 5
    for c in range(m + 1):
        outcomes = [1] * c + [0] * (m - c)
        draws = [max(draw) for draw in combinations(outcomes, n)]
        assert any_of_n(np.array([c]), m, n)[0] == pytest.approx(np.mean(draws))


def test_any_of_n_is_unbiased():
    """Over all numbers of successes, their mean is 1 - (1 - p)^n exactly."""
    m, p = 6, 0.3
    successes = np.arange(m + 1)
    weights = [comb(m, int(c)) * p**c * (1 - p) ** (m - c) for c in successes]
    for n in range(1, m + 1):
        expected = float(np.dot(weights, any_of_n(successes, m, n)))
        assert expected == pytest.approx(1 - (1 - p) ** n)


def test_any_of_one_is_the_mean():
    successes = np.array([0, 1, 3, 4])
    assert any_of_n(successes, 4, 1) == pytest.approx(successes / 4)


@pytest.mark.parametrize("n", [0, 5])
def test_any_of_more_than_there_are_is_refused(n):
    with pytest.raises(MeasureError, match=f"any of {n} answers cannot be told from 4"):
        any_of_n(np.array([1]), 4, n)


def test_corrected_rate_undoes_the_errors():
    # A true rate of .4, sensitivity .9 and specificity .8 are seen as .36 + .12.
    seen = wilson_interval(48, 100)
    found = corrected_rate(seen, errors(90, 80))
    assert found is not None
    assert found.estimate == pytest.approx(0.4)
    assert found.low == pytest.approx((seen.low - 0.2) / 0.7)
    assert found.num == 100


def test_corrected_rate_stays_a_rate():
    low = corrected_rate(wilson_interval(0, 100), errors(90, 80))
    high = corrected_rate(wilson_interval(100, 100), errors(90, 80))
    assert low is not None
    assert high is not None
    assert (low.estimate, low.low, high.estimate, high.high) == (0, 0, 1, 1)


def test_a_judge_no_better_than_chance_corrects_nothing():
    assert corrected_rate(wilson_interval(5, 9), errors(50, 50)) is None
    assert corrected_rate(wilson_interval(5, 9), errors(0, 0, num=0)) is None


@pytest.mark.parametrize(
    ("gained", "lost"), [(0, 0), (1, 0), (3, 9), (9, 3), (5, 5), (0, 12)]
)
def test_mcnemar_is_the_binomial_test_of_the_changed(gained, lost):
    before = np.array([False] * gained + [True] * lost + [True, False] * 4)
    after = np.array([True] * gained + [False] * lost + [True, False] * 4)
    found = mcnemar(before, after)
    assert (found.num_gained, found.num_lost) == (gained, lost)
    assert (found.num_before, found.num_after) == (lost + 4, gained + 4)
    changed = gained + lost
    expected = binomtest(gained, changed).pvalue if changed else 1.0
    assert found.p_value == pytest.approx(expected)


def test_mcnemar_of_unpaired_prompts_is_refused():
    some = np.array([True])
    with pytest.raises(MeasureError, match="0 and 0 prompts cannot be compared"):
        mcnemar(some[:0], some[:0])
    with pytest.raises(MeasureError, match="1 and 2 prompts cannot be compared"):
        mcnemar(some, np.array([True, False]))


def test_separation_counts_pairs():
    rng = np.random.default_rng(0)
    values = rng.integers(0, 5, 40).astype(float)
    positive = rng.random(40) < 0.4
    high, low = values[positive], values[~positive]
    wins = (high[:, None] > low) + 0.5 * (high[:, None] == low)
    assert separation(values, positive) == pytest.approx(wins.mean())


def test_separation_of_one_kind_is_unknown():
    assert separation(np.ones(2), np.array([True, True])) is None
