"""What did tuning chosen experts, and aligning routers, do step by step and keep?

A slice is all of one expert's own values under the names that the model has on the
hub, so that other programs load it. Values are kept as bytes: a number type that numpy
lacks, such as bfloat16, comes back bit for bit.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float32, Int64, UInt8

from driftmap.core.places import ExpertPlace


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpertStep:
    """One step of the optimiser over chosen experts.

    Args:
        step: Number of the step in its round, from 1.
        loss_nats: Mean cross-entropy of the step's counted tokens, before the step.
        gradient_norm: Length of the gradient over all chosen experts, before it was
            shortened.
        num_tokens: Counted tokens of the step (count).
    """

    step: int
    loss_nats: float
    gradient_norm: float
    num_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpertTuningLog:
    """One round of tuning.

    Args:
        experts: Experts that could move, in the order given.
        num_weights: Entries that could move (count).
        steps: In order.
    """

    experts: tuple[ExpertPlace, ...]
    num_weights: int
    steps: tuple[ExpertStep, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RouterStep:
    """One step of the optimiser over routers.

    Args:
        step: Number of the step in its round, from 1.
        divergence_nats: Mean divergence over layers, pairs and positions, before the
            step.
        gradient_norm: Length of the gradient over all routers, before it was shortened.
    """

    step: int
    divergence_nats: float
    gradient_norm: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RouterLog:
    """One round of aligning routers.

    Args:
        routers: Modules of the routers, in model order.
        steps: In order.
    """

    routers: tuple[str, ...]
    steps: tuple[RouterStep, ...]


RouterScore = Literal["softmax", "sigmoid", "identity", "sqrt_softplus"]
"""What a router makes of logits before it chooses."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RoutingReference:
    """Where safe prompts were sent before the first round.

    Args:
        sample_ids: Axis of pairs.
        start: First row of each pair, and the number of rows at the end.
        log_probabilities: By module of the bank: ln P of every expert, position by
            position of all pairs.
        scores: By module of the bank, what its router makes of logits: `softmax`,
            `sigmoid`, `identity` or `sqrt_softplus`.
    """

    sample_ids: tuple[str, ...]
    start: Int64[np.ndarray, " pair_and_end"]
    log_probabilities: Mapping[str, Float32[np.ndarray, "row expert"]]
    scores: Mapping[str, RouterScore]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class KeptTensor:
    """One tensor, bit for bit.

    Args:
        dtype: As safetensors spells it: `F32`, `BF16`, ...
        shape: Its axes.
        values: Its bytes, little-endian, last axis fastest.
    """

    dtype: str
    shape: tuple[int, ...]
    values: UInt8[np.ndarray, " byte"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class KeptSlice:
    """All values of one expert, or of one router.

    Args:
        path: Module of the bank, or of the router.
        layer: Number of the block, from 0.
        expert: Number of the expert in its bank, from 0; None for a router.
        tensors: By the name on the hub; where the hub keeps a bank as one tensor, by
            that tensor's name and the expert in brackets, as in `gate_up_proj[17]`.
    """

    path: str
    layer: int
    expert: int | None
    tensors: Mapping[str, KeptTensor]

    @property
    def key(self) -> str:
        """Name in messages and tables.

        >>> KeptSlice(path="layers.3.experts", layer=3, expert=17, tensors={}).key
        'layers.3.experts#expert.17'
        """
        return self.path if self.expert is None else f"{self.path}#expert.{self.expert}"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ModelSlices:
    """The part of a model that is not as it was before, or as it was before.

    Args:
        model: Name of the model that it is a part of (folder or hub id).
        model_sha256: Identity of that model's weights as published, before any tuning.
        slices: Experts and routers, each once.
    """

    model: str
    model_sha256: str
    slices: tuple[KeptSlice, ...]

    @property
    def tensors(self) -> dict[str, KeptTensor]:
        """All tensors by name."""
        return {
            name: kept for each in self.slices for name, kept in each.tensors.items()
        }
