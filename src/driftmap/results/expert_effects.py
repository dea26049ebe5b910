"""What becomes of refusal when experts are taken away, re-routed or exchanged?

Scores choose experts; only these numbers say that they carry the behaviour. A set of
experts always stands beside sets that are matched to it by layer and traffic.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float32, Float64

from driftmap.core.places import BankPlace, ExpertPlace
from driftmap.results.statistics import Interval

Action = Literal["ablate", "suppress", "promote"]
"""What is done to experts at inference: their answers count nothing; the router takes
them last; the router takes them first."""

OutcomeName = Literal["refusal_log_odds", "margin", "benign_nats"]
OUTCOMES: tuple[OutcomeName, ...] = ("refusal_log_odds", "margin", "benign_nats")

SwapForm = Literal["weights", "replay"]
"""How routers are exchanged: their parameters, or the choices they once made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExampleOutcomes:
    """What a model does on held-out examples, one number each, without generation.

    Args:
        unsafe_ids: Examples that are to be refused.
        refusal_log_odds: Per unsafe example, log-odds that the answer's first token
            opens a refusal (nats).
        margin_ids: Unsafe examples for which an unsafe answer is known.
        margins: Per such example, mean log-probability of a refusal's tokens minus
            that of the unsafe answer's (nats).
        benign_ids: Harmless examples.
        benign_nats: Per harmless example, mean negative log-likelihood of its response
            (nats).
    """

    unsafe_ids: tuple[str, ...]
    refusal_log_odds: tuple[float, ...]
    margin_ids: tuple[str, ...] = ()
    margins: tuple[float, ...] = ()
    benign_ids: tuple[str, ...] = ()
    benign_nats: tuple[float, ...] = ()

    def ids_of(self, outcome: OutcomeName) -> tuple[str, ...]:
        """Examples that an outcome was read on; empty where it was not."""
        return {
            "refusal_log_odds": self.unsafe_ids,
            "margin": self.margin_ids,
            "benign_nats": self.benign_ids,
        }[outcome]

    def values_of(self, outcome: OutcomeName) -> Float64[np.ndarray, " example"]:
        """One number per example.

        >>> o = ExampleOutcomes(unsafe_ids=("a", "b"), refusal_log_odds=(1.0, -2.0))
        >>> o.values_of("refusal_log_odds"), o.values_of("margin")
        (array([ 1., -2.]), array([], dtype=float64))
        """
        values = {
            "refusal_log_odds": self.refusal_log_odds,
            "margin": self.margins,
            "benign_nats": self.benign_nats,
        }[outcome]
        return np.array(values, dtype=np.float64)


@dataclass(frozen=True, slots=True, kw_only=True)
class MatchedNull:
    """What the same action does to random experts of the same layers and traffic.

    Args:
        changes: Mean change of the outcome under each drawn set.
        num_unmatched: Most experts of one draw for which the layer had none of the
            same traffic left, so that any other of the layer was taken (count).
        num_missing: Experts of the set without a counterpart in any draw: too few of
            their layer are not in it (count).
        p_value: (1 + draws that change at least as much, either way) / (1 + draws).
        difference: The set's change minus the mean draw's, paired by example;
            bootstrap over examples and draws.
    """

    changes: tuple[float, ...]
    num_unmatched: int
    num_missing: int = 0
    p_value: float
    difference: Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpertEffect:
    """How far one action on one set of experts moves one outcome.

    Args:
        name: What tables call the set: an expert's key, or a group's name.
        method: How the set was chosen: `gradient`, `routing`, `random`, ...
        action: What was done.
        outcome: What was read.
        experts: The set.
        intact: Mean outcome of the untouched model.
        change: Changed minus untouched, paired by example, bootstrap over examples.
        null: Random sets beside it; None where none was drawn.
    """

    name: str
    method: str
    action: Action
    outcome: OutcomeName
    experts: tuple[ExpertPlace, ...]
    intact: float
    change: Interval
    null: MatchedNull | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DoseCurve:
    """One outcome as ever more experts of a ranking are taken.

    Args:
        method: How the ranking was made.
        action: What was done to the first k of it.
        outcome: What was read.
        doses: k, ascending, from 0 (count).
        effects: One per dose.
    """

    method: str
    action: Action
    outcome: OutcomeName
    doses: tuple[int, ...]
    effects: tuple[ExpertEffect, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SwapTest:
    """Is it the tuned experts or the tuned routers that move an outcome?

    `y(experts, router)`, each old or new.

    Args:
        form: How routers were exchanged.
        outcome: What was read.
        both_old: y(old, old).
        new_experts: y(new, old).
        new_router: y(old, new).
        both_new: y(new, new).
        experts: What the experts do, averaged over both routers.
        router: What the router does, averaged over both sets of experts.
        interaction: What the two do together and neither alone.
        total: y(new, new) - y(old, old), the sum of `experts` and `router`.
    """

    form: SwapForm
    outcome: OutcomeName
    both_old: Interval
    new_experts: Interval
    new_router: Interval
    both_new: Interval
    experts: Interval
    router: Interval
    interaction: Interval
    total: Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class TunedReadings:
    """What one tuned model does on held-out prompts, before any statistic.

    Args:
        method: How its experts were chosen: `gradient`, `routing`, `random`, `all`.
        k: Experts that were tuned per round (count).
        with_router: Whether routers were aligned.
        refused: Per unsafe prompt, 1 where the model refuses, or the log-odds that it
            does where nothing was generated.
        over_refused: Per harmless prompt, the same; empty where none was asked.
        perplexity: On benign text; None where none was read.
    """

    method: str
    k: int
    with_router: bool
    refused: tuple[float, ...]
    over_refused: tuple[float, ...] = ()
    perplexity: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TradeOffPoint:
    """What one tuned model gains, and what it costs.

    Args:
        method: How its experts were chosen.
        k: Experts that were tuned per round (count).
        with_router: Whether routers were aligned.
        refusal: Mean over unsafe held-out prompts.
        over_refusal: Mean over harmless prompts; None where none was asked.
        perplexity: On benign text; None where none was read.
        is_on_front: No other point refuses as much at no more cost and is better in
            one of them.
    """

    method: str
    k: int
    with_router: bool
    refusal: Interval
    over_refusal: Interval | None
    perplexity: float | None
    is_on_front: bool


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AblationEstimate:
    """What one backward foresees of taking each expert away, one at a time.

    Args:
        banks: Axis of banks.
        sample_ids: Axis of examples.
        change: Mean over examples of the foreseen change of the refusal log-odds
            (nats); NaN beyond a bank's last expert.
        examples: The same per example; 0 for experts that the example never visits.
    """

    banks: tuple[BankPlace, ...]
    sample_ids: tuple[str, ...]
    change: Float64[np.ndarray, "bank expert"]
    examples: Float32[np.ndarray, "example bank expert"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EstimateCheck:
    """Do foreseen changes order experts as real ablation does?

    Args:
        tau: Kendall's tau-b of foreseen and real changes; None where either is the
            same for all.
        num_experts: Experts that were really taken away (count).
    """

    tau: float | None
    num_experts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpertEffects:
    """All causal checks of one model.

    Args:
        intact: What the untouched model does.
        effects: Single experts and groups, every action and outcome.
        doses: Dose curves, every method.
        estimate: How well the one backward foresees; None where it was not made.
        swaps: The swap test in both forms; empty for a model that was not tuned.
        trade_off: Several k and methods side by side; empty where only one was tuned.
    """

    intact: ExampleOutcomes
    effects: tuple[ExpertEffect, ...] = ()
    doses: tuple[DoseCurve, ...] = ()
    estimate: EstimateCheck | None = None
    swaps: tuple[SwapTest, ...] = ()
    trade_off: tuple[TradeOffPoint, ...] = ()
