"""What does each state of a corrupted run do for the answer, once it is put back?

Clean states are put back one cell (token, layer) at a time (causal tracing, ROME,
arXiv:2202.05262). Every cell sees the same draws of noise. All ways are exact; the
fast ones run only what a cell can reach.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from driftmap.capture.hooks import evaluating
from driftmap.capture.patching.base_pass import run_base
from driftmap.capture.patching.dividing import divided
from driftmap.capture.patching.grids import Grid, method_for
from driftmap.capture.patching.outcomes import answer_reader
from driftmap.capture.patching.traced import Traced
from driftmap.capture.patching.windows import put_back_layers
from driftmap.core.errors import MeasureError
from driftmap.results.facts import EncodedFact
from driftmap.results.trace_kinds import Outcome, TraceKind, TraceMethod
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
    traced = Traced.of(model)
    with torch.no_grad(), evaluating(model):
        grids = [
            Grid(
                restoring=restoring,
                columns=put_back_layers(restoring, traced.num_layers),
                method=method_for(
                    traced, prompt, corruption, restoring, tracing.method
                ),
            )
            for restoring in wanted
        ]
        kinds: list[TraceKind] = [grid.restoring.kind for grid in grids]
        keeps_keys = any(grid.method == "wavefront" for grid in grids)
        for part in divided(traced, prompt, corruption, kinds, tracing.memory_bytes):
            base = run_base(traced, prompt, part, kinds, keeps_keys=keeps_keys)
            clean = base.logits[0].float().log_softmax(-1)
            read = answer_reader(prompt, tracing.outcome, clean)
            for grid in grids:
                grid.take(base, read)
    return tuple(grid.cells() for grid in grids)


def _require_inside(prompt: EncodedFact, corruption: Corruption) -> None:
    end = corruption.start + corruption.values.shape[1]
    if corruption.start < 0 or end > prompt.num_prompt:
        raise MeasureError(
            f"fact {prompt.fact.id}: tokens {corruption.start} to {end} are corrupted, "
            f"and its prompt has {prompt.num_prompt}"
        )
