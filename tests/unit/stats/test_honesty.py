import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from driftmap.core.errors import MeasureError
from driftmap.stats import honesty
from driftmap.stats.honesty import (
    LayerChoice,
    PairScores,
    Resampling,
    auroc_of_groups,
    averaged,
    band_evidence,
    best_threshold,
    choose_band,
    of_directions,
    shuffled_by_pair,
    shuffled_by_statement,
)

SCORES = st.lists(st.integers(0, 5), min_size=2, max_size=12)


def pairs(honest, dishonest, statement=None):
    return PairScores(
        honest=np.asarray(honest, float),
        dishonest=np.asarray(dishonest, float),
        statement=np.arange(len(honest)) if statement is None else np.array(statement),
    )


def slow_auroc(higher, lower):
    """By all pairs."""
    won = [(h > low) + (h == low) / 2 for h in higher for low in lower]
    return sum(won) / len(won)


@given(SCORES, SCORES)
def test_auroc_counts_pairs_and_half_of_ties(higher, lower):
    found = auroc_of_groups(np.array(higher, float), np.array(lower, float), 0)
    assert found.estimate == pytest.approx(slow_auroc(higher, lower))
    assert found.low <= found.high


@settings(max_examples=20)
@given(SCORES, st.integers(0, 5))
def test_every_draw_is_that_of_repeated_statements(scores, seed):
    rng = np.random.default_rng(seed)
    higher = np.array(scores, float)
    lower = rng.integers(0, 6, len(scores)).astype(float)
    statement = np.arange(len(scores)) // 2
    draws = Resampling(statement, seed)
    found = honesty._weighted_auroc(higher, lower, draws.weights, draws.weights)
    for draw in range(5):
        times = draws.weights[draw].astype(int)
        want = slow_auroc(np.repeat(higher, times), np.repeat(lower, times))
        assert found[draw] == pytest.approx(want)


def test_cuts_of_a_statement_are_drawn_together():
    draws = Resampling(np.array([3, 3, 3, 9, 9]), 0)
    assert draws.num == 2
    assert (draws.weights[:, 0] == draws.weights[:, 2]).all()
    assert (draws.weights[:, 0] + draws.weights[:, 4] == 2).all()
    # Two statements, one right and one wrong: a draw holds either or both.
    assert (draws.mean(np.array([1.0, 1, 1, 0, 0])).low) == 0


def test_more_cuts_of_the_same_statements_make_nothing_surer():
    rng = np.random.default_rng(0)
    hits = (rng.random(40) < 0.7).astype(float)
    once = Resampling(np.arange(40), 0).mean(hits)
    often = Resampling(np.repeat(np.arange(40), 9), 0).mean(np.repeat(hits, 9))
    assert (often.low, often.high) == pytest.approx((once.low, once.high))
    assert often.num == once.num == 40


def test_intervals_cover():
    rng = np.random.default_rng(1)
    inside = 0
    for seed in range(100):
        own = rng.random(60) * 0.6 + 0.2  # each statement has a rate of its own
        hits = (rng.random((60, 5)) < own[:, None]).astype(float).ravel()
        found = Resampling(np.repeat(np.arange(60), 5), seed).mean(hits)
        inside += found.low <= 0.5 <= found.high
    assert inside >= 88


def test_shuffled_labels_are_right_half_of_the_time():
    rng = np.random.default_rng(2)
    statement = np.repeat(np.arange(100), 4)
    scores = pairs(rng.standard_normal(400) + 9, np.zeros(400), statement)

    def control(number):
        return np.where(shuffled_by_pair(400, number), 1 - scores.hits, scores.hits)

    found = Resampling(statement, 0).mean(averaged(control, 10))
    assert found.low <= 0.5 <= found.high
    by_statement = shuffled_by_statement(statement, 5).reshape(100, 4)
    assert (by_statement == by_statement[:, :1]).all()
    assert 0.3 < by_statement.mean() < 0.7


@given(SCORES, st.data())
def test_the_threshold_is_as_good_as_any(honest, data):
    dishonest = data.draw(
        st.lists(st.integers(0, 5), min_size=len(honest), max_size=len(honest))
    )
    one = pairs(honest, dishonest)

    def right(threshold):
        return sum(h > threshold for h in honest) + sum(
            d <= threshold for d in dishonest
        )

    every = np.arange(-1.5, 7, 0.5)
    assert right(best_threshold(one)) == max(map(right, every))


def test_a_band_stops_at_the_first_poor_layer():
    choice = LayerChoice(
        layers=(2, 3, 4, 5, 6),
        auroc=np.array([0.99, 0.8, 0.985, 1.0, 1.0]),
        separation=np.array([9.0, 9.0, 1.0, 2.0, 3.0]),
    )
    assert choose_band(choice) == ((4, 5, 6), 6)


def test_a_band_by_hand():
    validation = pairs([1, 2], [-2, -1])
    test = pairs([1, 1, -1, 3], [0, 2, -2, -3], [0, 0, 1, 1])
    control = np.full(4, 0.5)
    band = band_evidence("lda", ((1, 2), 2), validation, test, control, 0)
    assert band.threshold == 0
    assert band.pair_accuracy.estimate == 0.75
    # 1, 1 and 3 are above; 0, -2 and -3 are not: six of eight.
    assert band.accuracy.estimate == 0.75
    assert band.auroc.estimate == slow_auroc([1, 1, -1, 3], [0, 2, -2, -3])
    assert band.selectivity.estimate == 0.25
    assert (band.layers, band.best, band.pair_accuracy.num) == ((1, 2), 2, 2)


def test_blind_directions_have_a_range():
    found = of_directions([0.5, 0.6, 0.7])
    assert (found.estimate, found.num) == (pytest.approx(0.6), 3)
    assert found.low == pytest.approx(0.505)


def test_nothing_to_draw_is_refused():
    with pytest.raises(MeasureError, match="no statement to draw"):
        Resampling(np.array([], int), 0)
    with pytest.raises(MeasureError, match="one of the two kinds"):
        auroc_of_groups(np.array([]), np.array([1.0]), 0)
