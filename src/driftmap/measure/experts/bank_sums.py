"""What does one batch add up to at one bank, tensor by tensor?

A sample's gradient at an expert is spread over several tensors, weights and biases.
Their sums add, so each is taken as it comes and let go of.
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float32, Int, Int64
from torch import Tensor

from driftmap.core.errors import MeasureError
from driftmap.measure.experts.layout import (
    BankLayout,
    SlicesOf,
    StoredTensor,
    bias_of,
    neuron_axis,
    num_neurons,
    part_rows,
    tensor_named,
)
from driftmap.measure.experts.reductions import Segments, Sums, reduced, squares
from driftmap.signals.experts import ExpertGradients, ExpertSignal


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which sums are asked for.

    Args:
        absolute: ||G_i||_1 of every sample.
        square: ||G_i||_2^2 of every sample.
        weighted: ||G_i * W||_1 of every sample.
        batch: ||G_b||_1 of the batch.
        neurons: |G_i| per neuron, summed over samples.
    """

    absolute: bool
    square: bool
    weighted: bool
    batch: bool
    neurons: bool

    @property
    def only_square(self) -> bool:
        """Of samples, nothing but their lengths: no gradient needs to be formed."""
        return self.square and not (self.absolute or self.weighted or self.neurons)

    @property
    def only_batch(self) -> bool:
        """Nothing of single samples."""
        return not (self.absolute or self.square or self.weighted or self.neurons)


class BankSums:
    """Sums over one bank's tensors, for the samples of one batch.

    Args:
        bank: Which bank.
        ids: Of the batch's samples.
        wanted: What to sum.
        slices: Gives an expert's weights, for `weighted`.
        device: Where signals come from, and sums stay.
    """

    def __init__(
        self,
        bank: BankLayout,
        ids: tuple[str, ...],
        wanted: Wanted,
        slices: SlicesOf | None,
        device: torch.device,
    ) -> None:
        shape = (len(ids), bank.place.num_experts)
        width = num_neurons(bank) if wanted.neurons else 0
        self._bank = bank
        self._wanted = wanted
        self._slices = slices
        self._sample_is_batch = len(ids) == 1 and wanted.absolute
        self._seen: set[tuple[str, tuple[int, ...]]] = set()
        self.ids = ids
        self.absolute = torch.zeros(shape, device=device)
        self.square = torch.zeros(shape, device=device)
        self.weighted = torch.zeros(shape, device=device)
        self.batch = torch.zeros(shape[1], device=device)
        self.neurons = torch.zeros(shape[1], width, device=device)
        self.routed = torch.zeros(shape, dtype=torch.int64, device=device)
        self.tells_routed = True

    @property
    def tensors(self) -> frozenset[str]:
        """Names of what was shown."""
        return frozenset(name for name, _ in self._seen)

    def add_rows(self, signal: ExpertSignal) -> None:
        """Add what every segment's rows come to, in a map's weight and its bias.

        Raises:
            MeasureError: The map came before, or is none of the bank's.
        """
        self._see(signal.tensor, ())
        matrix = tensor_named(self._bank, signal.tensor)
        rows = Segments(
            inputs=signal.inputs.float().contiguous(),
            output_gradients=signal.output_gradients.float().contiguous(),
            start=tuple(signal.start.tolist()),
            expert=tuple(signal.expert.tolist()),
        )
        length = signal.start.diff().to(torch.int64)
        self.routed[signal.sample, signal.expert] = length
        bias = bias_of(self._bank, matrix)
        if not self._wanted.only_batch:
            self._add_products(signal, matrix, rows)
            if bias is not None:
                self._add_bias(signal, bias, rows, length)
        if self._wanted.batch and not self._sample_is_batch:
            self._add_batch(signal, rows, length, has_bias=bias is not None)

    def add_gradients(self, signal: ExpertGradients) -> None:
        """Add one sample's whole gradient of a tensor.

        Raises:
            MeasureError: The tensor came before, or is none of the bank's.
        """
        self._see(signal.tensor, signal.experts)
        tensor = tensor_named(self._bank, signal.tensor)
        if signal.num_routed is None:
            self.tells_routed = False
        else:
            routed = torch.tensor(signal.num_routed, device=self.routed.device)
            self.routed[0, list(signal.experts)] = routed
        for number, expert in enumerate(signal.experts):
            gradient = signal.gradients[number].float()
            absolute = gradient.abs()
            weighted = None
            if self._wanted.weighted:
                weighted = (absolute * self._stored(tensor, expert).abs()).sum()[None]
            matrix = absolute if tensor.bias or not tensor.transposed else absolute.T
            axis = 1 if neuron_axis(tensor) == "out" else 0
            by_unit = matrix.flatten() if tensor.bias else matrix.sum(axis)
            sums = Sums(
                absolute=by_unit[None],
                square=torch.linalg.vector_norm(gradient).square()[None],
                weighted=weighted,
            )
            at = torch.tensor([expert], device=gradient.device)
            self._add(torch.zeros_like(at), at, sums)
            if not self._sample_is_batch:
                self.batch[expert] += sums.absolute.sum()
            if self._wanted.neurons and not tensor.bias:
                self.neurons[expert] += by_neuron(sums.absolute, tensor)[0]

    def _see(self, tensor: str, experts: tuple[int, ...]) -> None:
        if (tensor, experts) in self._seen:
            raise MeasureError(
                f"{self._bank.place.path}: `{tensor}` came twice for samples "
                f"{list(self.ids)}; show every batch once"
            )
        self._seen.add((tensor, experts))

    def _add_products(
        self, signal: ExpertSignal, matrix: StoredTensor, rows: Segments
    ) -> None:
        wanted = self._wanted
        if wanted.only_square:
            self.square[signal.sample, signal.expert] += squares(rows)
            return
        sums = reduced(
            rows,
            neuron_axis(matrix) if wanted.neurons else "out",
            square=wanted.square,
            weight=(lambda e: self._matrix(matrix, e)) if wanted.weighted else None,
        )
        self._add(signal.sample, signal.expert, sums)
        if wanted.neurons:
            self.neurons.index_add_(0, signal.expert, by_neuron(sums.absolute, matrix))

    def _add_bias(
        self,
        signal: ExpertSignal,
        bias: StoredTensor,
        rows: Segments,
        length: Int64[Tensor, " segment"],
    ) -> None:
        gradient = _row_sums(rows.output_gradients, length)
        weighted = None
        if self._wanted.weighted:
            held = {
                e: self._stored(bias, e).flatten() for e in sorted(set(rows.expert))
            }
            b = torch.stack([held[e] for e in rows.expert])
            weighted = (gradient * b).abs().sum(1)
        sums = Sums(
            absolute=gradient.abs(), square=gradient.square().sum(1), weighted=weighted
        )
        self._add(signal.sample, signal.expert, sums)

    def _add_batch(
        self,
        signal: ExpertSignal,
        rows: Segments,
        length: Int64[Tensor, " segment"],
        *,
        has_bias: bool,
    ) -> None:
        """`G_b = sum_i (n_i / sum_j n_j) G_i`, one product per expert."""
        device = rows.inputs.device
        counted = torch.tensor(signal.num_counted, device=device).float()
        share = (counted / counted.sum())[signal.sample].repeat_interleave(length)
        expert, first = _runs(rows)
        whole = replace(rows, start=first, expert=expert, scale=share)
        found = reduced(whole, "out").absolute.sum(1)
        if has_bias:
            scaled = rows.output_gradients * share[:, None]
            each = torch.tensor(first, device=device).diff()
            found += _row_sums(scaled, each).abs().sum(1)
        self.batch[torch.tensor(expert, device=device)] += found

    def _add(
        self,
        sample: Int[Tensor, " segment"],
        expert: Int[Tensor, " segment"],
        sums: Sums,
    ) -> None:
        absolute = sums.absolute.sum(1)
        self.absolute[sample, expert] += absolute
        if sums.square is not None:
            self.square[sample, expert] += sums.square
        if sums.weighted is not None:
            self.weighted[sample, expert] += sums.weighted
        if self._sample_is_batch:
            self.batch[expert] += absolute

    def _matrix(self, tensor: StoredTensor, expert: int) -> Float32[Tensor, "out in"]:
        stored = self._stored(tensor, expert)
        return stored.T if tensor.transposed else stored

    def _stored(self, tensor: StoredTensor, expert: int) -> Float32[Tensor, "..."]:
        assert self._slices is not None, "asked for together with `weighted`"
        return self._slices(self._bank.place, expert)[tensor.name].detach().float()


def by_neuron(
    by_unit: Float32[Tensor, "segment unit"], matrix: StoredTensor
) -> Float32[Tensor, "segment neuron"]:
    """Add units of a matrix that belong to the same neuron.

    Args:
        by_unit: Sums along the axis that `neuron_axis` says.
        matrix: Which one.
    """
    if neuron_axis(matrix) == "in":
        return by_unit
    return torch.stack([by_unit[:, own] for own in part_rows(matrix).values()]).sum(0)


def _row_sums(
    rows: Float32[Tensor, "row out"], length: Int64[Tensor, " segment"]
) -> Float32[Tensor, "segment out"]:
    segment = torch.arange(len(length), device=rows.device).repeat_interleave(length)
    return rows.new_zeros(len(length), rows.shape[1]).index_add_(0, segment, rows)


def _runs(rows: Segments) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Experts that have rows, and where their rows start."""
    first = {}
    for expert, start in zip(rows.expert, rows.start, strict=False):
        first.setdefault(expert, start)
    return tuple(first), (*first.values(), rows.start[-1])
