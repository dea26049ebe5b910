"""Are random experts drawn from the bank and the traffic of those they stand beside?"""

import numpy as np
import pytest

from driftmap.stats.experts.nulls import matched_experts, matched_scores

TOKENS = np.stack([np.arange(1, 41), np.arange(40, 0, -1)])


def fifth(bank, expert):
    return int(np.sum(TOKENS[bank] < TOKENS[bank, expert])) // 8


def test_draws_are_unchosen_of_the_same_bank_and_fifth_of_traffic():
    chosen = np.array([[0, 3], [0, 39], [0, 38], [1, 20]])
    found = matched_experts(TOKENS, chosen, seed=1, draws=200)
    assert found.groups.shape == (200, 4, 2)
    assert found.num_missing == 0
    assert not found.num_unmatched.any()
    wanted = sorted((b, fifth(b, e)) for b, e in chosen)
    taken = {tuple(row) for row in chosen.tolist()}
    for group in found.groups.tolist():
        rows = {tuple(row) for row in group}
        assert len(rows) == 4
        assert not rows & taken
        assert sorted((b, fifth(b, e)) for b, e in rows) == wanted


def test_every_expert_of_the_fifth_is_drawn_alike():
    found = matched_experts(TOKENS, np.array([[0, 0]]), seed=2, draws=2100)
    drawn = np.bincount(found.groups[:, 0, 1], minlength=40)
    assert not drawn[8:].any()
    assert np.allclose(drawn[1:8], 300, atol=60)


def test_where_none_is_alike_any_other_of_the_bank_is_taken_and_counted():
    tokens = np.array([[10, 10, 10, 10, 1000, 0]])
    found = matched_experts(tokens, np.array([[0, 4]]), seed=0, draws=50)
    assert (found.num_unmatched == 1).all()
    assert set(found.groups[:, 0, 1].tolist()) == {0, 1, 2, 3}


def test_an_idle_expert_comes_last_and_one_that_is_not_there_never():
    tokens = np.array([[10, 20, 30, 0, 0]])
    chosen = np.array([[0, 0], [0, 1]])
    found = matched_experts(tokens, chosen, seed=0, draws=30, num_experts=[4])
    assert all(sorted(g[:, 1].tolist()) == [2, 3] for g in found.groups)
    assert found.num_missing == 0


def test_what_has_no_counterpart_is_counted():
    chosen = np.array([[0, 0], [0, 1], [0, 2]])
    found = matched_experts(np.array([[5, 6, 7, 8]]), chosen, seed=0, draws=3)
    assert found.num_missing == 2
    assert found.groups.tolist() == [[[0, 3]]] * 3


def test_the_seed_says_all():
    chosen = np.array([[0, 3], [1, 20]])
    one, same, other = (
        matched_experts(TOKENS, chosen, seed=s, draws=9).groups for s in (5, 5, 6)
    )
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


def test_a_group_stands_beside_its_draws():
    values = np.zeros((2, 40))
    values[0, :4] = [1.0, 3.0, 0.0, 0.0]
    chosen = np.array([[0, 0], [0, 1]])
    found = matched_experts(TOKENS, chosen, seed=0, draws=99)
    seen = matched_scores("risk difference", values, chosen, found)
    assert seen.seen == 2.0
    assert seen.drawn == (0.0,) * 99
    assert seen.p_value == pytest.approx(0.01)
    assert matched_scores("none", values * 0, chosen, found).p_value == 1.0


def test_all_experts_have_nothing_beside_them():
    chosen = np.array([[0, e] for e in range(4)])
    found = matched_experts(np.array([[5, 6, 7, 8]]), chosen, seed=0, draws=3)
    assert found.groups.shape == (3, 0, 2)
    seen = matched_scores("any", np.ones((1, 4)), chosen, found)
    assert (seen.seen, seen.drawn, seen.p_value) == (1.0, (), 1.0)
