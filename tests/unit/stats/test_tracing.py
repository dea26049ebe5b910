import numpy as np
import pytest
from scipy.stats import pearsonr, spearmanr

from driftmap.core.errors import MeasureError
from driftmap.results.trace_kinds import ROLES
from driftmap.stats.tracing import agreement, role_effects, screen_agreement
from made_traces import made_grid


def made_facts(num=12, *, seed=0, layers=3, rise=0.0):
    """Facts of different lengths; two of each subject."""
    draw = np.random.default_rng(seed)
    grids, subjects = [], []
    for number in range(num):
        begin, long, later = (int(draw.integers(0, 4)) for _ in range(3))
        end = begin + 1 + long
        effects = draw.normal(rise, 0.1, size=(end + later, layers))
        grids.append(made_grid(effects, (begin, end), name=f"f{number}"))
        subjects.append(f"s{number // 2}")
    return grids, subjects


def effect_of(found, role, layer):
    return next(c.effect for c in found.cells if (c.role, c.layer) == (role, layer))


def best_of(found, role):
    return next(one for one in found.best if one.role == role)


def two_facts():
    long = made_grid(
        [[0.0, 0.9], [0.1, 0.2], [0.3, 0.6], [0.5, 0.2], [0.4, 0.5], [0.0, 0.7]],
        (1, 5),
        name="long",
    )
    short = made_grid([[0.2, 0.1], [0.6, 0.4]], (0, 2), low=0.4, name="short")
    return [long, short]


def test_averages_worked_by_hand():
    found = role_effects(two_facts(), ["one", "two"], seed=0)
    # roles of two subjects alone: first, last of the subject and last of all
    assert {cell.role for cell in found.cells} == {
        "first subject",
        "last subject",
        "last",
    }
    assert effect_of(found, "first subject", 0).estimate == pytest.approx(0.15)
    assert effect_of(found, "last subject", 1).estimate == pytest.approx(0.45)
    assert effect_of(found, "last", 1).estimate == pytest.approx(0.55)
    last = best_of(found, "last")
    assert (last.layer, last.num) == (1, 2)
    assert last.effect == pytest.approx(0.55)
    assert last.mean_of_maxima == pytest.approx((0.7 + 0.6) / 2)
    assert found.total_effect.estimate == pytest.approx((0.8 + 0.5) / 2)
    assert found.total_effect.num == 2
    assert (found.high, found.low) == (pytest.approx(0.9), pytest.approx(0.25))


def test_a_fact_counts_once_unless_its_rows_are_pooled():
    grids = [*two_facts(), made_grid(np.full((4, 2), 1.0), (0, 3), name="third")]
    subjects = ["one", "two", "three"]
    once = role_effects(grids, subjects, seed=0)
    pooled = role_effects(grids, subjects, seed=0, pooled=True)
    # middle rows: .3 .6 | .5 .2 of the first fact, 1 1 of the third
    assert effect_of(once, "middle subject", 0).estimate == pytest.approx(0.7)
    assert effect_of(pooled, "middle subject", 0).estimate == pytest.approx(0.6)
    assert effect_of(pooled, "middle subject", 0).num == 2
    assert (once.pooled, pooled.pooled) == (False, True)
    for role in ("first subject", "last subject", "last"):
        left, right = effect_of(once, role, 1), effect_of(pooled, role, 1)
        assert left.estimate == pytest.approx(right.estimate)


def test_every_mean_is_that_of_a_plain_loop():
    grids, subjects = made_facts()
    found = role_effects(grids, subjects, seed=0)
    assert [c.role for c in found.cells] == sorted(
        (c.role for c in found.cells), key=ROLES.index
    )
    for cell in found.cells:
        means, own = [], []
        for grid in grids:
            rows = [t for t, r in enumerate(grid.roles) if cell.role in r]
            if rows:
                values = [grid.score[t, cell.layer] - grid.low for t in rows]
                means.append(sum(values) / len(values))
                own.append(max(float((grid.score[t] - grid.low).max()) for t in rows))
        assert cell.effect.estimate == pytest.approx(sum(means) / len(means))
        assert cell.effect.num == len(means)
        assert cell.effect.low <= cell.effect.estimate <= cell.effect.high
        best = best_of(found, cell.role)
        assert best.mean_of_maxima == pytest.approx(sum(own) / len(own))


def test_intervals_draw_subjects_with_all_their_facts():
    draw = np.random.default_rng(3)
    means = np.repeat(draw.normal(0, 1, 30), 8)  # eight like facts of each subject
    grids = [made_grid([[mean]], (0, 1), name=str(i)) for i, mean in enumerate(means)]
    together = role_effects(grids, [f"s{i // 8}" for i in range(240)], seed=0)
    apart = role_effects(grids, [f"s{i}" for i in range(240)], seed=0)
    wide, narrow = (effect_of(found, "last", 0) for found in (together, apart))
    assert wide.estimate == pytest.approx(narrow.estimate)
    ratio = (wide.high - wide.low) / (narrow.high - narrow.low)
    assert ratio == pytest.approx(8**0.5, rel=0.15)
    half = 1.96 * means[::8].std() / 30**0.5
    assert wide.high - wide.estimate == pytest.approx(half, rel=0.2)


def test_the_best_layer_is_as_sure_as_its_draws():
    clear, _ = made_facts(20, layers=5)
    for grid in clear:
        grid.score[:, 3] += 2
    subjects = [f"s{i}" for i in range(20)]
    found = best_of(role_effects(clear, subjects, seed=0), "last subject")
    assert (found.layer, found.low, found.high) == (3, 3, 3)
    unclear, _ = made_facts(20, layers=5)
    found = best_of(role_effects(unclear, subjects, seed=0), "last subject")
    assert found.low < found.high
    assert found.low <= found.layer <= found.high


def test_what_the_model_does_not_know_is_counted_and_left_out():
    grids, subjects = made_facts()
    unknown = made_grid(np.full((3, 3), 99.0), (0, 1), is_known=False, name="u")
    taken = made_grid(np.zeros((3, 3)), (0, 1), is_known=None, high=0.0, name="n")
    found = role_effects([unknown, *grids], ["x", *subjects], seed=0)
    assert found == _counted(role_effects(grids, subjects, seed=0), 1)
    assert found.num_facts == 12
    more = role_effects([*grids, taken], [*subjects, "n"], seed=0)
    assert (more.num_facts, more.num_unknown, more.num_negative) == (13, 0, 1)


def _counted(effects, num_unknown):
    from dataclasses import replace

    return replace(effects, num_unknown=num_unknown)


def test_rows_that_were_not_traced_are_no_rows():
    grids = []
    for number in range(4):
        effects = np.full((4, 2), np.nan)
        effects[1] = number
        grids.append(made_grid(effects, (0, 2), kind="severed_mlp", name=str(number)))
    found = role_effects(grids, list("abcd"), seed=0)
    assert {cell.role for cell in found.cells} == {"last subject"}
    assert effect_of(found, "last subject", 1).estimate == pytest.approx(1.5)


def test_a_control_is_averaged_over_the_facts_that_have_one():
    grids, subjects = made_facts(6)
    control = [0.1, None, 0.3, 0.2, None, 0.2]
    found = role_effects(grids, subjects, seed=0, control=control).control_effect
    assert found.estimate == pytest.approx(0.2)
    assert found.num == 4
    assert found.low < 0.2 < found.high
    none = role_effects(grids, subjects, seed=0, control=[None] * 5 + [0.1])
    assert none.control_effect is None
    assert role_effects(grids, subjects, seed=0).control_effect is None


def test_the_same_seed_gives_the_same_and_order_of_facts_only_the_draws():
    grids, subjects = made_facts()
    found = role_effects(grids, subjects, seed=4)
    assert role_effects(grids, subjects, seed=4) == found
    assert role_effects(grids, subjects, seed=5) != found
    turned = role_effects(grids[::-1], subjects[::-1], seed=4)
    for left, right in zip(found.cells, turned.cells, strict=True):
        assert left.effect.estimate == pytest.approx(right.effect.estimate)


def test_what_has_no_average_is_refused():
    grids, subjects = made_facts(4)
    said = "2 facts of 1 subjects that the model knows have no average with an interval"
    with pytest.raises(MeasureError, match=said):
        role_effects(grids[:2], ["s", "s"], seed=0)
    with pytest.raises(MeasureError, match="0 facts of 0 subjects"):
        role_effects([], [], seed=0)
    with pytest.raises(MeasureError, match="4 grids and 3 subjects; give one for each"):
        role_effects(grids, subjects[:3], seed=0)
    for change in (
        {"kind": "mlp"},
        {"window": 3},
        {"outcome": "logit"},
        {"method": "attribution"},
    ):
        other = made_grid(np.zeros((3, 3)), (0, 1), name="other", **change)
        with pytest.raises(MeasureError, match=r"fact other was traced as .* alike"):
            role_effects([*grids, other], [*subjects, "x"], seed=0)


def test_agreement_is_that_of_the_published_formulas():
    draw = np.random.default_rng(2)
    effects = draw.normal(size=(6, 4))
    rough = effects + draw.normal(0, 0.5, size=(6, 4))
    exact = made_grid(effects, (2, 4))
    found = agreement(made_grid(rough, (2, 4), method="attribution"), exact)
    left, right = rough[2:].ravel(), effects[2:].ravel()
    assert found.pearson == pytest.approx(pearsonr(left, right)[0])
    assert found.spearman == pytest.approx(spearmanr(left, right)[0])
    tops = [{int(i) for i in np.argsort(x)[-5:]} for x in (left, right)]
    assert found.top_overlap == len(tops[0] & tops[1]) / 5
    assert found.top_overlap > 0


def test_an_exact_grid_agrees_with_itself_and_its_opposite_does_not():
    effects = np.arange(12.0).reshape(4, 3)
    exact = made_grid(effects, (1, 2))
    same = agreement(made_grid(effects, (1, 2), low=0.7), exact)
    assert (same.pearson, same.spearman, same.top_overlap) == (
        pytest.approx(1),
        pytest.approx(1),
        1,
    )
    turned = agreement(made_grid(-effects, (1, 2)), exact)
    assert (turned.pearson, turned.top_overlap) == (pytest.approx(-1), 1 / 5)


def test_an_estimate_without_sign_stands_beside_sizes():
    effects = np.array([[1.0, -4.0], [2.0, -3.0]])
    exact = made_grid(effects, (0, 1))
    unsigned = made_grid(np.abs(effects), (0, 1), method="grad_drop")
    assert agreement(unsigned, exact, num_top=1).pearson == pytest.approx(1)


def test_agreement_over_facts_leaves_out_what_has_no_correlation():
    grids, subjects = made_facts(8, seed=5)
    draw = np.random.default_rng(1)
    pairs = [
        (
            made_grid(
                grid.indirect_effect + draw.normal(0, 0.05, grid.score.shape),
                grid.subject,
                name=grid.fact_id,
                method="attribution",
            ),
            grid,
        )
        for grid in grids
    ]
    flat = made_grid(np.zeros((2, 3)), (0, 1), name="flat")
    estimate = made_grid(np.zeros((2, 3)), (0, 1), name="flat", method="attribution")
    found = screen_agreement([*pairs, (estimate, flat)], [*subjects, "x"], seed=0)
    each = [agreement(*pair) for pair in pairs]
    assert (found.kind, found.method, found.num_top) == ("hidden", "attribution", 5)
    assert found.pearson.num == 8
    assert found.pearson.estimate == pytest.approx(np.mean([a.pearson for a in each]))
    assert found.top_overlap.estimate == pytest.approx(
        np.mean([a.top_overlap for a in each])
    )
    assert found.spearman.low < found.spearman.estimate < found.spearman.high


def test_an_estimate_beside_other_cells_is_refused():
    exact = made_grid(np.eye(3), (0, 1))
    other = made_grid(np.eye(3), (0, 1), kind="mlp", name="g")
    said = "fact g, mlp: its estimate stands beside exact cells of fact f, hidden"
    with pytest.raises(MeasureError, match=said):
        agreement(other, exact)
