"""Which experts do texts use, and more than other texts do?

Shares of tokens and of weights sum to 1 over the experts of a layer, never over the
whole model.
"""

import numpy as np
from jaxtyping import Float64, Int64

from driftmap.core.errors import MeasureError
from driftmap.results.expert_usage import Pool, RiskDifference
from driftmap.results.experts import ExpertMap, RoutingCounts
from driftmap.stats.experts.sampled import SampledScore, Side, share_score, there


def rates(counts: RoutingCounts, pool: Pool = "example") -> ExpertMap:
    """Share of tokens that choose each expert; K / E on average.

    Args:
        counts: Where samples were sent.
        pool: `example` the mean of the examples' own shares, `token` all tokens alike.
    """
    if pool == "token":
        rate = counts.chosen.sum(axis=0) / counts.tokens.sum()
    else:
        rate = (counts.chosen / counts.tokens[:, None, None]).mean(axis=0)
    return np.where(there(counts.banks), rate, np.nan)


def risk_difference(
    unsafe: RoutingCounts, safe: RoutingCounts, pool: Pool = "example"
) -> RiskDifference:
    """Rate on unsafe texts less that on safe ones; 0 over a bank in sum.

    Args:
        unsafe: Where unsafe texts were sent.
        safe: Where safe ones were.
        pool: As in `rates`.

    Raises:
        MeasureError: The two speak of different banks.
    """
    if unsafe.banks != safe.banks:
        raise MeasureError(
            "unsafe and safe texts were sent through different banks of experts; show "
            "both to the same model"
        )
    own, other = rates(unsafe, pool), rates(safe, pool)
    return RiskDifference(unsafe=own, safe=other, difference=own - other, pool=pool)


def token_share_score(
    counts: RoutingCounts, clusters: Int64[np.ndarray, " example"]
) -> SampledScore:
    """`mean_i (1/T_i) sum_t 1[e chosen] / K`.

    Args:
        counts: Where samples were sent.
        clusters: Number of each example's cluster.
    """
    slots = np.array([bank.num_chosen for bank in counts.banks])[:, None]
    shares = counts.chosen / (counts.tokens[:, None, None] * slots)
    return share_score("token_share", _known(shares, counts), clusters)


def gate_share_score(
    counts: RoutingCounts, clusters: Int64[np.ndarray, " example"]
) -> SampledScore:
    """`mean_i (1/T_i) sum_t w_te`, divided by its sum over the experts of the layer.

    Args:
        counts: Where samples were sent.
        clusters: Number of each example's cluster.

    Raises:
        MeasureError: The weights of a layer sum to 0.
    """
    gate = counts.gate / counts.tokens[:, None, None]
    total = gate.sum(axis=2, keepdims=True)
    if not (total.sum(axis=0) > 0).all():
        bank = counts.banks[int(np.argmin(total.sum(axis=0)))]
        raise MeasureError(
            f"{bank.path}: the weights of its experts sum to 0, so they have no shares"
        )
    side = Side(values=_known(gate, counts), sizes=total, clusters=clusters)
    return SampledScore(name="gate_share", own=side)


def _known(
    values: Float64[np.ndarray, "example bank expert"], counts: RoutingCounts
) -> Float64[np.ndarray, "example bank expert"]:
    return np.where(there(counts.banks), values, np.nan)
