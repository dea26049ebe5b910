"""Does every selection rule take exactly the weights that its definition names?"""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from driftmap.core.errors import MeasureError
from driftmap.core.places import Site
from driftmap.measure.select import (
    difference,
    matched,
    overlap,
    random_weights,
    ranked,
    top,
)
from driftmap.stats.bins import quantile_bins


def site(rows, columns, path="map"):
    return Site(path=path, layer=0, part="q", num_rows=rows, num_columns=columns)


SITE = site(6, 7)
SHARES = st.floats(0, 1)
SCORES = st.lists(
    st.sampled_from([0.0, 1e-40, 0.5, 1.0, 2.0, 3e38]), min_size=42, max_size=42
)


def scores(values):
    return {SITE: torch.tensor(values).reshape(6, 7)}


def sorted_top(values, count):
    """First `count` by score descending, then index ascending."""
    values = np.asarray(values, dtype=np.float32)
    order = np.lexsort((np.arange(values.size), -values))
    return np.sort(order[:count])


@settings(max_examples=100, deadline=None)
@given(values=SCORES, share=SHARES)
def test_top_equals_a_sort_with_ties_by_index(values, share):
    wanted = sorted_top(values, max(1, int(share * 42)))
    assert np.array_equal(top(scores(values), share)[SITE], wanted)


@pytest.mark.parametrize("share", [0.0005, 0.01, 0.3, 1.0])
@pytest.mark.parametrize("stripes", [False, True])
def test_top_of_a_large_matrix_equals_a_sort(monkeypatch, share, stripes):
    monkeypatch.setattr(ranked, "_SAMPLE_SIZE", 64)
    large = site(100, 100)
    values = torch.rand(100, 100, generator=torch.Generator().manual_seed(1))
    values = (values * 50).round() if not stripes else values * (torch.arange(100) == 3)
    found = top({large: values}, share)[large]
    assert np.array_equal(found, sorted_top(values.flatten(), max(1, int(share * 1e4))))


def test_top_counts_as_the_published_sets_do():
    shapes = [(4096, 4096)] * 4 + [(11008, 4096)] * 2 + [(4096, 11008)]
    count = 32 * sum(
        ranked.Cut(share=0.001).count(site(*shape).num_weights) for shape in shapes
    )
    assert count == 6_475_904


def test_top_takes_at_least_one_and_the_first_of_equals():
    assert top(scores([1.0] * 42), 0.0)[SITE].tolist() == [0]
    assert top(scores([0.0] * 42), 0.1)[SITE].tolist() == [0, 1, 2, 3]


@settings(max_examples=100, deadline=None)
@given(behaviour=SCORES, utility=SCORES, p=SHARES, q=SHARES)
def test_difference_is_inside_q_and_outside_u(behaviour, utility, p, q):
    found = difference(scores(behaviour), scores(utility), p=p, q=q)[SITE]
    Q = set(sorted_top(behaviour, int(q * 42)).tolist())
    U = set(sorted_top(utility, int(p * 42)).tolist())
    assert found.tolist() == sorted(Q - U)
    assert found.dtype == np.int64


def test_difference_with_p_zero_is_the_top_and_with_q_zero_is_empty():
    values = torch.rand(42).tolist()
    kept = difference(scores(values), scores(values), p=0, q=0.5)
    assert np.array_equal(kept[SITE], top(scores(values), 0.5)[SITE])
    assert difference(scores(values), scores(values), p=0.1, q=0)[SITE].size == 0
    assert difference(scores(values), scores(values), p=0.5, q=0.5)[SITE].size == 0


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -1e-9])
def test_damaged_scores_name_the_matrix(bad):
    values = [1.0] * 42
    values[17] = bad
    with pytest.raises(MeasureError, match=r"^map: a score is negative or not finite"):
        top(scores(values), 0.1)
    with pytest.raises(MeasureError, match=r"^map: a score is negative"):
        difference(scores([1.0] * 42), scores(values), p=0, q=0.1)


@pytest.mark.parametrize("share", [-0.1, 1.5, float("nan")])
def test_a_share_that_is_none_is_refused(share):
    with pytest.raises(MeasureError, match=r"a share of .* is none"):
        top(scores([1.0] * 42), share)
    with pytest.raises(MeasureError, match=r"a share of .* is none"):
        random_weights([SITE], share, 0)


def test_difference_needs_both_scores():
    other = {site(6, 7, "other"): torch.ones(6, 7)}
    with pytest.raises(MeasureError, match=r"^map has only one of the two scores"):
        difference(scores([1.0] * 42), other, p=0.1, q=0.1)


def test_random_has_the_count_and_ignores_the_visiting_order():
    sites = [site(6, 7, f"map.{n}") for n in range(5)]
    found = random_weights(sites, 0.25, 3)
    again = random_weights(sites[::-1], 0.25, 3)
    for one in sites:
        index = found[one]
        assert index.dtype == np.int64
        assert index.size == np.unique(index).size == 10
        assert index.min() >= 0
        assert index.max() < 42
        assert np.array_equal(index, np.sort(index))
        assert np.array_equal(index, again[one])
    assert not np.array_equal(found[sites[0]], found[sites[1]])
    other_seed = random_weights(sites, 0.25, 4)
    assert not np.array_equal(found[sites[0]], other_seed[sites[0]])


def test_random_is_uniform():
    counts = np.zeros(42)
    for seed in range(2000):
        counts[random_weights([SITE], 0.1, seed)[SITE]] += 1
    expected = 2000 * 4 / 42
    assert np.abs(counts - expected).max() < 5 * np.sqrt(expected)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000), share=st.floats(0.01, 0.2))
def test_matched_has_equal_bin_counts_and_meets_no_declared_group(seed, share):
    large = site(40, 50)
    draw = np.random.default_rng(seed)
    magnitudes = np.abs(draw.normal(size=(40, 50)))
    group, other, frozen = (
        random_weights([large], share, seed + n)[large] for n in range(3)
    )
    excluded = [{large: other}, {large: frozen}]
    found = matched({large: group}, lambda _: magnitudes, excluded, seed)
    index = found.members[large]
    bins = quantile_bins(magnitudes.reshape(-1))
    missing = np.bincount(bins[group], minlength=40) - np.bincount(
        bins[index], minlength=40
    )
    assert (missing >= 0).all()
    assert {s.bin_index: s.num_wanted - s.num_found for s in found.shortfalls} == {
        b: missing[b] for b in np.flatnonzero(missing)
    }
    for taken in (group, other, frozen):
        assert not np.intersect1d(index, taken).size
    assert index.size == np.unique(index).size
    again = matched({large: group}, lambda _: magnitudes, excluded, seed)
    assert np.array_equal(index, again.members[large])


def test_short_bins_are_reported_and_not_refilled():
    small = site(8, 10)
    magnitudes = np.arange(80.0)
    group = np.array([0, 1, 20])
    found = matched({small: group}, lambda _: magnitudes, [], 0)
    assert found.members[small].tolist() == [21]
    (short,) = found.shortfalls
    assert (short.site, short.bin_index) == (small, 0)
    assert (short.num_wanted, short.num_found) == (2, 0)


def test_matched_of_an_empty_group_is_empty():
    found = matched({SITE: np.empty(0, dtype=np.int64)}, lambda _: np.ones(42), [], 0)
    assert found.members[SITE].size == 0
    assert found.members[SITE].dtype == np.int64
    assert not found.shortfalls


def test_overlap_pools_counts_and_skips_empty_matrices():
    a, b, c = site(4, 4, "a"), site(4, 4, "b"), site(4, 4, "c")
    nothing = np.empty(0, dtype=np.int64)
    found = overlap(
        {a: np.array([0, 1, 2]), c: nothing}, {a: np.array([2, 3]), b: np.array([5])}
    )
    assert found.by_site == {a: 0.25, b: 0.0}
    assert found.pooled == 0.2


def test_overlap_of_a_group_with_itself_is_one():
    group = random_weights([SITE], 0.3, 0)
    assert overlap(group, group).pooled == 1.0


def test_two_empty_groups_have_no_overlap():
    with pytest.raises(MeasureError, match="two empty groups have no overlap"):
        overlap({}, {})
