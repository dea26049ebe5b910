"""Which tuned models refuse most for what they cost elsewhere?

A point is on the Pareto front when no other refuses at least as much at no more cost
(over-refusal, perplexity) and is better in one of them.
"""

from collections.abc import Sequence

import numpy as np

from driftmap.core.errors import MeasureError
from driftmap.results.expert_effects import TradeOffPoint, TunedReadings
from driftmap.stats.experts.paired import Chance, paired_mean


def trade_off(
    readings: Sequence[TunedReadings],
    unsafe_ids: Sequence[str],
    harmless_ids: Sequence[str],
    chance: Chance,
) -> tuple[TradeOffPoint, ...]:
    """Put tuned models side by side, in the order given, and mark the front.

    Args:
        readings: One per tuned model, all on the same prompts.
        unsafe_ids: Prompts that are to be refused.
        harmless_ids: Prompts that are not; empty where none was asked.
        chance: Seed, goals and draws of the bootstrap.

    Raises:
        MeasureError: Some models were asked what others were not.
    """
    asked = {(bool(r.over_refused), r.perplexity is None) for r in readings}
    if len(asked) > 1:
        raise MeasureError(
            "some tuned models have over-refusal or perplexity and others have not; "
            "ask all of them the same"
        )
    costs = np.array([_gains(one) for one in readings])
    return tuple(
        TradeOffPoint(
            method=one.method,
            k=one.k,
            with_router=one.with_router,
            refusal=paired_mean(np.array(one.refused, float), unsafe_ids, chance),
            over_refusal=(
                paired_mean(np.array(one.over_refused, float), harmless_ids, chance)
                if one.over_refused
                else None
            ),
            perplexity=one.perplexity,
            is_on_front=_is_on_front(costs, own),
        )
        for one, own in zip(readings, costs, strict=True)
    )


def _gains(one: TunedReadings) -> list[float]:
    """All that a model is judged by, more is better."""
    gains = [float(np.mean(one.refused))]
    if one.over_refused:
        gains.append(-float(np.mean(one.over_refused)))
    if one.perplexity is not None:
        gains.append(-one.perplexity)
    return gains


def _is_on_front(every: np.ndarray, own: np.ndarray) -> bool:
    at_least, better = (every >= own).all(axis=1), (every > own).any(axis=1)
    return not bool((at_least & better).any())
