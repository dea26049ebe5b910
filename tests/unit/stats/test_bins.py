import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from driftmap.core.errors import MeasureError
from driftmap.stats import bins
from driftmap.stats.bins import quantile_bins

FINITE = st.floats(-10, 10, width=32)


def test_golden_by_hand():
    values = np.array([[5.0, 1.0, 4.0], [2.0, 6.0, 3.0]])
    assert quantile_bins(values, 3).tolist() == [[2, 0, 1], [0, 2, 1]]


def test_bins_of_distinct_values_have_equal_counts():
    values = np.random.default_rng(0).normal(size=(40, 25))
    assert np.bincount(quantile_bins(values).ravel()).tolist() == [25] * 40


def test_float32_and_float64_agree():
    values = np.random.default_rng(1).normal(size=5000).astype(np.float32)
    same = quantile_bins(values) == quantile_bins(values.astype(np.float64))
    assert same.all()


@given(arrays(np.float32, st.integers(0, 60), elements=FINITE), st.integers(1, 12))
def test_matches_counting_edges_one_by_one(values, num_bins):
    ordered = sorted(values.tolist())
    ranks = [k * len(ordered) // num_bins for k in range(1, num_bins)]
    edges = [ordered[rank] for rank in ranks] if ordered else []
    expected = [sum(edge <= v for edge in edges) for v in values.tolist()]
    assert quantile_bins(values, num_bins).tolist() == expected


@given(
    arrays(np.float64, st.integers(2, 40), elements=st.sampled_from([0.0, 1.0, 2.0]))
)
def test_ties_share_a_bin_and_bins_ascend_with_value(values):
    bins = quantile_bins(values, 7)
    order = np.argsort(values, kind="stable")
    assert (np.diff(bins[order]) >= 0).all()
    for value in np.unique(values):
        assert len(np.unique(bins[values == value])) == 1


@given(arrays(np.float64, 30, elements=FINITE), st.permutations(range(30)))
def test_order_only_relabels(values, order):
    assert (quantile_bins(values[order], 5) == quantile_bins(values, 5)[order]).all()


def test_empty_values_give_empty_bins():
    assert quantile_bins(np.empty((0, 3))).shape == (0, 3)


def test_nan_is_refused():
    with pytest.raises(MeasureError, match="hold NaN or infinity"):
        quantile_bins(np.array([1.0, np.nan]))


@pytest.mark.parametrize("num_bins", [0, 40000])
def test_impossible_number_of_bins_is_refused(num_bins):
    with pytest.raises(MeasureError, match="from 1 to 32767"):
        quantile_bins(np.ones(3), num_bins)


@pytest.mark.parametrize("many", [100, 640])
@pytest.mark.parametrize("kind", ["normal", "few values", "zeros", "one huge"])
def test_many_numbers_fall_into_the_same_bins_as_few(monkeypatch, many, kind):
    draw = np.random.default_rng(many)
    values = np.abs(draw.normal(size=1000)).astype(np.float32)
    match kind:
        case "few values":
            values = np.round(values, 1)
        case "zeros":
            values[draw.random(1000) < 0.6] = 0
        case "one huge":
            values[17] = np.finfo(np.float32).max
    wanted = [quantile_bins(values, num_bins) for num_bins in (2, 40, 999)]
    monkeypatch.setattr(bins, "_MANY", many)
    for number, num_bins in enumerate((2, 40, 999)):
        found = quantile_bins(values.reshape(40, 25), num_bins)
        assert np.array_equal(found.reshape(-1), wanted[number])
        assert found.dtype == np.int16


def test_many_numbers_with_a_sign_are_sorted_as_well(monkeypatch):
    values = np.random.default_rng(0).normal(size=500).astype(np.float32)
    wanted = quantile_bins(values)
    monkeypatch.setattr(bins, "_MANY", 64)
    assert np.array_equal(quantile_bins(values), wanted)
