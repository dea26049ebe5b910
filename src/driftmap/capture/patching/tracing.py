"""What does each state of a corrupted run do for the answer, once it is put back?

Clean states are put back one cell (token, layer) at a time (causal tracing, ROME,
arXiv:2202.05262). Every cell sees the same draws of noise. All ways are exact; the
fast ones run only what a cell can reach.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float64
from torch import Tensor, nn

from driftmap.capture.hooks import evaluating
from driftmap.capture.patching.base_pass import BasePass, run_base
from driftmap.capture.patching.naive import naive_cells
from driftmap.capture.patching.outcomes import AnswerReader, answer_reader
from driftmap.capture.patching.putting import Changes
from driftmap.capture.patching.traced import Traced
from driftmap.capture.patching.windows import put_back_layers
from driftmap.core.errors import MeasureError
from driftmap.results.facts import EncodedFact
from driftmap.results.trace_kinds import EXACT, Outcome, TraceKind, TraceMethod
from driftmap.signals.traces import Corruption, Restoring, TraceCells


@dataclass(frozen=True, slots=True, kw_only=True)
class Tracing:
    """How a prompt is traced.

    Args:
        outcome: What is read of the answer.
        method: An exact one; None for the fastest that is exact with this model.
        memory_bytes: That states may take, in bytes; part of what is free by default.
            With less, draws are taken a few at a time.
    """

    outcome: Outcome = "prob"
    method: TraceMethod | None = None
    memory_bytes: int | None = None


def trace_prompt(
    model: nn.Module,
    prompt: EncodedFact,
    corruption: Corruption,
    wanted: Sequence[Restoring],
    *,
    outcome: Outcome = "prob",
    method: TraceMethod | None = None,
) -> tuple[TraceCells, ...]:
    """Trace one prompt.

    Args:
        model: A decoder-only language model; left as it was found.
        prompt: With its answer.
        corruption: From `draw_noise`.
        wanted: Grids, all of the same draws.
        outcome: What is read of the answer.
        method: `wavefront`, `resume` or `naive`; None for the fastest that is exact
            with this model.

    Returns:
        One per grid, in the order wanted.

    Raises:
        MeasureError: What is wanted cannot be had of this prompt or model.
    """
    tracing = Tracing(outcome=outcome, method=method)
    return trace_within(model, prompt, corruption, wanted, tracing)


def trace_within(
    model: nn.Module,
    prompt: EncodedFact,
    corruption: Corruption,
    wanted: Sequence[Restoring],
    tracing: Tracing,
) -> tuple[TraceCells, ...]:
    """As `trace_prompt`, with a limit on memory."""
    answer_reader(prompt, tracing.outcome)
    _require_inside(prompt, corruption)
    if tracing.method not in (None, *EXACT):
        raise MeasureError(
            f"{tracing.method} is an estimate; exact traces are had by "
            f"{', '.join(EXACT)}"
        )
    traced = Traced.of(model)
    with torch.no_grad(), evaluating(model):
        return _trace_draws(traced, prompt, corruption, wanted, tracing)


def _trace_draws(
    traced: Traced,
    prompt: EncodedFact,
    corruption: Corruption,
    wanted: Sequence[Restoring],
    tracing: Tracing,
) -> tuple[TraceCells, ...]:
    kinds: list[TraceKind] = [restoring.kind for restoring in wanted]
    base = run_base(traced, prompt, corruption, kinds, keeps_keys=False)
    clean = base.logits[0].float().log_softmax(-1)
    read = answer_reader(prompt, tracing.outcome, clean)
    outcomes = read(base.logits)
    return tuple(
        TraceCells(
            restoring=restoring,
            scores=_scores(base, restoring, read, outcomes),
            low=outcomes[1:],
            high=float(outcomes[0]),
            method="naive",
        )
        for restoring in wanted
    )


def _scores(
    base: BasePass, restoring: Restoring, read: AnswerReader, outcomes: Tensor
) -> Float64[Tensor, "token layer draw"]:
    """Outcomes of all cells; those that cannot differ from the corrupted run are it."""
    columns = put_back_layers(restoring, base.num_layers)
    low = outcomes[1:]
    scores = low.expand(base.num_prompt, len(columns), -1).clone()
    changes = Changes()
    for token in range(base.corruption.start, base.num_prompt):
        is_read = token == base.num_prompt - 1
        open_ = [
            column
            for column, layers in enumerate(columns)
            if is_read or layers.start < base.num_layers - 1
        ]
        if open_:
            layers = [columns[column] for column in open_]
            scores[token, open_] = naive_cells(
                base, restoring, token, layers, read, changes
            )
    high, mean = float(outcomes[0]), float(low.mean())
    changes.require(high - mean, max(abs(high), abs(mean)))
    return scores


def _require_inside(prompt: EncodedFact, corruption: Corruption) -> None:
    end = corruption.start + corruption.values.shape[1]
    if corruption.start < 0 or end > prompt.num_prompt:
        raise MeasureError(
            f"fact {prompt.fact.id}: tokens {corruption.start} to {end} are corrupted, "
            f"and its prompt has {prompt.num_prompt}"
        )
