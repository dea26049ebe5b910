from itertools import pairwise, permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftmap.results.retrieval import RetrievalSettings
from driftmap.stats.retrieval.chance import chance
from driftmap.stats.retrieval.standing import stand

AT = (1, 2, 3)
SHARE = RetrievalSettings(recall_at=AT)
FIRST = RetrievalSettings(recall_at=AT, ties="first")

lists = st.lists(
    st.tuples(st.sampled_from([0.0, 0.5, 1.0]), st.booleans()), min_size=1, max_size=5
).filter(lambda pairs: any(right for _, right in pairs))


def naive(pairs):
    """Average over every way to break ties: share of hits, and of recalls."""
    orders = [
        order
        for order in permutations(range(len(pairs)))
        if all(pairs[a][0] >= pairs[b][0] for a, b in pairwise(order))
    ]
    places = [
        next(n for n, at in enumerate(order, 1) if pairs[at][1]) for order in orders
    ]
    return [np.mean([place <= k for place in places]) for k in AT]


@given(lists)
def test_hits_and_recalls_are_means_over_all_ways_to_break_ties(pairs):
    scores = np.array([[score for score, _ in pairs]])
    right = np.array([is_right for _, is_right in pairs])
    found = stand(scores, right, SHARE)
    expected = naive(pairs)
    assert found.hit[0] == pytest.approx(expected[0])
    assert found.recall[:, 0] == pytest.approx(expected)


@given(lists)
def test_rank_counts_those_above_and_half_of_the_wrong_ties(pairs):
    scores = np.array([[score for score, _ in pairs]])
    right = np.array([is_right for _, is_right in pairs])
    best = max(score for score, is_right in pairs if is_right)
    wrong = [score for score, is_right in pairs if not is_right]
    above, tied = sum(s > best for s in wrong), sum(s == best for s in wrong)
    assert stand(scores, right, SHARE).rank[0] == 1 + above + tied / 2


@given(lists)
def test_first_keeps_the_order_of_the_list(pairs):
    scores = np.array([[score for score, _ in pairs]])
    right = np.array([is_right for _, is_right in pairs])
    order = sorted(range(len(pairs)), key=lambda n: -pairs[n][0])
    rank = next(place for place, n in enumerate(order, 1) if pairs[n][1])
    wrong_before = rank - 1
    found = stand(scores, right, FIRST)
    assert found.rank[0] == 1 + wrong_before
    assert found.hit[0] == (rank == 1)


def test_margin_by_hand():
    scores = np.array([[0.9, 0.1, 0.3]])
    found = stand(scores, np.array([True, False, False]), SHARE)
    assert found.margin[0] == pytest.approx((0.9 - 0.3) / 0.1)


def test_there_is_no_margin_against_one_other_or_equal_others():
    one = stand(np.array([[0.9, 0.1]]), np.array([True, False]), SHARE)
    equal = stand(np.array([[0.9, 0.1, 0.1]]), np.array([True, False, False]), SHARE)
    assert np.isnan([one.margin[0], equal.margin[0]]).all()


def test_a_truth_that_is_no_candidate_is_wrong():
    found = stand(np.array([[0.9, 0.1]]), np.array([False, False]), SHARE)
    assert found.hit[0] == 0
    assert found.recall.sum() == 0
    assert np.isnan(found.rank[0])


def test_rows_do_not_know_of_each_other():
    rng = np.random.default_rng(0)
    scores, right = rng.integers(0, 3, (5, 8)) / 2.0, np.arange(8) % 3 == 0
    together = stand(scores, right, SHARE)
    for row in range(5):
        alone = stand(scores[[row]], right, SHARE)
        assert together.rank[row] == alone.rank[0]
        assert np.array_equal(together.recall[:, row], alone.recall[:, 0])


@pytest.mark.parametrize(("num", "num_right"), [(5, 1), (5, 2), (4, 4), (3, 0)])
def test_chance_is_the_mean_over_all_orders(num, num_right):
    places = [
        next((n for n, at in enumerate(order, 1) if at < num_right), np.inf)
        for order in permutations(range(num))
    ]
    found = chance(np.array([num]), np.array([num_right]), AT)
    assert found.accuracy[0] == pytest.approx(np.mean([p == 1 for p in places]))
    assert found.reciprocal_rank[0] == pytest.approx(np.mean([1 / p for p in places]))
    assert found.recall[:, 0] == pytest.approx(
        [np.mean([p <= k for p in places]) for k in AT]
    )


def test_chance_with_one_right_is_one_over_k_and_a_harmonic_number():
    found = chance(np.array([50]), np.array([1]), (1, 10, 100))
    assert found.accuracy[0] == 0.02
    assert found.reciprocal_rank[0] == pytest.approx(
        sum(1 / n for n in range(1, 51)) / 50
    )
    assert found.recall[:, 0] == pytest.approx([0.02, 0.2, 1.0])
