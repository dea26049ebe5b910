"""How do the cells of one grid come together, draw by draw?"""

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from driftmap.capture.patching.base_pass import BasePass
from driftmap.capture.patching.choosing import cells_of, exact_method
from driftmap.capture.patching.outcomes import AnswerReader
from driftmap.capture.patching.putting import Changes
from driftmap.capture.patching.traced import Traced
from driftmap.core.errors import MeasureError
from driftmap.results.facts import EncodedFact
from driftmap.results.trace_kinds import EXACT, TraceMethod
from driftmap.signals.traces import Corruption, Restoring, TraceCells


@dataclass(slots=True, kw_only=True, eq=False)
class Grid:
    """One grid while its draws are taken.

    Args:
        restoring: What is put back.
        columns: In which layers, column by column.
        method: How cells are run.
        changes: Whether anything was changed.
        scores: Of the draws so far.
        outcomes: Of the base passes so far: clean, then corrupted.
    """

    restoring: Restoring
    columns: tuple[range, ...]
    method: TraceMethod
    changes: Changes = field(default_factory=Changes)
    scores: list[Tensor] = field(default_factory=list)
    outcomes: list[Tensor] = field(default_factory=list)

    def take(self, base: BasePass, read: AnswerReader) -> None:
        """Run all cells with some of the draws.

        Those that cannot differ from the corrupted run are it.
        """
        outcomes = read(base.logits)
        if self.method != "wavefront":
            base = replace(base, recorder=None)
        cells = cells_of(self.method)
        scores = outcomes[1:].expand(base.num_prompt, len(self.columns), -1).clone()
        first, end = self.restoring.tokens or (0, base.num_prompt)
        scores[:first], scores[end:] = torch.nan, torch.nan
        for token in range(max(first, base.corruption.start), end):
            is_read = token == base.num_prompt - 1
            reaching = [
                column
                for column, layers in enumerate(self.columns)
                if is_read or layers.start < base.num_layers - 1
            ]
            if reaching:
                layers = [self.columns[column] for column in reaching]
                scores[token, reaching] = cells(
                    base, self.restoring, token, layers, read, self.changes
                )
        self.scores.append(scores)
        self.outcomes.append(outcomes)

    def cells(self) -> TraceCells:
        """All draws together.

        Raises:
            MeasureError: Putting states back never changed anything.
        """
        low = torch.cat([outcomes[1:] for outcomes in self.outcomes])
        high, mean = float(self.outcomes[0][0]), float(low.mean())
        self.changes.require(high - mean, max(abs(high), abs(mean)))
        return TraceCells(
            restoring=self.restoring,
            scores=torch.cat(self.scores, dim=2),
            low=low,
            high=high,
            method=self.method,
        )


def method_for(
    traced: Traced,
    prompt: EncodedFact,
    corruption: Corruption,
    restoring: Restoring,
    asked: TraceMethod | None,
) -> TraceMethod:
    """Settle how cells are run.

    Args:
        traced: The model, in eval mode, without gradients.
        prompt: With its answer.
        corruption: What is done to it.
        restoring: What will be put back.
        asked: A way; None for the fastest that is exact.

    Raises:
        MeasureError: The way asked for does not give what the naive one gives.
    """
    if asked == "naive":
        return asked
    if asked not in (None, *EXACT):
        raise MeasureError(
            f"{asked} is an estimate; exact traces are had by {', '.join(EXACT)}"
        )
    span = corruption.start, corruption.start + corruption.values.shape[1]
    found = exact_method(traced, prompt, restoring, span)
    if asked is None or EXACT.index(asked) >= EXACT.index(found):
        return asked or found
    raise MeasureError(
        f"{asked} does not give what whole forward passes give with this model, "
        f"{found} does; leave the method out"
    )
