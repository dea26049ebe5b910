"""Means over examples: goals are drawn whole."""

import numpy as np
import pytest

from driftmap.core.errors import MeasureError
from driftmap.stats.experts.paired import Chance, paired_contrast, paired_mean

IDS = [f"s{i}" for i in range(40)]


def test_copies_of_an_example_add_no_certainty():
    rng = np.random.default_rng(0)
    values = rng.normal(size=40)
    goal_of = {f"{i}-{copy}": i for i in IDS for copy in range(5)}
    many = paired_mean(np.repeat(values, 5), list(goal_of), Chance(seed=1))
    alone = paired_mean(values, IDS, Chance(seed=1))
    kept = paired_mean(
        np.repeat(values, 5), list(goal_of), Chance(seed=1, goal_of=goal_of)
    )
    assert kept.high - kept.low == pytest.approx(alone.high - alone.low, rel=0.15)
    assert many.high - many.low < 0.6 * (alone.high - alone.low)
    assert (kept.num, many.num) == (40, 200)


def test_an_interval_is_about_two_standard_errors_either_way():
    values = np.random.default_rng(3).normal(1, 2, size=400)
    found = paired_mean(values, [str(i) for i in range(400)], Chance(seed=0))
    half = 1.96 * values.std() / 20
    assert found.estimate == pytest.approx(values.mean())
    assert (found.high - found.low) / 2 == pytest.approx(half, rel=0.12)


def test_few_draws_widen_a_contrast():
    rng = np.random.default_rng(0)
    values = rng.normal(size=40)
    drawn = np.arange(3.0)[:, None] + np.zeros(40)
    apart = paired_contrast(values, drawn, IDS, Chance(seed=0))
    alike = paired_contrast(values, np.ones((3, 40)), IDS, Chance(seed=0))
    assert apart.estimate == pytest.approx(alike.estimate)
    assert apart.high - apart.low > 1.5 * (alike.high - alike.low)


def test_the_same_seed_gives_the_same_bytes():
    values = np.random.default_rng(0).normal(size=40)
    one, two, other = (paired_mean(values, IDS, Chance(seed=s)) for s in (4, 4, 5))
    assert one == two != other


@pytest.mark.parametrize(
    ("values", "drawn", "message"),
    [
        (np.zeros(0), np.zeros((1, 0)), "0 readings of 0 examples and 1 draws"),
        (np.zeros(3), np.zeros((0, 3)), "3 readings of 3 examples and 0 draws"),
        (np.zeros(3), np.zeros((1, 2)), "3 readings beside 2 of each draw"),
        (np.array([0, np.nan, 0]), np.zeros((1, 3)), "sample 's1': a reading is not"),
    ],
)
def test_what_cannot_be_paired_is_refused(values, drawn, message):
    with pytest.raises(MeasureError, match=message):
        paired_contrast(values, drawn, IDS[: len(values)], Chance(seed=0))
