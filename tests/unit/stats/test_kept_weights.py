"""Do weights that were kept from moving count nowhere in what is said of the others?"""

import numpy as np
import pytest

from driftmap.core.places import Site
from driftmap.stats.bins import quantile_bins
from driftmap.stats.evidence import DrawPlan, matrix_evidence
from driftmap.stats.kept import kept_share
from driftmap.stats.permutation import (
    draw_moves,
    orders_among,
    permutation_p,
    permuted_sums,
)
from driftmap.stats.ratios import group_ratios, immobile_share

ROWS, COLUMNS = 8, 6
SITE = Site(path="m.up", layer=0, part="up", num_rows=ROWS, num_columns=COLUMNS)
HEADS = Site(
    path="m.q", layer=0, part="q", num_rows=ROWS, num_columns=COLUMNS, head_size=4
)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def matrix(rng, share=0.3):
    """Sizes, drift and what can move: 0 drift where nothing can."""
    sizes, drift = rng.random((2, ROWS, COLUMNS)) + 0.1
    mobile = rng.random((ROWS, COLUMNS)) > share
    return sizes, np.where(mobile, drift, 0), mobile


def picked(rng, number=12):
    return np.sort(rng.permutation(ROWS * COLUMNS)[:number])


def test_sums_match_a_loop_over_weights_that_can_move(rng):
    sizes, drift, mobile = matrix(rng)
    groups = {"top": picked(rng), "utility": picked(rng), "random": picked(rng)}
    plan = DrawPlan(seed=0, num_permutations=9, num_bins=3, controls={"random"})
    found = matrix_evidence(SITE, sizes, [drift], groups, plan, mobile)
    bins, d, moving = quantile_bins(sizes, 3).ravel(), drift.ravel(), mobile.ravel()
    declared = {*groups["top"].tolist(), *groups["utility"].tolist()}
    for name, index in groups.items():
        members = [w for w in index.tolist() if moving[w]]
        expected = observed = residual = 0.0
        for weight in members:
            alike = [w for w in range(d.size) if bins[w] == bins[weight] and moving[w]]
            outside = [w for w in alike if w not in declared]
            expected += np.mean(d[outside])
            observed += d[weight]
            residual += d[weight] / np.mean(d[alike]) - 1
        group = found.groups[name]
        assert group.observed == pytest.approx([observed], rel=1e-12)
        assert group.expected == pytest.approx([expected], rel=1e-12)
        assert group.residual == pytest.approx(residual, rel=1e-9)
        assert (group.num_members, group.num_kept) == (12, 12 - len(members))
        assert 0 < group.num_kept < 12


def test_drift_of_kept_weights_is_not_looked_at(rng):
    sizes, drift, mobile = matrix(rng)
    groups, plan = (
        {"top": picked(rng)},
        DrawPlan(seed=0, num_permutations=9, num_bins=2),
    )
    one, other = (
        matrix_evidence(SITE, sizes, [d], groups, plan, mobile).groups["top"]
        for d in (drift, np.where(mobile, drift, 100.0))
    )
    assert one.observed == other.observed
    assert one.residual == other.residual
    assert one.residual_draws.tolist() == other.residual_draws.tolist()


def test_nothing_kept_gives_the_ratio_of_before(rng):
    sizes, drift, _ = matrix(rng, share=0.0)
    groups, plan = (
        {"top": picked(rng)},
        DrawPlan(seed=0, num_permutations=0, num_bins=2),
    )
    all_move = np.ones((ROWS, COLUMNS), dtype=bool)
    with_mask = matrix_evidence(SITE, sizes, [drift], groups, plan, all_move)
    without = matrix_evidence(SITE, sizes, [drift], groups, plan)
    assert with_mask.groups["top"].observed == without.groups["top"].observed
    assert with_mask.groups["top"].expected == without.groups["top"].expected
    assert with_mask.groups["top"].residual == without.groups["top"].residual


@pytest.mark.parametrize("site", [SITE, HEADS])
def test_rows_and_columns_that_cannot_move_stay_out_of_draws(site, rng):
    mobile = np.ones((ROWS, COLUMNS), dtype=bool)
    mobile[[0, 5]], mobile[:, 3] = False, False
    moves = draw_moves(site, 50, 0, mobile)
    still = permuted_sums(~mobile * 1.0, moves, [np.flatnonzero(mobile)])
    assert not still.any()
    for orders, count in ((moves.rows, ROWS), (moves.columns, COLUMNS)):
        assert (np.sort(orders, axis=1) == np.arange(count)).all()
    assert (moves.rows[:, [0, 5]] == [0, 5]).all()
    assert len(np.unique(moves.rows, axis=0)) > 10


def test_heads_of_one_size_move_whole(rng):
    moving = np.array([True, True, False, True, True, False] * 3)
    orders = orders_among(moving, 6, 200, rng)
    head = orders[:, moving].reshape(200, 3, 4) // 6
    assert (head == head[:, :, :1]).all()
    assert len(np.unique(head[:, :, 0], axis=0)) == 6


def test_heads_of_two_sizes_lie_beside_each_other(rng):
    moving = np.array([True] * 4 + [True, False, True, False] + [True] * 4)
    orders = orders_among(moving, 4, 200, rng)
    for order in orders[:, moving]:
        heads = order // 4
        changes = (heads[1:] != heads[:-1]).sum()
        assert changes == 2


def test_draws_that_end_on_kept_weights_are_means_of_the_rest(rng):
    residuals = rng.normal(size=(ROWS, COLUMNS))
    mobile = rng.random((ROWS, COLUMNS)) > 0.4
    residuals[~mobile] = 0
    members = picked(rng)[mobile.ravel()[picked(rng)]]
    moves = draw_moves(SITE, 30, 0, mobile)
    sums = permuted_sums(residuals, moves, [members], mobile)[0]
    for draw, found in enumerate(sums):
        row, column = np.divmod(members, COLUMNS)
        landed = moves.rows[draw][row], moves.columns[draw][column]
        held = mobile[landed]
        expected = members.size * residuals[landed][held].mean() if held.any() else 0
        assert found == pytest.approx(expected)


def test_whole_group_kept_has_no_ratio_and_harms_no_other(rng):
    sizes, drift, _ = matrix(rng, share=0.0)
    top, other = np.arange(6), np.arange(20, 30)
    mobile = np.ones((ROWS, COLUMNS), dtype=bool)
    mobile.flat[top] = False
    drift.flat[top] = 0
    groups, plan = (
        {"top": top, "utility": other},
        DrawPlan(seed=0, num_permutations=19, num_bins=2),
    )
    evidence = [matrix_evidence(SITE, sizes, [drift], groups, plan, mobile)]
    assert not evidence[0].groups["top"].has_ratio
    assert evidence[0].groups["top"].residual_draws.tolist() == [0.0] * 19
    ratios = group_ratios(evidence, primary=None, seed=0)
    assert {ratio.group for ratio in ratios} == {"utility"}
    assert kept_share(evidence, "top") == 1
    assert kept_share(evidence, "utility") == immobile_share(evidence, "top") == 0
    assert kept_share(evidence, "absent") == 0


def test_kept_weights_are_left_out_and_counted(rng):
    sizes, drift, mobile = matrix(rng)
    groups, plan = (
        {"top": picked(rng)},
        DrawPlan(seed=0, num_permutations=19, num_bins=2),
    )
    evidence = [matrix_evidence(SITE, sizes, [drift], groups, plan, mobile)]
    (whole, *_) = group_ratios(evidence, primary="top", seed=0)
    kept = evidence[0].groups["top"].num_kept
    assert whole.left_out.num_immobile == kept
    assert whole.left_out.num_weights == 12 - whole.num_weights >= kept
    group = evidence[0].groups["top"]
    assert whole.null.observed == pytest.approx(1 + group.residual / (12 - kept))


@pytest.mark.slow
@pytest.mark.parametrize("way", ["element", "rows"])
@pytest.mark.parametrize("head_size", [None, 8])
def test_chance_is_called_a_finding_no_more_often_than_it_should(way, head_size):
    # Drift and group cluster in the same rows, columns and heads, each by itself.
    rng = np.random.default_rng(0)
    p_values = [p for _ in range(300) if (p := _null_p(rng, way, head_size))]
    assert np.mean(np.array(p_values) <= 0.05) < 0.09
    assert np.mean(np.array(p_values) <= 0.5) > 0.35


def _null_p(rng, way, head_size):
    """p of a group whose half is frozen, where drift knows nothing of it."""
    shape = (32, 24)
    site = Site(
        path="m.0",
        layer=0,
        part="q",
        num_rows=shape[0],
        num_columns=shape[1],
        head_size=head_size,
    )
    by_row, of_row = np.exp(rng.normal(size=(2, 32))) * np.repeat(
        np.exp(rng.normal(size=(2, 4))), 8, axis=1
    ) ** (head_size is not None)
    by_column, of_column = np.exp(rng.normal(size=(2, 24)))
    drift = by_row[:, None] * by_column * rng.random(shape)
    score = of_row[:, None] * of_column * rng.random(shape)
    top = np.sort(np.argsort(-score, axis=None)[:60])
    mobile = np.ones(shape, dtype=bool)
    frozen = rng.permutation(top)[:30]
    if way == "rows":
        mobile[np.unique(frozen // 24)] = False
    else:
        mobile.flat[frozen] = False
    plan = DrawPlan(seed=int(rng.integers(2**31)), num_permutations=99, num_bins=4)
    moved = np.where(mobile, drift, 0)
    found = matrix_evidence(
        site, rng.random(shape), [moved], {"top": top}, plan, mobile
    )
    group = found.groups["top"]
    if not group.num_mobile:
        return None
    return permutation_p(group.residual, group.residual_draws, group.num_mobile)
