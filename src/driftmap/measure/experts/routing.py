"""Where were the tokens of every sample sent?

`RoutingFold` counts, which is all that rates and shares need. `RoutingKeeper` keeps
every token's experts, for questions about single tokens and about pairs of experts.
Padding counts nowhere.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from driftmap.core.errors import MeasureError
from driftmap.core.places import BankPlace
from driftmap.results.expert_usage import KeptRouting
from driftmap.results.experts import RoutingCounts
from driftmap.signals.experts import RoutingSignal

Distribution = Callable[
    [BankPlace, Float[Tensor, "token expert"]], Float[Tensor, "token expert"]
]
"""ln of the distribution that a bank's router means by its logits."""


@dataclass(slots=True, eq=False)
class _Samples:
    """What came to one bank, in the order it came."""

    ids: list[str] = field(default_factory=list)
    index: list[int] = field(default_factory=list)
    parts: list[tuple[Tensor, ...]] = field(default_factory=list)

    def announce(self, signal: RoutingSignal) -> None:
        twice = set(self.index).intersection(signal.sample_index)
        if twice:
            raise MeasureError(
                f"{signal.bank.path}: sample {min(twice)} came twice; show every "
                "batch once"
            )
        self.ids += signal.sample_ids
        self.index += signal.sample_index


class RoutingFold:
    """Count every sample's tokens per expert; `take` is what a pass gives signals to.

    Args:
        banks: In model order; those whose signals will come.
    """

    def __init__(self, banks: Sequence[BankPlace]) -> None:
        self._seen = {bank: _Samples() for bank in banks}

    @torch.no_grad()
    def take(self, signal: RoutingSignal) -> None:
        """Count what a batch showed of one bank.

        Raises:
            MeasureError: A sample came before, or has no observed token.
        """
        seen = self._seen[signal.bank]
        seen.announce(signal)
        tokens = signal.observed.sum(1)
        if not bool((tokens > 0).all()):
            empty = [
                name
                for name, count in zip(signal.sample_ids, tokens.tolist(), strict=True)
                if not count
            ]
            raise MeasureError(f"no token of {empty} is observed; leave them out")
        chosen, gate = _by_expert(signal)
        seen.parts.append((tokens, chosen, gate))

    def result(self) -> RoutingCounts:
        """All samples, in the order of their numbers.

        Raises:
            MeasureError: No sample came, or not the same to every bank.
        """
        ids, orders = _orders(self._seen)
        width = max(bank.num_experts for bank in self._seen)
        chosen = np.zeros((len(ids), len(self._seen), width), dtype=np.int64)
        gate = np.zeros(chosen.shape)
        tokens = np.zeros(len(ids), dtype=np.int64)
        for number, (bank, seen) in enumerate(self._seen.items()):
            order, end = orders[number], bank.num_experts
            together = zip(*seen.parts, strict=True)
            held = [torch.cat(parts).cpu().numpy() for parts in together]
            tokens = held[0][order].astype(np.int64)
            chosen[:, number, :end] = held[1][order]
            gate[:, number, :end] = held[2][order]
        return RoutingCounts(
            banks=tuple(self._seen),
            sample_ids=ids,
            tokens=tokens,
            chosen=chosen,
            gate=gate,
        )


def joined_counts(parts: Sequence[RoutingCounts]) -> RoutingCounts:
    """Put counts of disjoint samples of the same banks side by side, in their order."""
    assert len({part.banks for part in parts}) == 1, "counts are of the same banks"
    return RoutingCounts(
        banks=parts[0].banks,
        sample_ids=tuple(name for part in parts for name in part.sample_ids),
        tokens=np.concatenate([part.tokens for part in parts]),
        chosen=np.concatenate([part.chosen for part in parts]),
        gate=np.concatenate([part.gate for part in parts]),
    )


class RoutingKeeper:
    """Keep where every observed token was sent.

    Args:
        banks: In model order; those whose signals will come.
        distribution: Says what logits mean; None to keep no probabilities, which take
            as much memory as all else together many times over.
    """

    def __init__(
        self, banks: Sequence[BankPlace], distribution: Distribution | None = None
    ) -> None:
        self._seen = {bank: _Samples() for bank in banks}
        self._distribution = distribution

    @torch.no_grad()
    def take(self, signal: RoutingSignal) -> None:
        """Keep what a batch showed of one bank.

        Raises:
            MeasureError: A sample came before, or the bank gives no logits.
        """
        seen, at = self._seen[signal.bank], signal.observed
        seen.announce(signal)
        index = torch.tensor(signal.sample_index, device=at.device)
        following = torch.full_like(signal.token_ids, -1)
        following[:, :-1] = signal.token_ids[:, 1:].where(signal.real[:, 1:], -1)
        parts = [
            index[:, None].expand_as(at)[at],
            (signal.real.long().cumsum(1) - 1)[at],
            signal.token_ids[at],
            following[at],
            signal.chosen[at],
            signal.weights[at].float(),
        ]
        if self._distribution is not None:
            if signal.logits is None:
                raise MeasureError(
                    f"{signal.bank.path}: the model does not tell its router's logits, "
                    "so there are no probabilities to keep"
                )
            parts.append(self._distribution(signal.bank, signal.logits[at]).float())
        seen.parts.append(tuple(part.cpu() for part in parts))

    def result(self) -> tuple[KeptRouting, ...]:
        """Every bank, tokens in the order of their samples and places.

        Raises:
            MeasureError: No sample came, or not the same to every bank.
        """
        ids, _ = _orders(self._seen)
        return tuple(_kept(bank, seen, ids) for bank, seen in self._seen.items())


def _by_expert(
    signal: RoutingSignal,
) -> tuple[Int64[Tensor, "sample expert"], Float64[Tensor, "sample expert"]]:
    """Tokens that chose each expert, and the sum of its weights."""
    num = signal.bank.num_experts
    chosen = signal.chosen.clamp(max=num).long()  # all that do nothing share one column
    shape = (*chosen.shape[:2], num + 1)
    gate = signal.weights.new_zeros(shape, dtype=torch.float64)
    gate.scatter_add_(2, chosen, signal.weights.double())
    there = torch.zeros(shape, dtype=torch.bool, device=chosen.device)
    there.scatter_(2, chosen, value=True)
    at = signal.observed[..., None]
    return (there & at).sum(1)[:, :num], (gate * at).sum(1)[:, :num]


def _orders(
    seen: dict[BankPlace, _Samples],
) -> tuple[tuple[str, ...], list[Int64[np.ndarray, " sample"]]]:
    """Ids in the order of the data, and where each bank has them."""
    first = next(iter(seen.values()))
    if not first.index:
        raise MeasureError("no sample came to be counted; give at least one")
    orders: list[Int64[np.ndarray, " sample"]] = []
    for bank, samples in seen.items():
        if set(samples.index) != set(first.index):
            raise MeasureError(
                f"{bank.path}: {len(samples.index)} samples came, to another bank "
                f"{len(first.index)}; show all samples of all banks"
            )
        orders.append(np.argsort(samples.index, kind="stable").astype(np.int64))
    return tuple(first.ids[n] for n in orders[0]), orders


def _kept(bank: BankPlace, seen: _Samples, ids: tuple[str, ...]) -> KeptRouting:
    held = [torch.cat(parts).numpy() for parts in zip(*seen.parts, strict=True)]
    sample = np.searchsorted(np.sort(seen.index), held[0])
    order = np.lexsort((held[1], sample))
    return KeptRouting(
        bank=bank,
        sample_ids=ids,
        sample=sample[order].astype(np.int64),
        position=held[1][order],
        token_ids=held[2][order].astype(np.int64),
        next_ids=held[3][order].astype(np.int64),
        chosen=held[4][order].astype(np.int64),
        weights=held[5][order],
        log_probabilities=held[6][order] if len(held) > 6 else None,
    )
