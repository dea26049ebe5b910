"""What does each state of one model do for the answer in the run of another?

The grid of a causal trace, with one model's run in place of the corrupted one and the
other's states in place of the clean ones. There is no noise and one row, so nothing is
known beforehand: the cells of every token are run.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace

import torch
from torch import nn

from driftmap.capture.hooks import evaluating
from driftmap.capture.patching.base_pass import BasePass, run_base
from driftmap.capture.patching.grids import Grid, method_for
from driftmap.capture.patching.noise import embedding_rows
from driftmap.capture.patching.outcomes import answer_reader
from driftmap.capture.patching.traced import Traced
from driftmap.capture.patching.windows import put_back_layers
from driftmap.core.errors import MeasureError
from driftmap.results.facts import EncodedFact
from driftmap.results.trace_kinds import Outcome, TraceKind
from driftmap.signals.traces import Corruption, Restoring, TraceCells


def trace_across(
    receiver: nn.Module,
    giver: nn.Module,
    prompt: EncodedFact,
    wanted: Sequence[Restoring],
    *,
    outcome: Outcome = "prob",
) -> tuple[TraceCells, ...]:
    """Put states of one model into the run of another, cell by cell.

    Args:
        receiver: The model that is run; left as it was found.
        giver: A model of the same architecture whose states are put in; likewise.
        prompt: With its answer.
        wanted: Grids; no severed ones.
        outcome: What is read of the answer.

    Returns:
        One per grid, in the order wanted: `low` is what the receiver says, `high` what
        the giver says.

    Raises:
        MeasureError: The two have other blocks, or what is wanted cannot be had.
    """
    answer_reader(prompt, outcome)
    _refuse_severed(wanted)
    ours, theirs = Traced.of(receiver), Traced.of(giver)
    _require_alike(ours, theirs)
    kinds: list[TraceKind] = [one.kind for one in wanted]
    width = embedding_rows(receiver, prompt.token_ids[:1].tolist()).shape[1]
    nothing = torch.zeros(1, prompt.num_prompt, width, dtype=torch.float64)
    corruption = Corruption(start=0, values=nothing, replaces=False)
    with ExitStack() as stack:
        stack.enter_context(torch.no_grad())
        stack.enter_context(evaluating(receiver))
        stack.enter_context(evaluating(giver))
        grids = [
            Grid(
                restoring=one,
                columns=put_back_layers(one, ours.num_layers),
                method=method_for(ours, prompt, corruption, one, None),
            )
            for one in wanted
        ]
        keeps_keys = any(grid.method == "wavefront" for grid in grids)
        received = run_base(ours, prompt, corruption, kinds, keeps_keys=keeps_keys)
        given = run_base(theirs, prompt, corruption, kinds, keeps_keys=False)
        base = _crossed(received, given)
        clean = base.logits[0].float().log_softmax(-1)
        read = answer_reader(prompt, outcome, clean)
        for grid in grids:
            grid.take(base, read)
    return tuple(grid.cells() for grid in grids)


def _crossed(received: BasePass, given: BasePass) -> BasePass:
    """The receiver's pass with the giver's as its clean row."""
    outputs = {
        path: torch.cat([given.outputs[path][:1].to(states), states[1:]])
        for path, states in received.outputs.items()
    }
    logits = torch.cat([given.logits[:1].to(received.logits), received.logits[1:]])
    return replace(received, outputs=outputs, logits=logits)


def _refuse_severed(wanted: Sequence[Restoring]) -> None:
    for one in wanted:
        if one.kind.startswith("severed"):
            raise MeasureError(
                f"{one.kind}: between two models whole states are put in; leave "
                "severed kinds out"
            )


def _require_alike(ours: Traced, theirs: Traced) -> None:
    if ours.sites != theirs.sites:
        raise MeasureError(
            f"two models of {ours.num_layers} and {theirs.num_layers} blocks do not "
            "have their states at the same places; compare a model with what was made "
            "of it"
        )
