"""How large is the gradient that all batches together leave at an expert?

Its size is known only once all are added, so it takes a second pass, with one gradient
kept per expert: for the best experts of the first pass, not for all.
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor

from driftmap.core.errors import MeasureError
from driftmap.measure.experts.layout import (
    BankLayout,
    bias_of,
    num_scalars,
    tensor_named,
)
from driftmap.results.expert_evidence import Chosen
from driftmap.results.experts import ExpertMap
from driftmap.signals.experts import ExpertGradients, ExpertSignal


class ExpertSumFold:
    """`||(1/num_batches) sum_b G_b||_1 / n_e` of some experts; others are not computed.

    Args:
        banks: In model order.
        chosen: Experts whose gradients are summed: bank and expert, row by row.
    """

    def __init__(self, banks: Sequence[BankLayout], chosen: Chosen) -> None:
        self._banks = tuple(banks)
        self._chosen: dict[str, list[int]] = {bank.place.path: [] for bank in banks}
        for bank, expert in chosen:
            self._chosen[banks[bank].place.path].append(int(expert))
        self._sums: dict[tuple[str, str, int], Float32[Tensor, "..."]] = {}
        self._batches: dict[str, set[tuple[int, ...]]] = {}

    @property
    def num_bytes(self) -> int:
        """Memory of the sums."""
        return sum(
            4 * num_scalars(bank) * len(self._chosen[bank.place.path])
            for bank in self._banks
        )

    @torch.no_grad()
    def take(self, signal: ExpertSignal | ExpertGradients) -> None:
        """Add what a batch showed of one tensor of a bank.

        Raises:
            MeasureError: The signal is of no tensor of the bank.
        """
        bank = next(b for b in self._banks if b.place.path == signal.bank.path)
        seen = self._batches.setdefault(bank.place.path, set())
        if isinstance(signal, ExpertSignal):
            seen.add(signal.sample_index)
            self._add_rows(bank, signal)
            return
        seen.add((signal.sample_index,))
        tensor_named(bank, signal.tensor)
        for expert, gradient in zip(signal.experts, signal.gradients, strict=True):
            self._add(signal, expert, gradient.float())

    def merge(self, other: "ExpertSumFold") -> None:
        """Add the sums of other batches of the same data, in place.

        Raises:
            MeasureError: The other fold speaks of other experts.
        """
        if self._chosen != other._chosen:
            raise MeasureError(
                "two shards sum gradients of different experts; give both the same"
            )
        for key, total in other._sums.items():
            own = self._sums.get(key)
            self._sums[key] = total if own is None else own + total.to(own.device)
        for path, batches in other._batches.items():
            self._batches.setdefault(path, set()).update(batches)

    def result(self) -> ExpertMap:
        """Score of the chosen experts; NaN for all others.

        Raises:
            MeasureError: No batch came to a bank, or a sum is not finite.
        """
        width = max(bank.place.num_experts for bank in self._banks)
        scores = np.full((len(self._banks), width), np.nan)
        for number, bank in enumerate(self._banks):
            path = bank.place.path
            for expert in self._chosen[path]:
                size = num_scalars(bank) * len(self._batches.get(path, ()))
                if not size:
                    raise MeasureError(f"{path}: no gradient of this bank came")
                parts = [
                    float(total.abs().sum(dtype=torch.float64))
                    for (at, _, e), total in self._sums.items()
                    if (at, e) == (path, expert)
                ]
                scores[number, expert] = sum(parts) / size
                if not np.isfinite(scores[number, expert]):
                    raise MeasureError(
                        f"{path}: the summed gradient of expert {expert} is not finite"
                    )
        return scores

    def _add_rows(self, bank: BankLayout, signal: ExpertSignal) -> None:
        chosen = set(self._chosen[bank.place.path])
        bias = bias_of(bank, tensor_named(bank, signal.tensor))
        counted = torch.tensor(signal.num_counted, device=signal.inputs.device).float()
        share = (counted / counted.sum())[signal.sample].tolist()
        start = signal.start.tolist()
        for segment, expert in enumerate(signal.expert.tolist()):
            if expert not in chosen:
                continue
            own = slice(start[segment], start[segment + 1])
            D = signal.output_gradients[own].float() * share[segment]
            self._add(signal, expert, D.T @ signal.inputs[own].float())
            if bias is not None:
                self._add(signal, expert, D.sum(0), bias.name)

    def _add(
        self,
        signal: ExpertSignal | ExpertGradients,
        expert: int,
        gradient: Float32[Tensor, "..."],
        name: str | None = None,
    ) -> None:
        if expert not in self._chosen[signal.bank.path]:
            return
        key = (signal.bank.path, name or signal.tensor, expert)
        own = self._sums.get(key)
        self._sums[key] = gradient if own is None else own.add_(gradient)
