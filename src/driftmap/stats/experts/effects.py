"""Does an action on experts move refusal further than on others like them?

A set's change is paired by example with the untouched model, and stands beside random
sets of the same layers and traffic.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64
from scipy.stats import kendalltau

from driftmap.core.errors import MeasureError
from driftmap.core.places import ExpertPlace
from driftmap.results.expert_effects import (
    Action,
    DoseCurve,
    EstimateCheck,
    ExampleOutcomes,
    ExpertEffect,
    MatchedNull,
    OutcomeName,
)
from driftmap.stats.experts.paired import Chance, paired_contrast, paired_mean

_TIE = 1e-9
"""Differences below this share of a change are rounding and count as ties."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Treated:
    """A set of experts and what was read with it.

    Args:
        name: What tables call it.
        method: How it was chosen.
        action: What was done to it.
        experts: The set.
        changed: What the model does under the action.
        drawn: The same under the action on each matched random set.
        num_unmatched: Most experts of one draw that only the layer matches (count).
        num_missing: Experts of the set without a counterpart in any draw (count).
    """

    name: str
    method: str
    action: Action
    experts: tuple[ExpertPlace, ...]
    changed: ExampleOutcomes
    drawn: tuple[ExampleOutcomes, ...] = ()
    num_unmatched: int = 0
    num_missing: int = 0


def expert_effect(
    intact: ExampleOutcomes, treated: Treated, outcome: OutcomeName, chance: Chance
) -> ExpertEffect:
    """Pair a set's outcome with the untouched model's.

    Args:
        intact: What the untouched model does.
        treated: The set, and what was read with it.
        outcome: Which reading.
        chance: Seed, goals and draws of the bootstrap.

    Raises:
        MeasureError: Readings are of other examples than the untouched model's, there
            is none, or one is not finite.
    """
    ids = intact.ids_of(outcome)
    before = intact.values_of(outcome)
    change = _values(treated.changed, outcome, ids) - before
    return ExpertEffect(
        name=treated.name,
        method=treated.method,
        action=treated.action,
        outcome=outcome,
        experts=treated.experts,
        change=paired_mean(change, ids, chance),
        intact=float(before.mean()),
        null=_null(intact, treated, outcome, chance) if treated.drawn else None,
    )


def dose_curve(effects: Mapping[int, ExpertEffect]) -> DoseCurve:
    """Put the effects of the first k of one ranking in order.

    Args:
        effects: By k (count).

    Raises:
        MeasureError: There is no dose, or methods, actions or outcomes are mixed.
    """
    kinds = {(e.method, e.action, e.outcome) for e in effects.values()}
    if len(kinds) != 1:
        raise MeasureError(
            f"a dose curve of {len(kinds)} kinds of effects; give one method, one "
            "action and one outcome"
        )
    doses = tuple(sorted(effects))
    first = effects[doses[0]]
    return DoseCurve(
        method=first.method,
        action=first.action,
        outcome=first.outcome,
        doses=doses,
        effects=tuple(effects[k] for k in doses),
    )


def estimate_check(
    foreseen: Float64[np.ndarray, " expert"], real: Float64[np.ndarray, " other"]
) -> EstimateCheck:
    """Compare the order of foreseen changes with that of real ones.

    Args:
        foreseen: From one backward, one per expert that was really taken away.
        real: Mean change when it was, in the same order.

    Returns:
        Kendall's tau-b, or None where either side does not vary.

    >>> estimate_check(np.array([1.0, 2.0, 3.0]), np.array([0.1, 0.4, 0.5])).tau
    1.0
    """
    if len(foreseen) != len(real):
        raise MeasureError(
            f"{len(foreseen)} foreseen and {len(real)} real changes cannot be paired; "
            "give both of the same experts"
        )
    varies = all(len(np.unique(side)) > 1 for side in (foreseen, real))
    tau = float(np.asarray(kendalltau(foreseen, real))[0]) if varies else None
    return EstimateCheck(tau=tau, num_experts=len(real))


def null_p(change: float, drawn: Float64[np.ndarray, " draw"]) -> float:
    """`(1 + #{|null| >= |seen|}) / (1 + draws)`: chance alone, either way.

    The seen value is one of the possible ones, so p is never 0 (Phipson and Smyth
    2010).

    >>> null_p(-2.0, np.array([0.5, -3.0, 1.0]))
    0.5
    """
    reached = np.abs(drawn) >= abs(change) * (1 - _TIE)
    return float((1 + np.count_nonzero(reached)) / (1 + drawn.size))


def _null(
    intact: ExampleOutcomes, treated: Treated, outcome: OutcomeName, chance: Chance
) -> MatchedNull:
    ids = intact.ids_of(outcome)
    before = intact.values_of(outcome)
    own = _values(treated.changed, outcome, ids)
    drawn = np.stack([_values(one, outcome, ids) for one in treated.drawn])
    changes = (drawn - before).mean(axis=1)
    return MatchedNull(
        changes=tuple(changes.tolist()),
        num_unmatched=treated.num_unmatched,
        num_missing=treated.num_missing,
        p_value=null_p(float((own - before).mean()), changes),
        difference=paired_contrast(own, drawn, ids, chance),
    )


def _values(
    outcomes: ExampleOutcomes, outcome: OutcomeName, ids: Sequence[str]
) -> Float64[np.ndarray, " example"]:
    if outcomes.ids_of(outcome) != tuple(ids):
        raise MeasureError(
            f"{outcome}: the changed model was read on other examples than the "
            "untouched one; read the same ones in the same order"
        )
    return outcomes.values_of(outcome)
