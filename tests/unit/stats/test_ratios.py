import numpy as np
import pytest

from driftmap.core.errors import MeasureError
from driftmap.core.places import Site
from driftmap.results.evidence import GroupEvidence, MatrixEvidence
from driftmap.stats.evidence import DrawPlan, matrix_evidence
from driftmap.stats.ratios import group_ratios, immobile_share
from laws.statistics import random_study


def member(observed, expected, **changed):
    numbers = {
        "num_members": 10,
        "num_weights": 8,
        "num_left_out_bins": 1,
        "observed": np.array(observed, dtype=float),
        "expected": np.array(expected, dtype=float),
        "log_bias": np.zeros(len(observed)),
        "residual": 5.0,
        "residual_draws": np.array([0.0, 1.0, -1.0]),
        "residual_variance": 4.0,
    }
    return GroupEvidence(**(numbers | changed))


def matrix(part, layer, groups, *, num_seeds=2, is_mobile=True):
    path = f"layers.{layer}.{part}"
    return MatrixEvidence(
        site=Site(path=path, layer=layer, part=part, num_rows=4, num_columns=4),
        num_seeds=num_seeds,
        is_mobile=is_mobile,
        groups=groups,
    )


def study_ratios(seed, *, scale=1.0, num_permutations=99, **study):
    plan = DrawPlan(seed=seed, num_permutations=num_permutations, num_bins=10)
    evidence = [
        matrix_evidence(
            m.site, m.magnitudes, [scale * d for d in m.drifts], m.groups, plan
        )
        for m in random_study(seed, **study)
    ]
    return group_ratios(evidence, primary="top", seed=seed)


def test_golden_by_hand():
    evidence = [
        matrix("q", 0, {"top": member([2, 4], [1, 1])}),
        matrix("up", 1, {"top": member([8, 4], [1, 1])}),
        matrix("up", 2, {"top": member([0, 0], [0, 0])}, is_mobile=False),
    ]
    whole, *rest = group_ratios(evidence, primary="top", seed=0)
    assert whole.thetas == pytest.approx([np.log(16) / 2, np.log(16) / 2])
    assert whole.rho == pytest.approx(4)
    assert (whole.is_primary, whole.layer, whole.part) == (True, None, None)
    assert (whole.num_matrices, whole.num_weights) == (2, 16)
    assert whole.left_out.num_matrices == 1
    assert whole.left_out.num_bins == 3
    assert whole.left_out.num_weights == 14
    assert whole.left_out.num_immobile == 10
    assert (whole.p_value, whole.num_permutations) == (0.25, 3)
    assert whole.p_adjusted is None
    assert whole.null.observed == 1.5
    assert whole.null.ratios == pytest.approx((1.0, 1.1, 0.9))
    assert whole.null.closed_form_sd == pytest.approx(8**0.5 / 20)
    assert [(r.layer, r.part) for r in rest] == [
        (0, None),
        (1, None),
        (None, "q"),
        (None, "up"),
    ]
    assert [r.null for r in rest] == [None] * 4
    assert rest[2].thetas == pytest.approx([np.log(2), np.log(4)])
    assert rest[2].interval90.num == 2
    low = rest[2].interval90.low
    assert low == pytest.approx(
        np.exp(np.log(8) / 2 - 6.3138 * np.log(2) / 2), rel=1e-4
    )


def test_chance_is_taken_out_of_every_log_ratio_and_reported():
    biased = [np.log([0.5, 0.25]), np.log([0.25, 0.5])]
    evidence = [
        matrix("q", 0, {"top": member([2, 4], [1, 1], log_bias=biased[0])}),
        matrix("up", 1, {"top": member([8, 4], [1, 1], log_bias=biased[1])}),
    ]
    (whole, *_) = group_ratios(evidence, primary="top", seed=0)
    assert whole.thetas == pytest.approx([np.log(4 * 32) / 2, np.log(16 * 8) / 2])
    assert np.exp(whole.log_bias) == pytest.approx(0.125**0.5)


def test_primary_group_comes_first_and_the_others_stay_in_order():
    groups = {name: member([2, 2], [1, 1]) for name in ("utility", "top", "random")}
    ratios = group_ratios([matrix("q", 0, groups)], primary="top", seed=0)
    assert [r.group for r in ratios if r.layer is None and r.part is None] == [
        "top",
        "utility",
        "random",
    ]
    assert [r.is_primary for r in ratios] == [True] + [False] * 8


def test_description_only_has_no_primary_and_no_p_value():
    groups = {"top": member([2, 2], [1, 1], residual_draws=np.empty(0))}
    (whole, *_) = group_ratios([matrix("q", 0, groups)], primary=None, seed=0)
    assert (whole.is_primary, whole.p_value, whole.null) == (False, None, None)


def test_one_seed_has_a_ratio_but_no_interval():
    groups = {"top": member([2], [1])}
    evidence = [matrix("q", 0, groups, num_seeds=1)]
    (whole, *_) = group_ratios(evidence, primary="top", seed=0)
    assert whole.rho == pytest.approx(2)
    assert (whole.interval90, whole.interval95, whole.bootstrap95) == (None,) * 3


def test_ratio_ignores_the_scale_of_the_drift():
    one, other = study_ratios(0, num_seeds=2), study_ratios(0, num_seeds=2, scale=1e-6)
    for a, b in zip(one, other, strict=True):
        assert a.thetas == pytest.approx(b.thetas, rel=1e-9, abs=1e-12)
        assert a.p_value == b.p_value


def test_planted_factor_is_found():
    null, planted = study_ratios(1, num_seeds=3), study_ratios(1, num_seeds=3, factor=2)
    before, after = null[0], planted[0]
    assert after.rho == pytest.approx(2 * before.rho, rel=0.01)
    plain = [r.rho * np.exp(r.log_bias) for r in (before, after)]
    assert plain[1] == pytest.approx(2 * plain[0])
    assert planted[0].p_value == 0.01


def test_drift_that_follows_weight_size_is_no_ratio():
    rho = [
        study_ratios(s, follows_weight=1.0, num_permutations=0)[0].rho for s in range(9)
    ]
    unmatched = [
        np.mean(
            [
                m.drifts[0].flat[m.groups["top"]].mean() / m.drifts[0].mean()
                for m in random_study(s, follows_weight=1.0)
            ]
        )
        for s in range(9)
    ]
    assert np.median(unmatched) > 1.6
    assert 0.75 < np.median(rho) < 1.1


def test_no_matrix_is_refused():
    with pytest.raises(MeasureError, match="no matrix was compared"):
        group_ratios([], primary=None, seed=0)


def test_matrices_under_other_seeds_are_refused():
    evidence = [
        matrix("q", 0, {"top": member([1, 1], [1, 1])}),
        matrix("k", 0, {"top": member([1], [1])}, num_seeds=1),
    ]
    with pytest.raises(MeasureError, match=r"layers\.0\.k has another number of"):
        group_ratios(evidence, primary=None, seed=0)


@pytest.mark.parametrize("primary", ["top", "absent"])
def test_primary_group_without_ratio_is_refused(primary):
    evidence = [matrix("q", 0, {"top": member([0, 0], [1, 1])})]
    with pytest.raises(MeasureError, match=f"group '{primary}' has no matrix in which"):
        group_ratios(evidence, primary=primary, seed=0)


def test_immobile_share_counts_weights_where_nothing_was_tuned():
    evidence = [
        matrix("q", 0, {"top": member([2, 2], [1, 1], num_members=30)}),
        matrix("k", 0, {"top": member([0, 0], [0, 0])}, is_mobile=False),
    ]
    assert immobile_share(evidence, "top") == 0.25
    assert immobile_share(evidence, "absent") == 0.0
