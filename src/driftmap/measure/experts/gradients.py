"""How strongly does each sample's loss pull at every expert?

`ExpertScoreFold` takes what a pass shows of banks of experts, bank by bank and batch by
batch, and keeps a few numbers per sample and expert. No gradient outlives the call in
which it is formed, and weights stay as they are for the whole pass.
"""

from collections.abc import Iterable, Sequence
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Float32, Float64, Int64, Shaped
from torch import Tensor

from driftmap.core.errors import MeasureError
from driftmap.measure.experts.bank_sums import BankSums, Wanted
from driftmap.measure.experts.layout import (
    BankLayout,
    SlicesOf,
    matrices,
    num_neurons,
    num_scalars,
)
from driftmap.measure.experts.passes import BankNumbers, Samples, pass_of
from driftmap.results.expert_evidence import ExpertPass
from driftmap.signals.experts import ExpertGradients, ExpertSignal

Statistic = Literal[
    "mean_example_abs",
    "mean_batch_abs",
    "last_batch",
    "mean_example_norm",
    "mean_example_weight",
    "per_token",
]
STATISTICS: tuple[Statistic, ...] = get_args(Statistic)
"""What one pass gives; `abs_of_sum` takes a second one (`ExpertSumFold`)."""


class ExpertScoreFold:
    """Score every expert of every bank; `take` is what a pass gives its signals to.

    Args:
        banks: In model order; those whose signals will come.
        statistics: What is asked for; `per_token` brings `mean_example_abs`.
        slices: Gives an expert's weights; needed for `mean_example_weight` alone.
        neurons: Sum |dW| per neuron as well.
    """

    def __init__(
        self,
        banks: Sequence[BankLayout],
        statistics: Sequence[Statistic] = STATISTICS,
        slices: SlicesOf | None = None,
        *,
        neurons: bool = False,
    ) -> None:
        assert banks, "a model without banks has no experts"
        assert slices is not None or "mean_example_weight" not in statistics
        self._banks = {bank.place.path: bank for bank in banks}
        self._statistics = tuple(statistics)
        if "per_token" in statistics and "mean_example_abs" not in statistics:
            self._statistics = ("mean_example_abs", *statistics)
        self._wanted = Wanted(
            absolute="mean_example_abs" in self._statistics,
            square="mean_example_norm" in self._statistics,
            weighted="mean_example_weight" in self._statistics,
            batch=bool({"mean_batch_abs", "last_batch"} & set(self._statistics)),
            neurons=neurons,
        )
        self._slices = slices
        self._sums: dict[str, dict[tuple[int, ...], BankSums]] = {
            path: {} for path in self._banks
        }

    @torch.no_grad()
    def take(self, signal: ExpertSignal | ExpertGradients) -> None:
        """Reduce what a batch showed of one tensor of a bank.

        Raises:
            MeasureError: The same came before, or is of no tensor of the bank.
        """
        assert signal.bank.path in self._banks, "only banks that were announced come"
        if isinstance(signal, ExpertSignal):
            ids, index = signal.sample_ids, signal.sample_index
            self._batch(signal, ids, index, signal.inputs.device).add_rows(signal)
        else:
            ids, index = (signal.sample_id,), (signal.sample_index,)
            device = signal.gradients.device
            self._batch(signal, ids, index, device).add_gradients(signal)

    def result(
        self, routed_tokens: Int64[np.ndarray, "example bank expert"] | None = None
    ) -> ExpertPass:
        """All samples, in the order of their numbers.

        Args:
            routed_tokens: Tokens that each sample sent to each expert, samples in that
                order; needed where a bank does not tell (count).

        Raises:
            MeasureError: No sample came, a bank or a tensor of it was not shown, a bank
                does not tell how many tokens it got, or a number is not finite.
        """
        samples = self._samples()
        banks: list[BankNumbers] = []
        for number, (path, bank) in enumerate(self._banks.items()):
            routed = None
            if routed_tokens is not None:
                routed = routed_tokens[:, number, : bank.place.num_experts]
            banks.append(self._numbers(path, samples, routed))
        return pass_of(samples, banks, self._statistics)

    def _batch(
        self,
        signal: ExpertSignal | ExpertGradients,
        ids: tuple[str, ...],
        index: tuple[int, ...],
        device: torch.device,
    ) -> BankSums:
        path = signal.bank.path
        if index not in self._sums[path]:
            self._sums[path][index] = BankSums(
                self._banks[path], ids, self._wanted, self._slices, device
            )
        return self._sums[path][index]

    def _samples(self) -> Samples:
        ids: dict[int, str] = {}
        for batches in self._sums.values():
            for index, sums in batches.items():
                ids.update(zip(index, sums.ids, strict=True))
        if not ids:
            raise MeasureError("no sample came to be scored; give at least one")
        sizes = [len(index) for batches in self._sums.values() for index in batches]
        return Samples(
            ids=tuple(ids[number] for number in sorted(ids)),
            index=tuple(sorted(ids)),
            batch_size=max(sizes),
            num_batches=max(len(batches) for batches in self._sums.values()),
        )

    def _numbers(
        self,
        path: str,
        samples: Samples,
        routed: Int64[np.ndarray, "example expert"] | None,
    ) -> BankNumbers:
        bank, shown, wanted = self._banks[path], self._sums[path], self._wanted
        _require_whole(bank, list(shown.values()))
        if routed is None and not all(one.tells_routed for one in shown.values()):
            raise MeasureError(
                f"{path}: the bank does not tell how many tokens each expert got; "
                "count them in a pass of their own"
            )
        size = num_scalars(bank)
        parts: dict[str, list[Tensor]] = {}
        if wanted.absolute:
            parts["mean_example_abs"] = [s.absolute / size for s in shown.values()]
        if wanted.square:
            parts["mean_example_norm"] = [
                (s.square / size).sqrt() for s in shown.values()
            ]
        if wanted.weighted:
            parts["mean_example_weight"] = [s.weighted / size for s in shown.values()]
        row = {number: place for place, number in enumerate(samples.index)}
        rows = np.array([row[n] for index in shown for n in index], dtype=np.int64)
        count = len(samples.index)
        if routed is None:
            routed = _placed([s.routed for s in shown.values()], rows, count)
        return BankNumbers(
            bank=bank.place,
            examples={n: _placed(p, rows, count) for n, p in parts.items()},
            routed=routed,
            batches=_batches(shown.values(), size) if wanted.batch else None,
            neurons=_neurons(bank, shown.values(), count) if wanted.neurons else None,
        )


def _require_whole(bank: BankLayout, shown: Sequence[BankSums]) -> None:
    path = bank.place.path
    if not shown:
        raise MeasureError(
            f"{path}: no gradient of this bank came; leave the bank out, or show it"
        )
    needed = {tensor.name for tensor in matrices(bank)}
    for sums in shown:
        missing = sorted(needed - sums.tensors)
        if missing:
            raise MeasureError(
                f"{path}: nothing of {missing} came for samples {list(sums.ids)}; show "
                "every map of the bank"
            )


def _placed(
    parts: Sequence[Shaped[Tensor, "_ expert"]],
    rows: Int64[np.ndarray, " sample"],
    count: int,
) -> Shaped[np.ndarray, "example expert"]:
    """Put batches into the order of the data; what no token visits is 0."""
    values = torch.cat(list(parts)).cpu().numpy()
    placed = np.zeros((count, values.shape[1]), dtype=values.dtype)
    placed[rows] = values
    return placed


def _batches(
    shown: Iterable[BankSums], size: int
) -> Float32[np.ndarray, "batch expert"]:
    return torch.stack([sums.batch / size for sums in shown]).cpu().numpy()


def _neurons(
    bank: BankLayout, shown: Iterable[BankSums], count: int
) -> Float64[np.ndarray, "expert neuron"]:
    """Mean over samples and over the numbers of each neuron, biases left out."""
    total = torch.stack([sums.neurons for sums in shown]).double().sum(0)
    size = sum(m.num_rows * m.num_columns for m in matrices(bank)) / num_neurons(bank)
    return (total / (size * count)).cpu().numpy()
