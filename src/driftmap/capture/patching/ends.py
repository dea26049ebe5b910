"""What does corruption cost, with nothing put back?"""

from dataclasses import dataclass

import torch
from torch import nn

from driftmap.capture.hooks import evaluating
from driftmap.capture.patching.base_pass import run_base
from driftmap.capture.patching.outcomes import answer_reader
from driftmap.capture.patching.traced import Traced
from driftmap.results.facts import EncodedFact
from driftmap.results.trace_kinds import Outcome
from driftmap.signals.traces import Corruption


@dataclass(frozen=True, slots=True, kw_only=True)
class Ends:
    """Outcomes between which all cells of a prompt usually lie.

    Args:
        high: Of the clean run.
        low: Mean over draws of the corrupted run.
    """

    high: float
    low: float


def ends_of(
    model: nn.Module, prompt: EncodedFact, corruption: Corruption, outcome: Outcome
) -> Ends:
    """Run a prompt clean and corrupted, in one pass.

    Args:
        model: A decoder-only language model; left as it was found.
        prompt: With its answer.
        corruption: From `draw_noise`.
        outcome: What is read of the answer.

    Raises:
        MeasureError: The prompt has no answer, or no foil where one is read.
    """
    answer_reader(prompt, outcome)
    with torch.no_grad(), evaluating(model):
        base = run_base(Traced.of(model), prompt, corruption, (), keeps_keys=False)
        clean = base.logits[0].float().log_softmax(-1)
        outcomes = answer_reader(prompt, outcome, clean)(base.logits)
    return Ends(high=float(outcomes[0]), low=float(outcomes[1:].mean()))
