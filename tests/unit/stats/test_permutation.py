from itertools import permutations

import numpy as np
import pytest

from driftmap.core.places import Site
from driftmap.stats.permutation import (
    draw_moves,
    log_bias,
    permutation_p,
    permuted_sums,
    unit_orders,
)


def site(part="up", rows=4, columns=4, head_size=None):
    return Site(
        path=f"m.{part}",
        layer=0,
        part=part,
        num_rows=rows,
        num_columns=columns,
        head_size=head_size,
    )


def residuals(rows=4, columns=4, seed=0):
    return np.random.default_rng(seed).normal(size=(rows, columns))


def drawn_sums(e, place, groups, num_draws, seed):
    return permuted_sums(e, draw_moves(place, num_draws, seed), groups)


def orders_of(place, num_draws, seed):
    """The permutations of a site, read off one weight and one column at a time."""
    shape = place.shape
    each = [np.array([w]) for w in range(place.num_weights)]
    index = np.arange(place.num_weights, dtype=float).reshape(shape)
    where = drawn_sums(index, place, each, num_draws, seed).astype(int)
    return where.T.reshape(num_draws, *shape)


@pytest.mark.parametrize(
    ("part", "head_size"), [("up", None), ("q", 2), ("o", 2), ("k", 1), ("v", 4)]
)
def test_a_draw_is_the_group_moved_by_one_row_and_one_column_order(part, head_size):
    place, e = site(part, head_size=head_size), residuals()
    groups = [np.array([0, 1, 6]), np.array([3, 15])]
    sums = drawn_sums(e, place, groups, 20, 7)
    moved = orders_of(place, 20, 7)
    for draw, places in enumerate(moved):
        rows, columns = places // 4, places % 4
        assert (rows == rows[:, :1]).all()
        assert (columns == columns[:1]).all()
        for group, drawn in zip(groups, sums[:, draw], strict=True):
            naive = sum(e.flat[places.flat[w]] for w in group)
            assert drawn == pytest.approx(naive, rel=1e-13)


def test_draws_reach_every_permutation_of_a_4_x_4_alike():
    e, group = residuals(), np.array([0, 1, 5])
    every = [
        e[rows[0], columns[0]] + e[rows[0], columns[1]] + e[rows[1], columns[1]]
        for rows in permutations(range(4))
        for columns in permutations(range(4))
    ]
    (drawn,) = drawn_sums(e, site(), [group], 20_000, 0)
    assert drawn.mean() == pytest.approx(np.mean(every), abs=0.03)
    assert drawn.std() == pytest.approx(np.std(every), rel=0.03)
    assert set(np.round(drawn, 9)) == set(np.round(every, 9))


def test_heads_move_whole_and_units_inside_them():
    orders = unit_orders(12, 3, 200, np.random.default_rng(0))
    assert (np.sort(orders, axis=1) == np.arange(12)).all()
    heads = orders.reshape(200, 4, 3) // 3
    assert (heads == heads[:, :, :1]).all()
    assert len({tuple(row) for row in heads[:, :, 0].tolist()}) == 24
    inside = orders.reshape(200, 4, 3) % 3
    assert len({tuple(row) for row in inside[:, 0].tolist()}) == 6


@pytest.mark.parametrize("part", ["q", "k", "v"])
def test_rows_of_q_k_v_keep_their_heads(part):
    rows = orders_of(site(part, head_size=2), 50, 0)[:, :, 0] // 4
    assert (rows[:, 0] // 2 == rows[:, 1] // 2).all()


def test_columns_of_o_keep_their_heads_and_its_rows_do_not():
    moved = orders_of(site("o", head_size=2), 50, 0)
    columns, rows = moved[:, 0] % 4, moved[:, :, 0] // 4
    assert (columns[:, 0] // 2 == columns[:, 1] // 2).all()
    assert not (rows[:, 0] // 2 == rows[:, 1] // 2).all()


def test_other_groups_and_chunks_do_not_change_the_draws():
    e, place = residuals(64, 64), site(rows=64, columns=64)
    small, large = np.array([5, 100]), np.arange(4096)
    alone = drawn_sums(e, place, [small], 99, 3)[0]
    assert (drawn_sums(e, place, [large, small], 99, 3)[1] == alone).all()


def test_seed_and_site_change_the_draws():
    group = [np.array([0])]
    first = drawn_sums(residuals(), site(), group, 50, 0)
    assert (drawn_sums(residuals(), site(), group, 50, 0) == first).all()
    assert (drawn_sums(residuals(), site(), group, 50, 1) != first).any()
    assert (drawn_sums(residuals(), site("gate"), group, 50, 0) != first).any()


def test_units_that_split_into_no_heads_are_a_broken_invariant():
    with pytest.raises(AssertionError, match="5 units do not split into heads of 2"):
        unit_orders(5, 2, 1, np.random.default_rng(0))


def test_the_first_draws_are_the_same_draws():
    moves = draw_moves(site("q", head_size=2), 20, 0)
    group = [np.array([1, 6])]
    all_sums = permuted_sums(residuals(), moves, group)
    first = permuted_sums(residuals(), moves.first(5), group)
    assert (first == all_sums[:, :5]).all()
    assert len(moves.first(50).rows) == 20


def test_log_of_a_noisy_ratio_reads_low_by_half_its_variance():
    ratios = 1 + np.random.default_rng(0).normal(0, 0.1, 10**5)
    assert log_bias(ratios) == pytest.approx(-(0.1**2) / 2, rel=0.03)
    assert log_bias(7 * ratios) == pytest.approx(log_bias(ratios))


def test_draws_without_drift_have_no_log():
    assert log_bias(np.array([0.0, 2.0, 2.0])) == 0.0
    assert log_bias(np.zeros(3)) == log_bias(np.empty(0)) == 0.0


def test_p_is_two_sided_and_never_zero():
    draws = np.linspace(-1, 1, 99)
    assert permutation_p(50.0, draws, 1.0) == 0.01
    assert permutation_p(-50.0, draws, 1.0) == 0.01
    assert permutation_p(0.0, draws, 1.0) == 1.0


def test_p_counts_ties_up_to_rounding():
    assert permutation_p(1.0, np.array([1.0 - 1e-15, -1.0 + 1e-15, 0.0]), 1.0) == 0.75


def test_group_that_is_the_whole_matrix_has_p_1():
    e = residuals(16, 16)
    (draws,) = drawn_sums(e, site(rows=16, columns=16), [np.arange(256)], 99, 0)
    assert permutation_p(float(e.sum()), draws, 256.0) == 1.0


def test_every_order_of_t_is_equally_likely_when_all_values_are_exchangeable():
    values = np.random.default_rng(0).normal(size=20)
    p = [permutation_p(values[i], np.delete(values, i), 1.0) for i in range(20)]
    assert sorted(p) == pytest.approx(np.arange(1, 21) / 20)
