"""Are p-values of experts exact under the null, and small where something differs?"""

from itertools import combinations

import numpy as np
import pytest
from scipy.stats import false_discovery_control, ttest_ind, ttest_rel

from driftmap.core.errors import MeasureError
from driftmap.stats.experts.relabelling import relabelled
from driftmap.stats.experts.sampled import (
    SampledScore,
    Side,
    contrast_score,
    share_score,
)


def sides(a, b, *, paired=False):
    one, other = (share_score("s", x, np.arange(len(x))) for x in (a, b))
    if paired:
        return SampledScore(name="s", own=one.own, against=other.own, paired=True)
    return contrast_score(one, other)


def drawn(seed, shift=0.0, num=(9, 7)):
    rng = np.random.default_rng(seed)
    a, b = (rng.normal(size=(n, 2, 3)) for n in num)
    a[:, 1, 2] += shift
    return a, b


def test_t_is_welchs():
    a, b = drawn(0)
    found = relabelled(sides(a, b), seed=0, num_draws=9)
    assert np.allclose(found.t, ttest_ind(a, b, equal_var=False).statistic)
    pairs = relabelled(sides(a[:7], b, paired=True), seed=0, num_draws=9)
    assert np.allclose(pairs.t, ttest_rel(a[:7], b).statistic)
    assert (found.is_paired, pairs.is_paired) == (False, True)


def test_p_is_the_share_of_all_labellings():
    a, b = drawn(1, num=(4, 4))
    both = np.concatenate([a, b])[:, 0, 0]
    seen = ttest_ind(a, b, equal_var=False).statistic[0, 0]
    ts = []
    for own in combinations(range(8), 4):
        rest = [n for n in range(8) if n not in own]
        ts.append(ttest_ind(both[list(own)], both[rest], equal_var=False).statistic)
    exact = np.mean(np.array(ts) >= seen - 1e-9)
    found = relabelled(sides(a, b), seed=0, num_draws=20000)
    assert found.p[0, 0] == pytest.approx(exact, abs=0.015)


def test_a_difference_is_found_and_corrected():
    found = relabelled(sides(*drawn(2, shift=6.0)), seed=0, num_draws=999)
    assert found.p[1, 2] == pytest.approx(0.001, abs=0.002)
    assert found.p_family[1, 2] < 0.05
    assert (found.p_family >= found.p).all()
    assert np.allclose(found.q.ravel(), false_discovery_control(found.p.ravel()))
    assert found.num_tests == 6
    others = np.delete(found.p.ravel(), 5)
    assert others.min() > 0.01


@pytest.mark.parametrize("paired", [False, True])
def test_under_the_null_p_is_no_smaller_than_it_says(paired):
    alone, family = [], []
    for seed in range(80):
        a, b = drawn(seed, num=(6, 6))
        found = relabelled(sides(a, b, paired=paired), seed=seed, num_draws=99)
        alone += found.p.ravel().tolist()
        family.append(found.p_family.min())
    assert np.mean(np.array(alone) <= 0.2) == pytest.approx(0.2, abs=0.07)
    assert np.mean(np.array(family) <= 0.2) == pytest.approx(0.2, abs=0.12)


def test_what_does_not_vary_is_no_evidence_but_a_certain_difference_is():
    a, b = drawn(3)
    a[:, 0, 0] = b[:, 0, 0] = 0.0
    a[:, 0, 1], b[:, 0, 1] = 2.0, 1.0
    found = relabelled(sides(a, b), seed=0, num_draws=2000)
    assert found.t[0, 0] == 0
    assert found.p[0, 0] == 1.0
    assert found.t[0, 1] == np.inf
    assert found.p[0, 1] < 0.01


def test_a_missing_expert_is_no_test():
    a, b = drawn(4)
    a[:, 1, 0] = b[:, 1, 0] = np.nan
    found = relabelled(sides(a, b), seed=0, num_draws=99)
    assert found.num_tests == 5
    assert np.isnan(found.q).sum() == 1


def test_clusters_are_one_observation():
    a, b = drawn(5)
    doubled = contrast_score(
        share_score("s", np.repeat(a, 2, axis=0), np.repeat(np.arange(len(a)), 2)),
        share_score("s", b, np.arange(len(b))),
    )
    one, two = (relabelled(s, seed=0, num_draws=49) for s in (sides(a, b), doubled))
    assert np.allclose(one.t, two.t)
    assert np.array_equal(one.p, two.p)


def test_what_has_no_second_side_or_no_spread_is_no_test():
    a, b = drawn(6)
    with pytest.raises(MeasureError, match="only a difference of two means"):
        relabelled(share_score("s", a, np.arange(len(a))), seed=0)
    assert relabelled(sides(a, b[:1]), seed=0) is None
    ratio = SampledScore(
        name="r", own=Side(values=a, sizes=a, clusters=np.arange(len(a))),
        against=Side(values=b, clusters=np.arange(len(b))),
    )  # fmt: skip
    with pytest.raises(MeasureError, match="r: only a difference of two means"):
        relabelled(ratio, seed=0)
