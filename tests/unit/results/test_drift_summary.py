import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftmap.results.drift import Moments, summarise

numbers = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=40)


def test_golden_by_hand():
    found = summarise(np.array([1.0, 2.0, 4.0, 9.0]), immobile=3)
    assert (found.count, found.immobile, found.mean) == (4, 3, 4.0)
    assert found.std == pytest.approx(9.5**0.5)
    assert (found.min, found.q25, found.median, found.q75, found.max) == (
        1.0, 1.75, 3.0, 5.25, 9.0
    )  # fmt: skip


@given(numbers)
def test_quartiles_are_ordered_and_order_blind(values):
    one, two = summarise(np.array(values)), summarise(np.array(sorted(values)))
    ladder = (one.min, one.q25, one.median, one.q75, one.max)
    assert list(ladder) == sorted(ladder)
    assert ladder == (two.min, two.q25, two.median, two.q75, two.max)


def test_nothing_has_no_figures():
    found = summarise(np.empty(0))
    assert found.count == 0
    assert np.isnan([found.mean, found.std, found.min, found.median, found.max]).all()


def test_moments_of_a_larger_unit_are_sums():
    parts = Moments(
        weight=np.array([1.0, 2.0]), cross=np.array([0.5, -0.5]),
        change=np.array([4.0, 5.0]),
    )  # fmt: skip
    whole = parts.total()
    assert (whole.weight.item(), whole.cross.item(), whole.l2.item()) == (3, 0, 3)
    assert parts.take(np.array([1])).change.tolist() == [5]
