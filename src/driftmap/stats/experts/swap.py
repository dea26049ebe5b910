"""Is it the tuned experts or the tuned routers that refuse?

With y(experts, router), 0 old and 1 tuned:

    experts     = ((y10 - y00) + (y11 - y01)) / 2
    router      = ((y01 - y00) + (y11 - y10)) / 2
    interaction = y11 + y00 - y10 - y01

The first two add up to y11 - y00, whatever the interaction is: each is a Shapley
value of two players.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from driftmap.core.errors import MeasureError
from driftmap.results.expert_effects import (
    ExampleOutcomes,
    OutcomeName,
    SwapForm,
    SwapTest,
)
from driftmap.stats.experts.paired import Chance, paired_mean


@dataclass(frozen=True, slots=True, kw_only=True)
class SwapReadings:
    """What the four models of a swap test do.

    Args:
        both_old: y(old, old).
        new_experts: y(new, old).
        new_router: y(old, new).
        both_new: y(new, new).
    """

    both_old: ExampleOutcomes
    new_experts: ExampleOutcomes
    new_router: ExampleOutcomes
    both_new: ExampleOutcomes


def swap_test(
    readings: SwapReadings, form: SwapForm, outcome: OutcomeName, chance: Chance
) -> SwapTest:
    """Share the change of an outcome between experts and router.

    Args:
        readings: Of the four models, on the same examples.
        form: How routers were exchanged.
        outcome: Which reading.
        chance: Seed, goals and draws of the bootstrap.

    Raises:
        MeasureError: The models were read on other examples, there is none, or a
            reading is not finite.
    """
    ids = readings.both_old.ids_of(outcome)
    y00, y10, y01, y11 = (
        _of(one, outcome, ids)
        for one in (
            readings.both_old,
            readings.new_experts,
            readings.new_router,
            readings.both_new,
        )
    )
    contrasts = {
        "both_old": y00,
        "new_experts": y10,
        "new_router": y01,
        "both_new": y11,
        "experts": ((y10 - y00) + (y11 - y01)) / 2,
        "router": ((y01 - y00) + (y11 - y10)) / 2,
        "interaction": y11 + y00 - y10 - y01,
        "total": y11 - y00,
    }
    intervals = {name: paired_mean(y, ids, chance) for name, y in contrasts.items()}
    return SwapTest(form=form, outcome=outcome, **intervals)


def _of(
    outcomes: ExampleOutcomes, outcome: OutcomeName, ids: tuple[str, ...]
) -> Float64[np.ndarray, " example"]:
    if outcomes.ids_of(outcome) != ids:
        raise MeasureError(
            f"{outcome}: the four models of the swap test were read on different "
            "examples; read the same ones in the same order"
        )
    return outcomes.values_of(outcome)
