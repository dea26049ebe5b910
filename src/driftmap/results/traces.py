"""What does it mean for the answer that one state was put back?

Cells are outcomes, not yet differences: the effect of a cell is `score - low`.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from driftmap.results.statistics import Interval
from driftmap.results.trace_kinds import (
    Noise,
    Outcome,
    TokenRole,
    TraceKind,
    TraceMethod,
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TraceGrid:
    """One prompt, one kind of state: the outcome with each cell put back.

    Args:
        fact_id: The fact's `id`.
        kind: What was put back.
        window: Layers put back at once (count); None where it is one block's output.
        dims: First coordinate put back and one past the last; None for all.
        score: Mean outcome over draws with the state of (token, layer) put back.
        standard_error: Of `score - low`, over draws; 0 with a single one.
        low: Mean outcome of the corrupted run.
        high: Outcome of the clean run.
        tokens: Text of each token of the prompt.
        subject: First token of the subject and one past its last.
        roles: Roles of each token; a token may have two, or none (before the subject).
        answer: What the outcome is about.
        foil: What it is compared with; None without.
        is_known: The model's first choice is the given answer; None where none is
            given.
        outcome: What is read.
        noise: What was done to the subject.
        method: How cells were had.
    """

    fact_id: str
    kind: TraceKind
    window: int | None
    dims: tuple[int, int] | None
    score: Float64[np.ndarray, "token layer"]
    standard_error: Float64[np.ndarray, "token layer"]
    low: float
    high: float
    tokens: tuple[str, ...]
    subject: tuple[int, int]
    roles: tuple[tuple[TokenRole, ...], ...]
    answer: str
    foil: str | None
    is_known: bool | None
    outcome: Outcome
    noise: Noise
    method: TraceMethod

    @property
    def total_effect(self) -> float:
        """TE = high - low."""
        return self.high - self.low

    @property
    def indirect_effect(self) -> Float64[np.ndarray, "token layer"]:
        """IE = score - low, negative where putting the state back makes it worse."""
        return self.score - self.low


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleLayer:
    """Mean indirect effect of one role in one layer over facts.

    Args:
        role: Which tokens.
        layer: Number of the block, from 0.
        effect: Mean with its interval over subjects; `num` is facts.
    """

    role: TokenRole
    layer: int
    effect: Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class BestLayer:
    """Where a role's mean effect is largest.

    Args:
        role: Which tokens.
        layer: The layer.
        low: Lower end of the bootstrap interval of that layer's number.
        high: Upper end.
        effect: The mean effect there.
        mean_of_maxima: Mean over facts of each one's own largest cell of this role.
        num: Facts (count).
    """

    role: TokenRole
    layer: int
    low: int
    high: int
    effect: float
    mean_of_maxima: float
    num: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleEffects:
    """Average indirect effects by role over many facts, of one kind of state.

    Args:
        kind: What was put back.
        window: As of the grids.
        cells: By role, then layer; roles that fewer than two subjects have are left
            out.
        best: The best layer of each role.
        total_effect: Mean TE with its interval over subjects.
        control_effect: Mean TE of the same noise on an equally long span outside the
            subject; None where it was not measured.
        high: Mean outcome of the clean run.
        low: Mean outcome of the corrupted run.
        num_facts: Facts that are averaged (count).
        num_unknown: Facts that the model does not know, which are left out (count).
        num_negative: Averaged facts whose TE is below 0 (count).
        pooled: All cells of a role in one pool, as published, instead of a mean within
            each fact first.
        method: How cells were had.
    """

    kind: TraceKind
    window: int | None
    cells: tuple[RoleLayer, ...]
    best: tuple[BestLayer, ...]
    total_effect: Interval
    control_effect: Interval | None
    high: float
    low: float
    num_facts: int
    num_unknown: int
    num_negative: int
    pooled: bool
    method: TraceMethod
