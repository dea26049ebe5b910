"""What do models with changed experts do, and where do their tokens go?

Parts of a study of experts that no other result holds: outcomes side by side, routing
before and after, and where single tokens were sent.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float64

from driftmap.core.places import ExpertPlace
from driftmap.results.expert_usage import RoutingDrift
from driftmap.results.statistics import Interval

ArmKind = Literal["base", "method", "random", "all", "full"]

ArmOutcome = Literal[
    "refused", "refusal_log_odds", "margin", "plain_refused", "over_refused",
    "benign_nats", "perplexity",
]  # fmt: skip
"""Shares of held-out attacks refused, of plain harmful requests refused, of harmless
requests refused; nats; perplexity of ordinary text."""

RATES: frozenset[ArmOutcome] = frozenset({"refused", "plain_refused", "over_refused"})
"""Outcomes that are shares of prompts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmReading:
    """One outcome of one model.

    Args:
        value: Mean over prompts, with its interval.
        change: Against the untouched model on the same prompts; None for that itself.
        p_value: Of that change, two-sided; None where no test was made.
    """

    value: Interval
    change: Interval | None = None
    p_value: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One model, asked the same held-out prompts as all others.

    Args:
        name: What tables call it; distinct within a study.
        kind: `base` untouched, `method` its chosen experts tuned, `random` others
            matched to them, `all` every expert, `full` every weight.
        method: How its experts were chosen: `gradient`, `routing`, ...; for `random`,
            whose group they are matched to; empty for the other kinds.
        num_experts: Experts that could move (count).
        num_weights: Weights that could move (count).
        tunes_routers: Routers were aligned as well.
        num_models: Models behind the readings, such as random draws (count).
        readings: Outcome -> what was read.
    """

    name: str
    kind: ArmKind
    method: str = ""
    num_experts: int = 0
    num_weights: int = 0
    tunes_routers: bool = False
    num_models: int = 1
    readings: Mapping[ArmOutcome, ArmReading]


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmContrast:
    """One outcome of one model less that of another, paired by prompt.

    Args:
        left: Name of the first arm.
        right: Name of the second.
        outcome: What was read.
        difference: Left minus right.
        p_value: Two-sided; None where no test was made.
    """

    left: str
    right: str
    outcome: ArmOutcome
    difference: Interval
    p_value: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutingMoved:
    """How far tuning moved the routing of one kind of text.

    Args:
        method: Whose tuning: the method that chose the experts.
        texts: What was read: `unsafe`, `safe`, `benign`.
        banks: One reading per bank, in model order.
    """

    method: str
    texts: str
    banks: tuple[RoutingDrift, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DomainRouting:
    """Where one kind of text is sent.

    Args:
        name: What kind: `facts`, `unsafe`, `safe`.
        num_tokens: Tokens that were counted.
        before: Share of each bank's choices that go to each expert, of the untouched
            model; sums to 1 over a bank; NaN beyond its last expert.
        after: The same after tuning; None without tuning.
    """

    name: str
    num_tokens: int
    before: Float64[np.ndarray, "bank expert"]
    after: Float64[np.ndarray, "bank expert"] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Specialised:
    """Do kinds of text go to different experts of a bank?

    Args:
        variation: Mean total variation of token shares over pairs of domains, per
            bank: 0 all domains are routed alike, 1 they share no expert.
        chance: The highest value with shuffled domains, per bank; empty where nothing
            was shuffled.
    """

    variation: tuple[float, ...]
    chance: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TokenView:
    """Where the tokens of one sample were sent.

    Args:
        sample_id: Which.
        experts: Chosen experts that the columns stand for, in rank order.
        num_prompt: Tokens of the prompt (count); those of the response follow.
        weights: What each expert's answer is multiplied by; 0 where not chosen.
        push: Sum over projections of ||d|| ||x|| at those experts, relative to the
            strongest token; None where it was not measured.
        signed_share: The token's part of the sample's gradient at each expert, mean
            over projections; None likewise.
        tokens: The tokens' own text; empty unless texts may be shown.
    """

    sample_id: str
    experts: tuple[ExpertPlace, ...]
    num_prompt: int
    weights: Float64[np.ndarray, "token expert"]
    push: Float64[np.ndarray, " token"] | None = None
    signed_share: Float64[np.ndarray, "token expert"] | None = None
    tokens: tuple[str, ...] = ()
