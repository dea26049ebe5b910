"""The trade-off: which tuned models no other one beats."""

import pytest

from driftmap.core.errors import MeasureError
from driftmap.results.expert_effects import TunedReadings
from driftmap.stats.experts.paired import Chance
from driftmap.stats.experts.trade_off import trade_off

CHANCE = Chance(seed=0, num_resamples=100)
UNSAFE, HARMLESS = ("a", "b", "c", "d"), ("x", "y")


def tuned(k, refused, over=(0.0, 0.0), perplexity: float | None = 10.0):
    return TunedReadings(
        method="gradient",
        k=k,
        with_router=True,
        refused=tuple([1.0] * refused + [0.0] * (4 - refused)),
        over_refused=over,
        perplexity=perplexity,
    )


def points(*readings, harmless=HARMLESS):
    return trade_off(readings, UNSAFE, harmless, CHANCE)


def test_the_front_holds_what_no_other_beats():
    found = points(
        tuned(0, 0),  # less refusal for as much
        tuned(5, 2),
        tuned(10, 2, perplexity=11.0),  # as much refusal for more
        tuned(25, 4, perplexity=12.0),
        tuned(50, 3, over=(1.0, 0.0), perplexity=13.0),  # less refusal for more
    )
    assert [p.k for p in found if p.is_on_front] == [5, 25]
    assert [p.refusal.estimate for p in found] == [0, 0.5, 0.5, 1, 0.75]
    assert found[-1].over_refusal.estimate == 0.5


def test_equal_points_are_both_on_the_front():
    assert [p.is_on_front for p in points(tuned(5, 2), tuned(9, 2))] == [True, True]


def test_over_refusal_alone_can_decide():
    found = points(tuned(5, 2), tuned(9, 2, over=(1.0, 0.0)))
    assert [p.is_on_front for p in found] == [True, False]


def test_what_was_not_asked_is_none():
    (found,) = points(tuned(5, 2, over=(), perplexity=None), harmless=())
    assert (found.over_refusal, found.perplexity) == (None, None)


def test_models_that_were_asked_different_things_are_refused():
    with pytest.raises(MeasureError, match="some tuned models have over-refusal"):
        points(tuned(5, 2), tuned(9, 2, perplexity=None))
