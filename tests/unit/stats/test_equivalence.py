from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from driftmap.core.errors import UsageError
from driftmap.stats.equivalence import equivalence
from verdicts import ratio_of


def test_p_value_matches_two_one_sided_t_tests():
    thetas = (0.02, 0.1, -0.03, 0.05)
    found = equivalence(ratio_of(thetas), 1.25)
    bound = np.log(1.25)
    below = stats.ttest_1samp(thetas, -bound, alternative="greater").pvalue
    above = stats.ttest_1samp(thetas, bound, alternative="less").pvalue
    assert found.p_value == pytest.approx(max(below, above))
    assert (found.margin, found.group) == (1.25, "top")


@pytest.mark.parametrize("shift", np.linspace(-0.5, 0.5, 21))
def test_similar_exactly_when_the_p_value_is_below_5_percent(shift):
    thetas = tuple(shift + np.array([-0.05, 0.0, 0.05, 0.01]))
    found = equivalence(ratio_of(thetas))
    assert found.is_similar == (found.p_value < 0.05)


def test_one_seed_is_never_similar():
    one = replace(ratio_of((0.0, 0.0)), thetas=(0.0,), interval90=None)
    found = equivalence(one)
    assert (found.p_value, found.is_similar) == (None, False)


@pytest.mark.parametrize(
    ("theta", "p", "similar"), [(0.125, 0.0, True), (0.25, 1.0, False)]
)
def test_seeds_without_spread(theta, p, similar):
    found = equivalence(ratio_of((theta,) * 3))
    assert (found.p_value, found.is_similar) == (p, similar)


@pytest.mark.parametrize("margin", [1.0, 0.8, float("inf"), float("nan")])
def test_margin_without_room_is_refused(margin):
    with pytest.raises(UsageError, match=r"give a ratio above 1, such as 1\.25"):
        equivalence(ratio_of((0.0, 0.1)), margin)
