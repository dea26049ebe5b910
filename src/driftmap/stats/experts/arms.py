"""Do models with changed experts differ, prompt by prompt, and for certain?

Every arm is compared with the untouched model, and every arm whose experts were chosen
with all other tuned ones. Prompts of one goal are drawn, and change sign, together.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Float64

from driftmap.core.errors import MeasureError
from driftmap.results.expert_readings import ArmValues, PromptValues
from driftmap.results.expert_views import Arm, ArmContrast, ArmOutcome, ArmReading
from driftmap.results.statistics import Interval
from driftmap.stats.contrasts import sign_flip_p
from driftmap.stats.experts.paired import Chance, paired_contrast


def compare_arms(
    values: Sequence[ArmValues], chance: Chance
) -> tuple[tuple[Arm, ...], tuple[ArmContrast, ...]]:
    """Give every outcome its interval, and every pair of arms its difference.

    Args:
        values: The arms, the untouched model first.
        chance: Seed, goals and draws of the bootstrap.

    Returns:
        Arms in the order given; differences of each chosen arm from each other tuned
        one, in the outcomes that both have.

    Raises:
        MeasureError: Two arms were asked different prompts.
    """
    base, *tuned = values
    _require_same_prompts(values)
    arms = (_arm(base, None, chance), *(_arm(one, base, chance) for one in tuned))
    contrasts = [
        found
        for left in tuned
        if left.kind == "method"
        for right in tuned
        if right is not left and _stand_together(tuned, left, right)
        for found in _contrasts(left, right, chance)
    ]
    return arms, tuple(contrasts)


def _stand_together(
    arms: Sequence[ArmValues], left: ArmValues, right: ArmValues
) -> bool:
    """Two chosen arms are compared once, and random ones with whom they match."""
    if right.kind == "method":
        return [*arms].index(left) < [*arms].index(right)
    return right.kind != "random" or right.method == left.method


def _arm(one: ArmValues, base: ArmValues | None, chance: Chance) -> Arm:
    return Arm(
        name=one.name,
        kind=one.kind,
        method=one.method,
        num_experts=one.num_experts,
        num_weights=one.num_weights,
        tunes_routers=one.tunes_routers,
        num_models=max((len(v.models) for v in one.outcomes.values()), default=1),
        readings={
            outcome: _reading(found, _of(base, outcome), chance)
            for outcome, found in one.outcomes.items()
        },
    )


def _of(arm: ArmValues | None, outcome: ArmOutcome) -> PromptValues | None:
    return None if arm is None else arm.outcomes.get(outcome)


def _reading(
    found: PromptValues, before: PromptValues | None, chance: Chance
) -> ArmReading:
    own = found.matrix
    nothing = np.zeros(own.shape[1])
    value = _less(own, nothing[None], found.ids, chance)
    if before is None:
        return ArmReading(value=value)
    return ArmReading(
        value=value,
        change=_less(own, before.matrix, found.ids, chance),
        p_value=_p_value(own, before.matrix, found.ids, chance),
    )


def _less(
    own: Float64[np.ndarray, "model prompt"],
    others: Float64[np.ndarray, "other prompt"],
    ids: Sequence[str],
    chance: Chance,
) -> Interval:
    """Mean of one side less that of the other; the side of several is drawn anew."""
    if len(own) > 1 and len(others) == 1:
        return paired_contrast(-others[0], -own, ids, chance)
    return paired_contrast(own.mean(axis=0), others, ids, chance)


def _p_value(
    own: Float64[np.ndarray, "model prompt"],
    others: Float64[np.ndarray, "other prompt"],
    ids: Sequence[str],
    chance: Chance,
) -> float:
    apart = own.mean(axis=0) - others.mean(axis=0)
    goals = [chance.goal_of.get(i, f"\x1f{i}") for i in ids]
    _, goal = np.unique(goals, return_inverse=True)
    sums = np.bincount(goal, apart)
    return sign_flip_p(sums, np.zeros((1, len(sums))), chance.seed)


def _contrasts(
    left: ArmValues, right: ArmValues, chance: Chance
) -> Iterator[ArmContrast]:
    for outcome, found in left.outcomes.items():
        other = right.outcomes.get(outcome)
        if other is None:
            continue
        yield ArmContrast(
            left=left.name,
            right=right.name,
            outcome=outcome,
            difference=_less(found.matrix, other.matrix, found.ids, chance),
            p_value=_p_value(found.matrix, other.matrix, found.ids, chance),
        )


def _require_same_prompts(values: Sequence[ArmValues]) -> None:
    asked = {outcome: found.ids for outcome, found in values[0].outcomes.items()}
    for arm in values:
        for outcome, found in arm.outcomes.items():
            if asked.get(outcome, found.ids) != found.ids:
                raise MeasureError(
                    f"{arm.name} was asked other prompts than {values[0].name} for "
                    f"{outcome}; ask all models the same"
                )
