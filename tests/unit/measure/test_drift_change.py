import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from driftmap.core.errors import MeasureError
from driftmap.core.places import RowBlocks, Site
from driftmap.measure.drift import change as change_module
from driftmap.measure.drift import (
    dense_change,
    difference,
    inner_product,
    weight_change,
)
from driftmap.measure.drift import settled as settled_module
from driftmap.signals.factors import LoraFactors, cut_to_site
from laws.drift import (
    assert_gauge_does_not_matter,
    assert_no_drift_to_itself,
    every_index,
    merged_change,
)


def random_factors(seed=0, *, rows=6, columns=9, rank=3, scale=2.0):
    draw = torch.Generator().manual_seed(seed)
    return LoraFactors(
        down=torch.randn(rank, columns, generator=draw, dtype=torch.float64),
        up=torch.randn(rows, rank, generator=draw, dtype=torch.float64),
        scale=scale,
    )


def nudged(factors, size, seed=9):
    draw = torch.Generator().manual_seed(seed)
    return LoraFactors(
        down=factors.down + size * torch.randn(
            factors.down.shape, generator=draw, dtype=torch.float64
        ),
        up=factors.up + size * torch.randn(
            factors.up.shape, generator=draw, dtype=torch.float64
        ),
        scale=factors.scale,
    )  # fmt: skip


def test_golden_two_by_two():
    # B = (1, 2)^T, A = (3, -1), s = 2: dW = [[6, -2], [12, -4]]
    factors = LoraFactors(
        down=torch.tensor([[3.0, -1.0]], dtype=torch.float64),
        up=torch.tensor([[1.0], [2.0]], dtype=torch.float64),
        scale=2.0,
    )
    assert dense_change(factors).tolist() == [[6, -2], [12, -4]]
    assert weight_change(factors, None, np.array([3, 0])).tolist() == [-4, 6]
    assert inner_product(factors, factors) == 36 + 4 + 144 + 16


@pytest.mark.parametrize("scale", [16 / 8, 16 / np.sqrt(8), 0.0], ids=str)
def test_equals_merged_matrices(scale):
    factors = random_factors(scale=scale)
    expected = merged_change(factors)
    got = weight_change(factors, None, every_index(factors))
    assert got.dtype == torch.float64
    np.testing.assert_allclose(got, expected.flatten(), rtol=1e-9, atol=1e-15)
    np.testing.assert_allclose(dense_change(factors), expected, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("size", [1.0, 1e-4, 1e-9])
def test_equals_merged_matrices_against_a_reference(size):
    then = random_factors(1)
    now = nudged(then, size)
    # In exact arithmetic: merged states of a small change cancel in float64.
    exact = _exact_product(now) - _exact_product(then)
    largest = np.abs(exact).max()
    index = every_index(now)
    got = weight_change(now, then, index).numpy()
    assert np.abs(got - exact.ravel()).max() <= 1e-9 * largest
    dense = dense_change(now, then).numpy()
    assert np.abs(dense - exact).max() <= 1e-9 * largest
    assert difference(now, then).up.shape == (6, 6)


def _exact_product(factors):
    up = factors.up.numpy().astype(np.longdouble)
    return factors.scale * (up @ factors.down.numpy().astype(np.longdouble))


def test_a_reference_at_zero_costs_nothing():
    now = random_factors()
    then = LoraFactors(down=now.down, up=torch.zeros_like(now.up), scale=2.0)
    assert difference(now, then).up.shape == now.up.shape
    assert torch.equal(dense_change(now, then), dense_change(now))


def test_a_state_does_not_drift_from_itself():
    factors = random_factors(rank=4)
    assert_no_drift_to_itself(torch.randn(6, 9), factors)
    assert_no_drift_to_itself(torch.randn(6, 9).bfloat16(), factors)


def test_untrained_plain_adapter_has_no_drift():
    factors = LoraFactors(
        down=random_factors().down,
        up=torch.zeros(6, 3, dtype=torch.float64),
        scale=2.0,
    )
    assert not weight_change(factors, None, every_index(factors)).any()


@given(st.floats(1e-3, 1e3), st.integers(0, 50))
def test_gauge_does_not_matter(factor, seed):
    assert_gauge_does_not_matter(torch.ones(6, 9), random_factors(seed), factor)


def test_chunks_and_order_do_not_matter(monkeypatch):
    factors = random_factors()
    index = np.random.default_rng(0).permutation(every_index(factors))
    whole = weight_change(factors, None, index)
    monkeypatch.setattr(settled_module, "CHUNK_WEIGHTS", 7)
    assert torch.equal(weight_change(factors, None, index), whole)
    ordered = weight_change(factors, None, np.sort(index))
    assert torch.equal(ordered[torch.from_numpy(index)], whole)


def test_row_blocks_make_the_whole():
    now, then = random_factors(1), random_factors(2)
    blocks = [dense_change(now, then, slice(i, i + 2)) for i in (0, 2, 4)]
    torch.testing.assert_close(torch.cat(blocks), dense_change(now, then))


def test_inner_product_equals_merged(monkeypatch):
    a, b = random_factors(1, scale=0.3), random_factors(2, rank=5)
    expected = (merged_change(a) * merged_change(b)).sum().item()
    assert inner_product(a, b) == pytest.approx(expected, rel=1e-12)
    monkeypatch.setattr(change_module, "PIECE", 4)
    assert inner_product(a, b) == pytest.approx(expected, rel=1e-12)


def test_fused_and_transposed_maps_are_cut_to_their_site():
    # A Conv1D `c_attn` of width 4: A and B are [r in], [out r] as everywhere.
    down, up = torch.randn(2, 4).bfloat16(), torch.randn(12, 2)
    merged = 0.5 * up.double() @ down.double()
    for number, part in enumerate("qkv"):
        site = Site(
            path="h.0.attn.c_attn", layer=0, part=part, num_rows=4, num_columns=4,
            split=RowBlocks(start=4 * number, length=4, stride=4, count=1),
            transposed=True,
        )  # fmt: skip
        factors = cut_to_site(down, up, 0.5, site)
        got = weight_change(factors, None, every_index(factors)).reshape(4, 4)
        rows = slice(4 * number, 4 * number + 4)
        np.testing.assert_allclose(got, merged[rows], rtol=1e-12)


def test_nothing_asked_nothing_given():
    none = np.empty(0, dtype=np.int64)
    assert weight_change(random_factors(), None, none).shape == (0,)


@pytest.mark.parametrize("name", ["down", "up"])
def test_factors_that_are_not_finite_are_named(name):
    held = {"down": random_factors().down.clone(), "up": random_factors().up.clone()}
    held[name][1, 1] = torch.nan
    letter = {"down": "A", "up": "B"}[name]
    with pytest.raises(MeasureError) as error:
        difference(LoraFactors(scale=1.0, **held), where="layers.0.q")
    assert str(error.value) == (
        f"layers.0.q: {letter} ({name}) holds NaN or infinity; did training diverge?"
    )


def test_scale_that_is_not_finite_is_named():
    with pytest.raises(MeasureError, match=r"adapter: the scale is inf, not a number"):
        dense_change(random_factors(scale=float("inf")))


def test_reference_of_another_shape_is_refused():
    with pytest.raises(MeasureError) as error:
        dense_change(random_factors(), random_factors(rank=2))
    assert str(error.value) == (
        "adapter: factors [6, 3] x [3, 9] do not fit reference factors "
        "[6, 2] x [2, 9]; is the reference the first step of another run?"
    )


@pytest.mark.parametrize("index", [-1, 54])
def test_index_outside_the_matrix_is_refused(index):
    with pytest.raises(MeasureError) as error:
        weight_change(random_factors(), None, np.array([0, index]))
    assert str(error.value) == (
        f"flat indices run from {min(index, 0)} to {max(index, 0)}, but the matrix "
        "has 54 weights; is the group from another model?"
    )


def test_updates_of_different_matrices_have_no_product():
    with pytest.raises(MeasureError) as error:
        inner_product(random_factors(), random_factors(rows=7))
    assert str(error.value) == (
        "updates [6, 3] x [3, 9] and [7, 3] x [3, 9] belong to matrices of "
        "different shape"
    )
