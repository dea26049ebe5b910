"""What do banks of experts show on the way back, when they run on sorted rows?

Every token's rows are known before the pass; what entered each map and the gradient at
its outputs come out bank by bank, from the top down. A bank that runs twice in a batch
would show a sum in two halves, and one that never runs would show an empty 0: both are
refused.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Int
from torch import Tensor, nn

from driftmap.capture.bank_turns import BankTurns
from driftmap.capture.expert_visits import require_finite_rows
from driftmap.core.places import BankPlace
from driftmap.families.expert_forward import BankCall
from driftmap.families.expert_switch import running_experts
from driftmap.families.grouped_maps import ExpertRows
from driftmap.signals.batch import Batch
from driftmap.signals.experts import ExpertSignal, TakeExperts


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Segments:
    """Rows of one sample at one expert, one after the other.

    Args:
        expert: Expert of each segment.
        sample: Row of the batch that each is of.
        start: First row of each, and the number of rows at the end.
        token: Column of the batch that each row is of.
    """

    expert: Int[Tensor, " segment"]
    sample: Int[Tensor, " segment"]
    start: Int[Tensor, " segment_and_end"]
    token: Int[Tensor, " row"]


def segments_of(rows: ExpertRows, num_samples: int) -> Segments:
    """Say where each sample's rows lie.

    Args:
        rows: Sorted by expert, then token; tokens are sample after sample.
        num_samples: Samples of the batch (count).

    >>> from driftmap.families.grouped_maps import sorted_rows
    >>> rows = sorted_rows(torch.tensor([[1], [0], [1], [1]]), 2)
    >>> found = segments_of(rows, 2)
    >>> found.expert.tolist(), found.sample.tolist(), found.start.tolist()
    ([0, 1, 1], [0, 0, 1], [0, 1, 2, 4])
    """
    length = rows.num_tokens // num_samples
    key = rows.expert * num_samples + rows.token // length
    key, counts = torch.unique_consecutive(key, return_counts=True)
    start = torch.zeros(len(counts) + 1, dtype=torch.long, device=key.device)
    torch.cumsum(counts, dim=0, out=start[1:])
    return Segments(
        expert=key // num_samples,
        sample=key % num_samples,
        start=start,
        token=rows.token % length,
    )


class RowSignals:
    """Turns what banks show into signals.

    Args:
        model: A model whose banks run on sorted rows.
        banks: Which of them to show.
        take: Takes each signal, during the backward.
    """

    def __init__(
        self, model: nn.Module, banks: Sequence[BankPlace], take: TakeExperts
    ) -> None:
        self._model = model
        self._banks = tuple(banks)
        self._take = take
        self._anchor = torch.zeros((), requires_grad=True)
        self._batch: Batch | None = None
        self._segments: dict[str, Segments] = {}
        self._turns = BankTurns(bank.path for bank in banks)

    @contextmanager
    def attached(self) -> Iterator[None]:
        """Have the banks run on sorted rows for as long as the block runs."""
        calls = {bank.path: partial(self._call, bank) for bank in self._banks}
        with running_experts(self._model, calls):
            yield

    def begin(self, batch: Batch) -> None:
        """Make ready for a batch."""
        self._batch = batch
        self._segments = {}
        self._turns.begin()

    def finish(self) -> None:
        """Require that every bank has shown both of its maps.

        Raises:
            MeasureError: One ran by another way than ours, or no gradient came back.
        """
        self._turns.finish()
        self._segments = {}
        self._batch = None

    def _call(self, bank: BankPlace) -> BankCall:
        assert self._batch is not None
        self._turns.run(bank.path)
        return BankCall(
            receive=partial(self._receive, bank),
            anchor=self._anchor,
            kept=self._batch.real.flatten(),
        )

    def _receive(
        self,
        bank: BankPlace,
        name: str,
        inputs: Tensor,
        gradients: Tensor,
        rows: ExpertRows,
    ) -> None:
        batch = self._batch
        assert batch is not None
        if bank.path not in self._segments:
            self._segments[bank.path] = segments_of(rows, len(batch.sample_ids))
        own = self._segments[bank.path]
        for what, values in (("input", inputs), ("gradient", gradients)):
            require_finite_rows(values, rows, batch.sample_ids, bank.path, what)
        if self._turns.show(bank.path):
            del self._segments[bank.path]
        self._take(
            ExpertSignal(
                bank=bank,
                tensor=name,
                sample_ids=batch.sample_ids,
                sample_index=batch.sample_index,
                num_counted=tuple(batch.counted.sum(dim=1).tolist()),
                expert=own.expert,
                sample=own.sample,
                start=own.start,
                token=own.token,
                inputs=inputs,
                output_gradients=gradients,
            )
        )
