"""How strongly does a behaviour ask for each expert, and which ones were chosen?

Arrays are `[bank, expert]`, banks in model order. Where a bank has fewer experts than
the largest, the rest is NaN in scores and 0 in counts.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float32, Float64, Int64

from driftmap.core.places import BankPlace, ExpertPlace

ExpertMap = Float64[np.ndarray, "bank expert"]
ExampleMaps = Float32[np.ndarray, "example bank expert"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ExpertScores:
    """What gradients say of each expert, over one set of samples.

    Args:
        banks: Axis of banks.
        sample_ids: Axis of examples.
        scores: By statistic (`mean_example_abs`, `mean_batch_abs`, ...), one number
            per expert.
        examples: By statistic, one number per sample and expert; only statistics that
            are means over samples have them.
        routed_tokens: Tokens that each sample sent to each expert (count).
        batch_size: Samples per batch, on which `mean_batch_abs` depends (count).
        num_batches: Batches (count).
    """

    banks: tuple[BankPlace, ...]
    sample_ids: tuple[str, ...]
    scores: Mapping[str, ExpertMap]
    examples: Mapping[str, ExampleMaps]
    routed_tokens: Int64[np.ndarray, "example bank expert"]
    batch_size: int
    num_batches: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RoutingCounts:
    """Where one set of samples was sent, sample by sample, at the observed tokens.

    Args:
        banks: Axis of banks.
        sample_ids: Axis of examples.
        tokens: Observed tokens of each sample (count).
        chosen: Tokens of the sample whose chosen experts include this one (count).
        gate: Sum over tokens of the weight that the expert's answer got.
    """

    banks: tuple[BankPlace, ...]
    sample_ids: tuple[str, ...]
    tokens: Int64[np.ndarray, " example"]
    chosen: Int64[np.ndarray, "example bank expert"]
    gate: Float64[np.ndarray, "example bank expert"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpertGroup:
    """Experts of one model, in rank order, and how they were chosen.

    Args:
        name: What the group is called in tables and reports.
        method: `gradient`, `routing`, `random`, `effect`, `imported` or `all`.
        statistic: Which score ordered them; empty for `random` and `all`.
        selection: `global`, `per_layer` or `top_p`.
        experts: Members, the highest score first.
        scores: Score of each member; empty where there is none.
        model_sha256: Identity of the model whose experts were scored.
        settings: All else that the choice depends on, as plain words.
    """

    name: str
    method: str
    statistic: str = ""
    selection: str = "global"
    experts: tuple[ExpertPlace, ...]
    scores: tuple[float, ...] = ()
    model_sha256: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)
