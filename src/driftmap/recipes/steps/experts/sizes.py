"""What does tuning more or fewer experts gain, and what does it cost?"""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from driftmap.recipes.steps.experts.arms import MethodArm, Rounds, sized_arm
from driftmap.results.expert_effects import TradeOffPoint, TunedReadings
from driftmap.results.expert_readings import ArmValues, PromptValues
from driftmap.results.expert_views import ArmOutcome
from driftmap.stats.experts.trade_off import trade_off


def trade_off_points(
    rounds: Rounds, methods: Sequence[MethodArm], arms: Sequence[ArmValues]
) -> tuple[TradeOffPoint, ...]:
    """Tune other numbers of experts, and put them beside what was tuned already.

    Args:
        rounds: The study.
        methods: Methods and their tuned models.
        arms: All models that were read.
    """
    checks = rounds.bench.plan.checks
    if not checks.trade_off:
        return ()
    found = [_readings(arm, arm.outcomes, arm.num_experts) for arm in arms]
    for own in methods:
        for k in checks.trade_off:
            tuned = sized_arm(rounds, own, k)
            values = rounds.read(tuned.plan.name, tuned.keys)
            found.append(_readings(own.values, values, k))
    base = arms[0].outcomes
    harmless = base.get("over_refused")
    return trade_off(
        found,
        base["refused"].ids,
        () if harmless is None else harmless.ids,
        rounds.bench.chance,
    )


def _readings(
    arm: ArmValues, outcomes: Mapping[ArmOutcome, PromptValues], k: int
) -> TunedReadings:
    harmless, benign = outcomes.get("over_refused"), outcomes.get("benign_nats")
    return TunedReadings(
        method=arm.method if arm.kind == "method" else arm.name,
        k=k,
        with_router=arm.tunes_routers,
        refused=_mean(outcomes["refused"]),
        over_refused=() if harmless is None else _mean(harmless),
        perplexity=None if benign is None else math.exp(benign.matrix.mean()),
    )


def _mean(values: PromptValues) -> tuple[float, ...]:
    """Per prompt, over the models of an arm."""
    return tuple(np.asarray(values.matrix.mean(axis=0)).tolist())
