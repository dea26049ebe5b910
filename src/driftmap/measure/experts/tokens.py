"""Which tokens pull at a chosen expert, and do they pull together?

Nothing but rows is needed: `d_t^T G x_t` with `G = sum_t d_t x_t^T` is a row of
`(D D^T) * (X X^T)`, so that no gradient is formed.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float32, Float64
from torch import Tensor

from driftmap.core.errors import MeasureError
from driftmap.measure.experts.layout import (
    BankLayout,
    matrices,
    part_rows,
    tensor_named,
)
from driftmap.results.expert_evidence import Chosen
from driftmap.results.expert_usage import TokenPushes
from driftmap.signals.experts import ExpertGradients, ExpertSignal

_Key = tuple[int, int, int]
"""Bank, expert, number of the sample: what one segment is of."""


@dataclass(slots=True, eq=False)
class _Segment:
    tokens: list[int]
    push: Float64[np.ndarray, " row"]
    shares: dict[str, Float64[np.ndarray, " row"]] = field(default_factory=dict)


class TokenPushFold:
    """Read how tokens pull at chosen experts; `take` is what a pass gives signals to.

    Args:
        banks: In model order.
        chosen: Experts to read: bank and expert, row by row.
    """

    def __init__(self, banks: Sequence[BankLayout], chosen: Chosen) -> None:
        self._banks = tuple(banks)
        self._number = {bank.place.path: n for n, bank in enumerate(banks)}
        self._chosen = {(int(b), int(e)) for b, e in chosen}
        self._ids: dict[int, str] = {}
        self._segments: dict[_Key, _Segment] = {}

    @torch.no_grad()
    def take(self, signal: ExpertSignal | ExpertGradients) -> None:
        """Read the rows of one map of a bank.

        Raises:
            MeasureError: The bank shows whole gradients, which hold no tokens, or a map
                came before.
        """
        if isinstance(signal, ExpertGradients):
            raise MeasureError(
                f"{signal.bank.path}: this bank shows whole gradients of samples, so "
                "single tokens cannot be told apart"
            )
        number = self._number[signal.bank.path]
        self._ids.update(zip(signal.sample_index, signal.sample_ids, strict=True))
        start, sample = signal.start.tolist(), signal.sample.tolist()
        for segment, expert in enumerate(signal.expert.tolist()):
            if (number, expert) not in self._chosen:
                continue
            own = slice(start[segment], start[segment + 1])
            key = (number, expert, signal.sample_index[sample[segment]])
            self._read(key, signal, own)

    def result(self) -> TokenPushes:
        """All rows, by bank, expert, sample and token.

        Raises:
            MeasureError: A map of a bank was not shown.
        """
        for (number, _, index), segment in self._segments.items():
            bank = self._banks[number]
            missing = set(_projections(bank)) - segment.shares.keys()
            if missing:
                raise MeasureError(
                    f"{bank.place.path}: nothing of {sorted(missing)} came for sample "
                    f"{self._ids[index]}; show every map of the bank"
                )
        order = sorted(self._ids)
        row = {index: place for place, index in enumerate(order)}
        keys = sorted(self._segments)
        held = [self._segments[key] for key in keys]
        each = [len(segment.tokens) for segment in held]
        names = sorted({name for segment in held for name in segment.shares})
        return TokenPushes(
            banks=tuple(bank.place for bank in self._banks),
            sample_ids=tuple(self._ids[index] for index in order),
            bank=np.repeat([key[0] for key in keys], each).astype(np.int64),
            expert=np.repeat([key[1] for key in keys], each).astype(np.int64),
            sample=np.repeat([row[key[2]] for key in keys], each).astype(np.int64),
            token=np.array([t for segment in held for t in segment.tokens], np.int64),
            push=_joined([segment.push for segment in held]),
            share={name: _joined([_share(s, name) for s in held]) for name in names},
        )

    def _read(self, key: _Key, signal: ExpertSignal, own: slice) -> None:
        X, D = signal.inputs[own].float(), signal.output_gradients[own].float()
        if key not in self._segments:
            tokens = signal.token[own].tolist()
            self._segments[key] = _Segment(tokens=tokens, push=np.zeros(len(tokens)))
        segment = self._segments[key]
        among = (X @ X.T).double()
        tensor = tensor_named(self._banks[key[0]], signal.tensor)
        for part, rows in part_rows(tensor).items():
            if part in segment.shares:
                raise MeasureError(
                    f"{signal.bank.path}: `{signal.tensor}` came twice for sample "
                    f"{self._ids[key[2]]}; show every batch once"
                )
            push, share = _pulls(D[:, rows], X, among)
            segment.push += push.cpu().numpy()
            segment.shares[part] = share.cpu().numpy()


def _pulls(
    D: Float32[Tensor, "row out"],
    X: Float32[Tensor, "row in"],
    among: Float64[Tensor, "row row"],
) -> tuple[Float64[Tensor, " row"], Float64[Tensor, " row"]]:
    """`||d_t|| ||x_t||`, and `d_t^T G x_t / ||G||^2`."""
    push = torch.linalg.vector_norm(D, dim=1) * torch.linalg.vector_norm(X, dim=1)
    along = ((D @ D.T).double() * among).sum(1)
    whole = along.sum()
    share = along / whole if whole > 0 else torch.zeros_like(along)
    return push.double(), share


def _projections(bank: BankLayout) -> list[str]:
    return [part for tensor in matrices(bank) for part in tensor.parts]


def _share(segment: _Segment, name: str) -> Float64[np.ndarray, " row"]:
    return segment.shares.get(name, np.zeros(len(segment.tokens)))


def _joined(parts: list[Float64[np.ndarray, " _"]]) -> Float64[np.ndarray, " row"]:
    return np.concatenate(parts) if parts else np.zeros(0)
