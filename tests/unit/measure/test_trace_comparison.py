"""Are profiles and their likeness what the formulas say, and free of constants?"""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import distance
from scipy.stats import pearsonr, spearmanr, wasserstein_distance

from driftmap.core.errors import MeasureError
from driftmap.measure.trace_comparison import compare_traces
from made_profiles import fact, grid

ROWS = np.array([[0.1, 0.5, 0.9, 0.3], [0.2, 0.8, 0.3, 0.05], [0.9, 0.4, 0.2, 0.1]])


def compared(grids, facts=None, **more):
    facts = facts or [fact(f"f{n}") for n in range(len(grids))]
    return compare_traces(grids, facts, [(n,) for n in range(len(grids))], **more)


def test_a_profile_by_hand():
    found = compared([grid(row) for row in ROWS]).profiles[0]
    assert np.allclose(found.effect, [[0, 0.5, 1, 0.25]])
    assert found.peak_layer == 2
    assert found.centre == pytest.approx((0.5 + 2 + 0.75) / 1.75)
    assert (found.token, found.total_effect) == (" Lovelace", pytest.approx(0.8))


def test_every_measure_equals_an_independent_one():
    found = compared([grid(row) for row in ROWS])
    effects = (ROWS - 0.1) / 0.8
    part = np.maximum(effects, 0)
    layers = np.arange(4)
    z = (ROWS - ROWS.mean(1, keepdims=True)) / ROWS.std(1, keepdims=True)
    for i in range(3):
        for j in range(3):
            a, b = ROWS[i], ROWS[j]
            expected = {
                "cosine": 1 - distance.cosine(a, b),
                "euclid": distance.euclidean(a, b),
                "manhattan": distance.cityblock(a, b),
                "chebyshev": distance.chebyshev(a, b),
                "minkowski 3": distance.minkowski(a, b, 3),
                "z pearson": pearsonr(a, b)[0],
                "z spearman": spearmanr(a, b)[0],
                "z mse": ((z[i] - z[j]) ** 2).mean(),
                "z dtw": warped(z[i], z[j]),
            }
            assert {n: m[i, j] for n, m in found.compat.items()} == pytest.approx(
                expected, abs=1e-6
            )
            moved = wasserstein_distance(layers, layers, part[i], part[j])
            assert found.earth_mover[i, j] == pytest.approx(moved)
            assert found.pearson[i, j] == pytest.approx(pearsonr(a, b)[0])


def warped(a, b):
    def cost(i, j):
        if i < 0 or j < 0:
            return 0.0 if i == j == -1 else np.inf
        best = min(cost(i - 1, j), cost(i, j - 1), cost(i - 1, j - 1))
        return abs(a[i] - b[j]) + best

    return cost(len(a) - 1, len(b) - 1)


@settings(max_examples=15)
@given(st.floats(-0.5, 0.5), st.integers(0, 99))
def test_a_constant_added_everywhere_changes_nothing(constant, seed):
    rows = np.random.default_rng(seed).random((3, 5))
    before = compared([grid(row) for row in rows])
    shifted = [
        grid(r + constant, low=0.1 + constant, high=0.9 + constant) for r in rows
    ]
    after = compared(shifted)
    for one, other in zip(before.profiles, after.profiles, strict=True):
        assert np.allclose(one.effect, other.effect)
        assert one.peak_layer == other.peak_layer
    assert np.allclose(before.pearson, after.pearson)
    assert np.allclose(before.earth_mover, after.earth_mover)
    assert np.allclose(before.centres, after.centres)


def test_a_constant_on_cells_and_low_alone_changes_no_summary():
    before = compared([grid(row) for row in ROWS])
    after = compared([grid(row + 0.2, low=0.3) for row in ROWS])
    assert np.allclose(before.pearson, after.pearson)
    assert np.allclose(before.earth_mover, after.earth_mover)
    assert np.array_equal(before.peaks, after.peaks)
    cosine = "cosine"
    assert not np.allclose(before.compat[cosine], after.compat[cosine], atol=1e-3)


@settings(max_examples=15)
@given(st.integers(0, 99))
def test_a_prompt_is_like_itself(seed):
    rows = np.random.default_rng(seed).random((4, 6))
    found = compared([grid(row) for row in rows])
    assert np.allclose(np.diag(found.pearson), 1)
    assert np.allclose(np.diag(found.earth_mover), 0)
    assert np.array_equal(found.pearson, found.pearson.T) or np.allclose(
        found.pearson, found.pearson.T
    )


def test_prompts_without_a_profile_are_counted_by_reason():
    ends = (("first subject",), ("last subject", "last"))
    grids = [
        grid(ROWS[0]),
        grid(ROWS[0], known=False),
        grid(ROWS[0], high=0.14),
        grid(ROWS[0], low=0.9, high=0.1),
        grid(ROWS[0], roles=ends),
    ]
    found = compared(grids, row="first later")
    assert len(found.profiles) == 1
    assert (found.refused.unknown, found.refused.weak, found.refused.no_row) == (
        1,
        2,
        1,
    )
    assert found.refused.num == 4


def test_a_flat_profile_has_no_likeness():
    found = compared([grid(np.full(4, 0.1)), grid(ROWS[0])])
    assert np.isnan(found.pearson).tolist() == [[True, True], [True, False]]
    assert np.isnan(found.earth_mover[0, 1])
    assert found.profiles[0].peak_layer is None


def test_whole_grids_are_compared_over_roles_that_both_have():
    rng = np.random.default_rng(3)
    long, short = rng.random((5, 4)), rng.random((2, 4))
    ends = (("first subject",), ("last subject", "last"))
    grids = [
        grid(long[2], other=long),
        grid(short[1], other=short, roles=ends),
    ]
    found = compared(grids, row="all roles")
    expected = pearsonr(
        np.concatenate([long[1], long[2], long[4]]),
        np.concatenate([short[0], short[1], short[1]]),
    )[0]
    assert found.pearson[0, 1] == pytest.approx(expected)
    assert found.compat == {}
    assert np.isnan(found.profiles[0].effect[1]).all()


def test_a_reversed_prompt_belongs_to_the_subject_of_its_fact():
    facts = [
        fact("a", "f", subject="Ada"),
        fact("b", "f", subject="Rome", answer="Ada", back=True),
    ]
    found = compared([grid(ROWS[0]), grid(ROWS[1], answer="Ada")], facts)
    assert [p.subject for p in found.profiles] == ["Ada", "Ada"]
    assert [p.named for p in found.profiles] == ["Ada", "Rome"]


def test_several_tokens_of_a_role_are_averaged():
    roles = (("first subject",), ("middle subject",), ("middle subject",),
             ("last subject",), ("last",))  # fmt: skip
    other = np.random.default_rng(0).random((5, 4))
    found = compared([grid(ROWS[0], other=other, roles=roles)], row="middle subject")
    assert np.allclose(found.profiles[0].score[0], other[1:3].mean(axis=0))


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(MeasureError, match="there is no trace to compare"):
        compare_traces([], [], [])
    other = replace(grid(ROWS[0]), kind="mlp", window=10)
    with pytest.raises(MeasureError, match="traces of different kinds, windows"):
        compared([grid(ROWS[0]), other])
    with pytest.raises(MeasureError, match=r"no prompt has a profile .* 1 are unknown"):
        compared([grid(ROWS[0], known=False)])
