import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftmap.results.statistics import GroupRatio, LeftOut
from driftmap.stats.many_tests import adjust, needed_permutations


def ratio(p_value, *, is_primary=False, group="top"):
    return GroupRatio(
        group=group,
        metric="absolute",
        layer=None,
        part=None,
        thetas=(0.0,),
        rho=1.0,
        log_bias=0.0,
        interval90=None,
        interval95=None,
        bootstrap95=None,
        p_value=p_value,
        p_adjusted=None,
        num_permutations=999,
        is_primary=is_primary,
        num_matrices=1,
        num_weights=1,
        left_out=LeftOut(num_matrices=0, num_bins=0, num_weights=0, num_immobile=0),
        null=None,
    )


def test_golden_by_hand():
    found = adjust([ratio(0.02), ratio(0.04), ratio(0.03), ratio(0.8)])
    adjusted = [r.p_adjusted for r in found]
    assert adjusted == pytest.approx([4 * 0.04 / 3, 4 * 0.04 / 3, 4 * 0.04 / 3, 0.8])


def test_primary_test_and_untested_ratios_stand_apart():
    found = adjust([ratio(0.04, is_primary=True), ratio(0.01), ratio(None)])
    assert [r.p_adjusted for r in found] == [None, 0.01, None]
    assert [r.p_value for r in found] == [0.04, 0.01, None]


def test_controls_are_described_and_do_not_weaken_the_tests():
    tests = [ratio(0.02), ratio(0.04)]
    controls = [ratio(0.5, group="matched"), ratio(0.9, group="random")]
    found = adjust([*tests, *controls], controls={"matched", "random"})
    assert found[:2] == adjust(tests)
    assert found[2:] == (*controls,)


def test_nothing_to_adjust():
    assert adjust([]) == ()
    assert adjust([ratio(None)])[0].p_adjusted is None


@given(st.lists(st.floats(0.001, 1), min_size=1, max_size=12))
def test_matches_the_formula(p_values):
    found = [r.p_adjusted for r in adjust([ratio(p) for p in p_values])]
    ordered = np.sort(p_values)
    m = len(p_values)
    for p, q in zip(p_values, found, strict=True):
        ranks = [j for j in range(m) if ordered[j] >= p]
        assert q == pytest.approx(min(m * ordered[j] / (j + 1) for j in ranks))


@pytest.mark.parametrize(
    ("num_tests", "needed"), [(0, 0), (1, 19), (50, 999), (51, 1019)]
)
def test_needed_permutations(num_tests, needed):
    assert needed_permutations(num_tests) == needed
