"""When behaviour changed against when the weights moved, by hand and by law."""

import numpy as np
import pytest

from driftmap.results.over_training import ProbeCurve, TrainingReadings
from driftmap.stats.claims.training import training_claims
from driftmap.stats.over_training import half_way, over_training

STEPS = (0, 10, 20, 40)


def curve(values, quantity="foil nll", clusters=None):
    """A curve from one row per step."""
    values = np.array(values, dtype=np.float64)
    names = tuple(f"p{n}" for n in range(values.shape[1]))
    return ProbeCurve(
        quantity=quantity, probes=names, clusters=clusters or names, values=values
    )


def readings(*curves, drift=((0, 0), (0.3, 0.4), (0.6, 0.8), (0.6, 0.8))):
    return TrainingReadings(
        steps=STEPS, layers=(0, 1), drift=np.array(drift, float), curves=curves
    )


def late(num=12, spread=0.0):
    """Falls from 5 to 1, three quarters of it in the last stretch."""
    base = np.array([5.0, 5.0, 4.0, 1.0])[:, None]
    return base + spread * np.random.default_rng(0).normal(size=(1, num))


@pytest.mark.parametrize(
    ("shares", "step"),
    [
        ((0, 0.5, 1, 1), 10),
        ((0, 0, 0.25, 1), 20 + 20 / 3),
        ((0, 0.8, 0.2, 1), 6.25),
        ((0, -0.5, 0.5, 1), 20),
    ],
)
def test_half_of_the_way_is_first_reached_on_a_straight_line(shares, step):
    assert half_way(STEPS, np.array(shares, float)) == pytest.approx(step)


def test_weights_half_way_at_ten_and_behaviour_at_26():
    found = over_training(readings(curve(late(spread=0.3))), 0)
    assert found.weight_shares == pytest.approx((0, 0.5, 1, 1))
    assert found.weight_half == pytest.approx(10)
    (course,) = found.courses
    assert course.is_settled
    assert course.change.estimate == pytest.approx(-4)
    assert [share.estimate for share in course.shares] == pytest.approx([0, 0, 0.25, 1])
    assert course.half.estimate == pytest.approx(20 + 20 / 3)
    assert course.lag.low == pytest.approx(course.lag.high) == pytest.approx(50 / 3)
    (claim,) = training_claims(found)
    assert claim.standing == "found"
    assert claim.says == (
        "Half of the change in surprise at the other answers was there by step 27 of "
        "40 (95 % 27 to 27, n 12), half of the way of the weights by step 10: "
        "behaviour changed later than the weights."
    )


def test_an_interval_of_the_half_covers_the_spread_of_probes():
    soon, slow = [5, 1, 1, 1], [5, 5, 5, 1]
    found = over_training(readings(curve(np.array([soon, slow] * 10).T)), 0)
    course = found.courses[0]
    # Half of the probes are done by step 10: the mean is half-way right there.
    assert course.half.estimate == pytest.approx(10)
    assert course.half.low < 10 < course.half.high
    assert training_claims(found)[0].standing == "inconclusive"
    assert "cannot be told" in training_claims(found)[0].says


def test_two_halves_between_the_same_checkpoints_have_no_order():
    """At the first checkpoint weights and behaviour are both past their half."""
    values = np.array([5.0, 2.0, 1.0, 1.0])[:, None] + np.zeros((1, 12))
    drift = ((0, 0), (1, 1), (1, 1), (1, 1))
    found = over_training(readings(curve(values), drift=drift), 0)
    assert found.weight_half == pytest.approx(5)
    assert found.courses[0].lag.low == pytest.approx(20 / 3 - 5)
    (claim,) = training_claims(found)
    assert claim.standing == "inconclusive"
    assert "which came first cannot be told" in claim.says


def test_behaviour_that_comes_sooner_is_found_where_a_checkpoint_lies_between():
    values = np.array([5.0, 1.0, 1.0, 1.0])[:, None] + np.zeros((1, 12))
    drift = ((0, 0), (0, 0), (0.2, 0.2), (1, 1))
    (claim,) = training_claims(over_training(readings(curve(values), drift=drift), 0))
    assert claim.standing == "found"
    assert "sooner than the weights" in claim.says


def test_noise_alone_has_no_half_and_no_finding():
    rng = np.random.default_rng(3)
    values = rng.normal(size=(1, 30)) + 0.1 * rng.normal(size=(4, 30))
    found = over_training(readings(curve(values)), 0)
    assert not found.courses[0].is_settled
    assert found.courses[0].half is None
    assert found.courses[0].shares == ()
    (claim,) = training_claims(found)
    assert claim.standing == "inconclusive"
    assert "no change can be told of surprise at the other answers" in claim.says


def test_models_that_never_moved_have_nothing_found():
    flat = readings(
        curve(np.full((4, 8), 2.0)), curve(np.zeros((4, 8)), "kl"), drift=((0, 0),) * 4
    )
    found = over_training(flat, 0)
    assert found.weight_half is None
    assert found.weight_shares == ()
    assert all(course.change.estimate == 0 for course in found.courses)
    assert not any(course.is_settled for course in found.courses)
    assert [claim.standing for claim in training_claims(found)] == ["not-found"]


def test_few_probes_settle_nothing():
    found = over_training(readings(curve(late(4))), 0)
    assert not found.courses[0].is_settled
    shared = curve(late(12), clusters=("one", "two", "three") * 4)
    assert not over_training(readings(shared), 0).courses[0].is_settled


def test_a_divergence_that_rises_is_context_alone():
    rises = curve(5 - late(), "kl")
    claims = training_claims(over_training(readings(rises), 0))
    assert [claim.standing for claim in claims] == ["context"]


def test_rates_have_an_interval_that_is_never_a_point():
    refused = np.array([[1.0] * 10, [1.0] * 10, [0.0] * 10, [0.0] * 10])
    found = over_training(readings(curve(refused, "refusal")), 0)
    levels = [level.value for level in found.courses[0].levels]
    assert [level.estimate for level in levels] == [1, 1, 0, 0]
    assert levels[0].low < 1
    assert levels[-1].high > 0


def test_false_alarms_are_rare():
    """Of 40 courses without a change at most a few are settled."""
    rng = np.random.default_rng(0)
    settled = [
        over_training(readings(curve(rng.normal(size=(4, 20)))), seed)
        .courses[0]
        .is_settled
        for seed in range(40)
    ]
    assert sum(settled) <= 6
