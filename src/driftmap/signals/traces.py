"""What does a corrupted run with one state put back show?"""

from dataclasses import dataclass

from jaxtyping import Float, Float64
from torch import Tensor

from driftmap.results.trace_kinds import TraceKind, TraceMethod


@dataclass(frozen=True, slots=True, kw_only=True)
class Restoring:
    """What is put back, cell by cell.

    Args:
        kind: Which state.
        window: Layers put back at once, for `mlp` and `attn`
            `[max(0, l - w // 2), min(L, l + ceil(w / 2)))`; None for other kinds.
        dims: First coordinate of the state and one past the last; None for all. Only
            for `hidden`.
        tokens: First token whose cells are wanted and one past the last, the others
            are NaN; None for all.
    """

    kind: TraceKind = "hidden"
    window: int | None = None
    dims: tuple[int, int] | None = None
    tokens: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Corruption:
    """What is done to the output of the embedding module, draw by draw.

    Args:
        start: First token it is done to; the others follow.
        values: Noise, or what stands in its place, in float64.
        replaces: `values` stand in place of the embeddings instead of being added.
    """

    start: int
    values: Float64[Tensor, "draw token width"]
    replaces: bool


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TraceCells:
    """Outcomes of one prompt, draw by draw; every cell sees the same draws.

    Args:
        restoring: What was put back.
        scores: Outcome with the state at (token, layer) put back.
        low: Outcome of the corrupted run.
        high: Outcome of the clean run.
        method: How they were had.
    """

    restoring: Restoring
    scores: Float64[Tensor, "token layer draw"]
    low: Float64[Tensor, " draw"]
    high: float
    method: TraceMethod


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CleanRun:
    """What the untouched model says at the places where the answer is read.

    Args:
        log_probs: Log-probabilities at the last token of the prompt and at those of the
            answer that are fed, one row per token of the answer.
        choice: The most likely next token after the prompt.
    """

    log_probs: Float[Tensor, "answer_token vocabulary"]
    choice: int
