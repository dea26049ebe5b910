from decimal import Decimal, localcontext

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from driftmap.core.errors import MeasureError
from driftmap.measure.drift import matrix_moments, weight_change
from driftmap.measure.drift import settled as settled_module
from driftmap.measure.drift.moments import (
    fragment_moments,
    fragment_starts,
    matrix_norms,
)
from driftmap.results.drift import Moments
from driftmap.signals.factors import LoraFactors
from laws.drift import (
    assert_detours_are_not_shorter,
    assert_rows_and_columns_sum_to_the_matrix,
    assert_swapping_states_keeps_distance,
    merged_change,
)


def random_factors(seed=0, *, rows=6, columns=9, rank=3, scale=2.0):
    draw = torch.Generator().manual_seed(seed)
    return LoraFactors(
        down=torch.randn(rank, columns, generator=draw, dtype=torch.float64),
        up=torch.randn(rows, rank, generator=draw, dtype=torch.float64),
        scale=scale,
    )


def random_weight(seed=5, *, rows=6, columns=9):
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(rows, columns, generator=draw)


def brute(before, moved, axis):
    return {
        "weight": (before * before).sum(axis).numpy(),
        "cross": (before * moved).sum(axis).numpy(),
        "change": (moved * moved).sum(axis).numpy(),
    }


def assert_moments(got, expected):
    for name, value in expected.items():
        assert getattr(got, name).dtype == np.float64
        np.testing.assert_allclose(getattr(got, name), value, rtol=1e-9, atol=1e-12)


def test_golden_two_by_two():
    # W = I, dW = [[0, 1], [0, 0]]: row 0 turns by 45 degrees, column 1 as well.
    weight = torch.eye(2)
    factors = LoraFactors(
        down=torch.tensor([[0.0, 1.0]], dtype=torch.float64),
        up=torch.tensor([[0.5], [0.0]], dtype=torch.float64),
        scale=2.0,
    )
    moments = matrix_moments(weight, factors)
    turned = 1 - np.sqrt(0.5)
    np.testing.assert_allclose(moments.rows.l2, [1, 0])
    np.testing.assert_allclose(moments.rows.relative, [1, 0])
    np.testing.assert_allclose(moments.rows.cosine_distance, [turned, 0])
    np.testing.assert_allclose(moments.columns.l2, [0, 1])
    # column 1 goes from (0, 1) to (1, 1)
    np.testing.assert_allclose(moments.columns.cosine_distance, [0, turned])


@pytest.mark.parametrize("with_reference", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("block", [1, 20, 2**20])
def test_equals_merged_matrices(with_reference, dtype, block, monkeypatch):
    monkeypatch.setattr(settled_module, "BLOCK_WEIGHTS", block)
    now, then = random_factors(1), random_factors(2) if with_reference else None
    weight = random_weight().to(dtype)
    before = weight.double() + (merged_change(then) if then else 0)
    moved = merged_change(now, then)
    got = matrix_moments(weight, now, then)
    assert_moments(got.rows, brute(before, moved, 1))
    assert_moments(got.columns, brute(before, moved, 0))
    given_norms = matrix_moments(weight, now, then, matrix_norms(weight, then))
    np.testing.assert_array_equal(given_norms.rows.weight, got.rows.weight)


def test_rank_above_both_sides_of_the_matrix():
    factors = random_factors(rows=2, columns=3, rank=8)
    weight = random_weight(rows=2, columns=3)
    got = matrix_moments(weight, factors)
    assert_moments(got.rows, brute(weight.double(), merged_change(factors), 1))
    assert_moments(got.columns, brute(weight.double(), merged_change(factors), 0))


def test_fragments_equal_merged_matrices():
    factors, weight = random_factors(), random_weight().double()
    index = np.array([0, 3, 8, 20, 21, 53])
    moved = weight_change(factors, None, index).numpy()
    before = weight.flatten().numpy()[index]
    starts = fragment_starts(index, 9)
    got = fragment_moments(before, moved, starts)
    merged = merged_change(factors)
    masked = torch.zeros(54, dtype=torch.float64)
    masked[index] = 1
    masked = masked.reshape(6, 9)
    every_row = brute(weight * masked, merged * masked, 1)
    assert_moments(got, {n: v[[0, 2, 5]] for n, v in every_row.items()})


def test_no_fragments_in_nothing():
    none = np.empty(0)
    starts = fragment_starts(np.empty(0, dtype=np.int64), 4)
    assert starts.size == 0
    assert fragment_moments(none, none, starts).l2.size == 0


@given(st.integers(0, 50))
def test_rows_and_columns_sum_to_the_matrix(seed):
    assert_rows_and_columns_sum_to_the_matrix(random_weight(), random_factors(seed))


@given(st.integers(0, 50))
def test_detours_are_not_shorter(seed):
    assert_detours_are_not_shorter([random_factors(seed + i) for i in (0, 100, 200)])


def test_swapping_states_keeps_distance():
    now, then = random_factors(1), random_factors(2)
    assert_swapping_states_keeps_distance(random_weight(), now, then)


@pytest.mark.parametrize("share", [-0.5, 1e-7, 0.3, 2.0])
def test_scaling_the_weights_turns_nothing(share):
    # W = 3 B A, dW = share * W
    factors = random_factors(scale=3 * share)
    weight = merged_change(factors) / share
    moments = matrix_moments(weight, factors)
    for part in (moments.rows, moments.columns, moments.rows.total()):
        np.testing.assert_allclose(part.relative, abs(share), rtol=1e-9)
        np.testing.assert_allclose(part.cosine, 1, rtol=1e-12)
        assert part.cosine_distance.max() < 1e-14


@pytest.mark.parametrize("size", [1e-3, 4e-5, 1e-6, 1e-8])
def test_small_distances_keep_their_digits(size):
    draw = np.random.default_rng(3)
    before, moved = draw.normal(size=400), size * draw.normal(size=400)
    with localcontext(prec=60):
        old = [Decimal(x) for x in before.tolist()]
        new = [x + Decimal(d) for x, d in zip(old, moved.tolist(), strict=True)]
        exact = 1 - _dot(old, new) / (_dot(old, old) * _dot(new, new)).sqrt()
    moments = fragment_moments(before, moved, np.array([0]))
    assert moments.cosine_distance.item() == pytest.approx(float(exact), rel=1e-9)


def _dot(left, right):
    return sum(x * y for x, y in zip(left, right, strict=True))


def test_cosine_of_opposite_and_square_vectors():
    moments = Moments(
        weight=np.array([1.0, 1.0, 4.0]),
        cross=np.array([-2.0, -1.0, 0.0]),
        change=np.array([4.0, 2.0, 0.0]),
    )
    np.testing.assert_allclose(moments.cosine, [-1, 0, 1])
    np.testing.assert_allclose(moments.cosine_distance, [2, 1, 0])


def test_vectors_without_direction_are_marked():
    moments = Moments(
        weight=np.array([0.0, 1.0, 1.0]),
        cross=np.array([0.0, -1.0, 0.0]),
        change=np.array([1.0, 1.0, 0.0]),
    )
    assert moments.directed.tolist() == [False, False, True]
    assert np.isnan(moments.cosine_distance).tolist() == [True, True, False]
    assert np.isnan(moments.relative).tolist() == [True, False, False]


def test_adapter_of_another_matrix_is_refused():
    with pytest.raises(MeasureError) as error:
        matrix_moments(random_weight(rows=5), random_factors())
    assert str(error.value) == (
        "a change [6, 9] does not fit a matrix [5, 9]; "
        "is the adapter or checkpoint of another model?"
    )
