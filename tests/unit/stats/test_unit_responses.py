import numpy as np
import pytest
from scipy.stats import ttest_1samp

from driftmap.core.errors import MeasureError
from driftmap.stats.unit_responses import UnitSums, top_units, unit_tests


def sums(kind, layer, differences):
    """From differences `[statement unit number]`, all at once."""
    return UnitSums(
        kind=kind,
        layer=layer,
        num=len(differences),
        total=differences.sum(0),
        squares=(differences**2).sum((0, 2)),
    )


def test_effects_are_means_over_spreads():
    rng = np.random.default_rng(0)
    neurons = rng.standard_normal((30, 5, 1)) + np.arange(-2, 3)[:, None]
    want = neurons[..., 0].mean(0) / neurons[..., 0].std(0, ddof=1)
    np.testing.assert_allclose(sums("neuron", 0, neurons).effect, want, rtol=1e-6)
    heads = rng.standard_normal((30, 2, 4)) + 1
    mean = heads.mean(0)
    spread = np.sqrt(heads.var(0, ddof=1).sum(-1))
    found = sums("head", 0, heads)
    np.testing.assert_allclose(found.effect, np.linalg.norm(mean, axis=1) / spread)
    np.testing.assert_allclose(
        found.direction, mean / np.linalg.norm(mean, axis=1, keepdims=True)
    )


def test_a_unit_that_never_acts_has_no_effect():
    still = np.zeros((6, 3, 1))
    assert sums("neuron", 0, still).effect.tolist() == [0, 0, 0]


def test_the_largest_of_each_kind_come_first():
    rng = np.random.default_rng(1)
    layers = [rng.standard_normal((20, 4, 1)) for _ in range(2)]
    layers[1][:, 2] += 5
    layers[0][:, 1] -= 9
    heads = rng.standard_normal((20, 2, 3))
    heads[:, 1] += 3
    chosen = top_units(
        [
            sums("neuron", 0, layers[0]),
            sums("neuron", 1, layers[1]),
            sums("head", 1, heads),
        ],
        2,
    )
    assert [(one.kind, one.layer, one.unit) for one in chosen] == [
        ("neuron", 0, 1),
        ("neuron", 1, 2),
        ("head", 1, 1),
        ("head", 1, 0),
    ]
    assert chosen[0].effect < 0 < chosen[1].effect


def test_tests_are_students_and_corrected():
    rng = np.random.default_rng(2)
    held_out = rng.standard_normal((3, 12)) + np.array([[2.0], [0.3], [0.0]])
    chosen = top_units([sums("neuron", 0, held_out.T[..., None])], 3)
    order = [one.unit for one in chosen]
    found = unit_tests(chosen, held_out[order])
    want = ttest_1samp(held_out[order], 0, axis=1).pvalue
    assert [one.p_value for one in found] == pytest.approx(want.tolist())
    ranked = sorted(want)
    least = [min(3 * p / (k + 1) for k, p in enumerate(ranked) if p >= q) for q in want]
    assert [one.p_adjusted for one in found] == pytest.approx(least)
    assert found[0].held_out.estimate == pytest.approx(held_out[order[0]].mean())


def test_chance_alone_is_seldom_called_a_response():
    rng = np.random.default_rng(3)
    called = 0
    for _ in range(40):
        train = rng.standard_normal((30, 200, 1))
        test = rng.standard_normal((200, 30))
        chosen = top_units([sums("neuron", 0, train)], 10)
        found = unit_tests(chosen, test[[one.unit for one in chosen]])
        called += any(one.p_adjusted < 0.05 for one in found)
    assert called <= 6


def test_one_statement_tests_nothing():
    with pytest.raises(MeasureError, match="1 test statements"):
        unit_tests((), np.zeros((0, 1)))
