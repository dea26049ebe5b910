from dataclasses import replace

import numpy as np
import pytest

from driftmap.core.errors import MeasureError
from driftmap.core.places import Site
from driftmap.stats.bins import quantile_bins
from driftmap.stats.evidence import DrawPlan, matrix_evidence
from laws.statistics import random_study, small_sites

PLAN = DrawPlan(seed=0, num_permutations=19, num_bins=2)
SITE = Site(path="m.up", layer=0, part="up", num_rows=2, num_columns=4)
WEIGHTS = np.array([[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]])
DRIFT = np.array([[2.0, 1.0, 1.0, 4.0], [8.0, 2.0, 3.0, 3.0]])
TOP = np.array([0, 4])


def evidence(drifts=(DRIFT,), weights=WEIGHTS, groups=None, plan=PLAN):
    return matrix_evidence(SITE, weights, drifts, groups or {"top": TOP}, plan)


def test_golden_by_hand():
    top = evidence().groups["top"]
    assert top.observed.tolist() == [10.0]
    assert top.expected == pytest.approx([6 / 3 + 8 / 3])
    assert top.residual == pytest.approx((2 / 2 - 1) + (8 / 4 - 1))
    spread = DRIFT / [[2], [4]]
    assert top.residual_variance == pytest.approx(spread.var(axis=1).sum())
    assert (top.num_members, top.num_weights, top.num_left_out_bins) == (2, 2, 0)
    assert top.residual_draws.shape == (19,)
    assert top.has_ratio


def test_residuals_are_averaged_over_seeds_whatever_the_size_of_their_drift():
    one, two = DRIFT, np.flip(DRIFT).copy()
    both = evidence((one, two)).groups["top"]
    singles = [evidence((d,)).groups["top"] for d in (one, two)]
    assert both.residual == pytest.approx(np.mean([s.residual for s in singles]))
    assert both.observed.tolist() == [s.observed[0] for s in singles]
    scaled = evidence((one, 1000 * two)).groups["top"]
    assert scaled.residual == pytest.approx(both.residual)
    assert scaled.residual_draws == pytest.approx(both.residual_draws)


def test_log_bias_is_that_of_the_ratios_under_permutation():
    found = evidence((DRIFT, np.flip(DRIFT).copy())).groups["top"]
    one = evidence().groups["top"]
    ratios = 1 + one.residual_draws / 2
    assert one.log_bias == [np.log(ratios).mean() - np.log(ratios.mean())]
    assert one.log_bias[0] < 0
    assert found.log_bias[0] == one.log_bias[0] != found.log_bias[1]


def test_drifts_are_taken_one_by_one():
    lazy = evidence(drift for drift in (DRIFT, DRIFT))
    assert lazy.num_seeds == 2


def test_float32_weights_give_the_same_bins():
    narrow = evidence(weights=WEIGHTS.astype(np.float32)).groups["top"]
    assert narrow.residual == evidence().groups["top"].residual


def test_matrix_that_one_seed_left_unchanged_is_immobile():
    still = evidence((DRIFT, np.zeros_like(DRIFT)))
    top = still.groups["top"]
    assert not still.is_mobile
    assert not top.has_ratio
    assert top.residual == 0.0
    assert not top.residual_draws.any()


def test_group_that_did_not_move_has_no_ratio():
    drift = DRIFT.copy()
    drift.flat[TOP] = 0
    found = evidence((drift,))
    assert found.is_mobile
    assert not found.groups["top"].has_ratio


def test_bin_that_did_not_move_has_no_residual():
    drift = DRIFT.copy()
    drift[0] = 0
    found = evidence((drift,)).groups["top"]
    assert found.residual == 8 / 4 - 1
    assert np.isfinite(found.residual_draws).all()


def test_residuals_do_not_grow_with_the_size_of_the_weights():
    by_size = np.where(WEIGHTS > 4, 1000 * DRIFT, DRIFT)
    one, other = evidence().groups["top"], evidence((by_size,)).groups["top"]
    assert other.residual == pytest.approx(one.residual)
    assert other.residual_draws == pytest.approx(one.residual_draws)


def test_declared_groups_are_no_controls_but_drawn_ones_are():
    groups = {"top": TOP, "utility": np.array([3]), "random": np.array([1, 4, 5])}
    plan = replace(PLAN, controls={"random"})
    found = evidence(groups=groups, plan=plan).groups
    first, second = (1 + 1) / 2, (2 + 3 + 3) / 3
    assert found["top"].expected == pytest.approx([first + second])
    assert found["random"].expected == pytest.approx([first + 2 * second])
    assert found["random"].observed == [1 + 8 + 2]
    strict = evidence(groups=groups).groups["top"]
    assert strict.expected == [1 + (3 + 3) / 2]


def test_empty_group_is_not_listed():
    groups = {"top": TOP, "empty": np.empty(0, dtype=np.int64)}
    assert list(evidence(groups=groups).groups) == ["top"]


def test_no_group_at_all_is_no_evidence():
    groups = {"empty": np.empty(0, dtype=np.int64)}
    assert evidence(groups=groups).groups == {}


def test_no_permutations_give_no_draws():
    plan = DrawPlan(seed=0, num_permutations=0, num_bins=2)
    found = evidence(plan=plan).groups["top"]
    assert found.residual_draws.size == 0
    assert found.log_bias == [0.0]


def test_sums_match_a_loop_over_weights():
    plan = DrawPlan(seed=0, num_permutations=1, num_bins=7)
    (matrix,) = [m for m in random_study(3) if m.site == small_sites()[0]]
    found = matrix_evidence(
        matrix.site, matrix.magnitudes, matrix.drifts, matrix.groups, plan
    ).groups["top"]
    bins, drift = quantile_bins(matrix.magnitudes, 7).ravel(), matrix.drifts[0].ravel()
    members = set(matrix.groups["top"].tolist())
    expected = residual = 0.0
    for weight in members:
        alike = [w for w in range(drift.size) if bins[w] == bins[weight]]
        expected += np.mean([drift[w] for w in alike if w not in members])
        residual += drift[weight] / np.mean(drift[alike]) - 1
    assert found.expected == pytest.approx([expected], rel=1e-12)
    assert found.residual == pytest.approx(residual, rel=1e-12)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -1.0])
def test_impossible_drift_names_the_matrix(bad):
    drift = DRIFT.copy()
    drift[0, 0] = bad
    with pytest.raises(MeasureError, match=r"m\.up: a drift is negative, NaN or inf"):
        evidence((drift,))


def test_nan_weight_names_the_matrix():
    weights = WEIGHTS.copy()
    weights[0, 0] = np.nan
    with pytest.raises(MeasureError, match=r"m\.up: the values to bin hold NaN"):
        evidence(weights=weights)


def test_drift_of_another_shape_is_refused():
    with pytest.raises(MeasureError, match=r"m\.up: drift of shape \(4, 2\)"):
        evidence(iter((DRIFT.T.copy(),)))


def test_no_seed_is_refused():
    with pytest.raises(MeasureError, match=r"m\.up: no drift was given"):
        evidence(())
