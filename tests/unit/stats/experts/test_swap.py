"""The swap test: what experts and routers do adds up."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from driftmap.core.errors import MeasureError
from driftmap.results.expert_effects import ExampleOutcomes
from driftmap.stats.experts.paired import Chance
from driftmap.stats.experts.swap import SwapReadings, swap_test

CHANCE = Chance(seed=0, num_resamples=100)


def swapped(y00, y10, y01, y11, ids="abc"):
    def outcomes(values):
        return ExampleOutcomes(unsafe_ids=tuple(ids), refusal_log_odds=tuple(values))

    return SwapReadings(
        both_old=outcomes(y00),
        new_experts=outcomes(y10),
        new_router=outcomes(y01),
        both_new=outcomes(y11),
    )


def test_experts_and_router_by_hand():
    readings = swapped([0, 0, 0], [3, 3, 3], [1, 1, 1], [6, 6, 6])
    found = swap_test(readings, "weights", "refusal_log_odds", CHANCE)
    assert found.experts.estimate == 4.0  # ((3 - 0) + (6 - 1)) / 2
    assert found.router.estimate == 2.0  # ((1 - 0) + (6 - 3)) / 2
    assert found.interaction.estimate == 2.0
    assert found.total.estimate == 6.0
    assert (found.both_old.estimate, found.both_new.estimate) == (0, 6)
    assert (found.new_experts.estimate, found.new_router.estimate) == (3, 1)


@settings(max_examples=25)
@given(
    st.lists(st.lists(st.floats(-9, 9), min_size=3, max_size=3), min_size=4, max_size=4)
)
def test_shares_add_up_whatever_the_interaction(y):
    found = swap_test(swapped(*y), "replay", "refusal_log_odds", CHANCE)
    shares = found.experts.estimate + found.router.estimate
    assert shares == pytest.approx(found.total.estimate, abs=1e-9)


def test_a_router_that_does_nothing_has_no_share():
    rng = np.random.default_rng(0)
    old, new = rng.normal(size=3), rng.normal(size=3)
    found = swap_test(
        swapped(old, new, old, new), "weights", "refusal_log_odds", CHANCE
    )
    assert (found.router.low, found.router.high) == (0, 0)
    assert found.interaction.estimate == 0
    assert found.experts.estimate == found.total.estimate


def test_models_read_on_other_examples_are_refused():
    readings = swapped([0, 0], [1, 1], [0, 0], [1, 1], ids="ab")
    other = swapped([0, 0], [1, 1], [0, 0], [1, 1], ids="ac")
    mixed = SwapReadings(
        both_old=readings.both_old,
        new_experts=other.new_experts,
        new_router=readings.new_router,
        both_new=readings.both_new,
    )
    with pytest.raises(MeasureError, match="the four models of the swap test"):
        swap_test(mixed, "weights", "refusal_log_odds", CHANCE)
