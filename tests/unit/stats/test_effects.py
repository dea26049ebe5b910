import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from driftmap.core.errors import MeasureError
from driftmap.results.statistics import Summary
from driftmap.stats.effects import (
    cliffs_delta,
    cohens_d,
    effect_from_summaries,
    effect_label,
    effect_size,
    summary,
)

FEW = arrays(
    np.float64, st.integers(1, 15), elements=st.sampled_from([0.0, 0.5, 1.0, 2.0])
)


def test_cohens_d_golden_by_hand():
    effect = effect_size(
        ("top", np.array([1.0, 3.0])), ("random", np.array([0.0, 0.0, 3.0]))
    )
    assert effect.mean_difference == 1.0
    assert effect.median_difference == 2.0
    assert effect.cohens_d == pytest.approx(1 / ((1 + 2) / 2) ** 0.5)
    assert effect.label == "large"
    assert effect.cliffs_delta == 0.5
    assert effect.of_group == Summary(count=2, mean=2.0, std=1.0, median=2.0)
    assert (effect.group, effect.baseline, effect.metric) == (
        "top",
        "random",
        "absolute",
    )


def test_summaries_give_the_same_effect_but_for_cliffs_delta():
    group, other = np.array([1.0, 3.0]), np.array([0.0, 1.0, 3.0])
    full = effect_size(("a", group), ("b", other), "relative")
    short = effect_from_summaries(
        ("a", summary(group)), ("b", summary(other)), "relative"
    )
    assert short.cohens_d == full.cohens_d
    assert short.metric == "relative"
    assert short.cliffs_delta is None


@pytest.mark.parametrize(
    ("d", "label"),
    [
        (0.0, "negligible"),
        (-0.19, "negligible"),
        (0.2, "small"),
        (-0.49, "small"),
        (0.5, "medium"),
        (0.79, "medium"),
        (-0.8, "large"),
        (12.0, "large"),
    ],
)
def test_labels(d, label):
    assert effect_label(d) == label


def test_groups_that_do_not_vary_have_no_d():
    still = summary(np.ones(3))
    assert cohens_d(still, still) is None
    effect = effect_from_summaries(("a", still), ("b", still))
    assert (effect.cohens_d, effect.label) == (None, None)


@given(FEW, FEW)
def test_cliffs_delta_matches_counting_pairs(group, other):
    pairs = np.sign(group[:, None] - other)
    assert cliffs_delta(group, other) == pytest.approx(pairs.mean(), abs=1e-15)


@given(FEW, FEW)
def test_cliffs_delta_turns_its_sign_with_the_sides(group, other):
    assert cliffs_delta(group, other) == -cliffs_delta(other, group)


def test_exact_zeros_tie():
    assert cliffs_delta(np.zeros(5), np.zeros(9)) == 0.0


@pytest.mark.parametrize("sides", [(0, 1), (1, 0)])
def test_empty_side_is_refused(sides):
    with pytest.raises(MeasureError, match="was any of it tuned"):
        cliffs_delta(np.ones(sides[0]), np.ones(sides[1]))
    with pytest.raises(MeasureError, match="was any of it tuned"):
        summary(np.empty(0))


def test_nan_is_refused():
    with pytest.raises(MeasureError, match="a drift is NaN"):
        cliffs_delta(np.array([np.nan]), np.ones(2))
