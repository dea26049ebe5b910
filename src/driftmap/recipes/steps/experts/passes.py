"""What do passes over samples say of every expert, chunk by chunk?

Samples are read in chunks counted from the first one, whoever reads them, so that what
several processes read and join is what one process reads, bit for bit on a CPU.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import Literal, TypeVar

import numpy as np
from torch import Tensor

from driftmap.capture.expert_estimate import estimate_ablation
from driftmap.capture.expert_rows import show_experts
from driftmap.capture.routing import show_routing
from driftmap.core.places import BankPlace
from driftmap.engine.shards import shards_of
from driftmap.engine.work import Shard
from driftmap.families.expert_spec import ExpertBank
from driftmap.families.expert_tensors import stored_views
from driftmap.load.model import LoadedModel
from driftmap.measure.experts import passes
from driftmap.measure.experts.gradients import (
    STATISTICS,
    ExpertScoreFold,
    Statistic,
)
from driftmap.measure.experts.routing import RoutingFold, joined_counts
from driftmap.recipes.expert_options import IdentifyOptions
from driftmap.recipes.steps import bench
from driftmap.results.expert_effects import AblationEstimate
from driftmap.results.expert_evidence import ExpertPass
from driftmap.results.experts import RoutingCounts
from driftmap.results.samples import EncodedSample
from driftmap.signals.batch import Batch, Positions

PassName = Literal["unsafe", "contrast", "unsafe text", "safe text", "prompts"]

_REPORTED: tuple[Statistic, ...] = (
    "mean_example_abs", "mean_batch_abs", "mean_example_norm", "per_token",
)  # fmt: skip
"""Statistics that stand side by side in every report."""

Found = TypeVar("Found")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Foreseen:
    """What refusal would lose without each expert.

    Args:
        estimate: By one backward pass.
        routing: Where the same prompts' tokens are sent.
    """

    estimate: AblationEstimate
    routing: RoutingCounts


PassResult = ExpertPass | RoutingCounts | Foreseen

KINDS: Mapping[PassName, type[PassResult]] = {
    "unsafe": ExpertPass,
    "contrast": ExpertPass,
    "unsafe text": RoutingCounts,
    "safe text": RoutingCounts,
    "prompts": Foreseen,
}
"""What each pass over samples leaves."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ExpertReader:
    """Reads what samples say of every expert of a model as it now is.

    Args:
        loaded: The model.
        banks: Its banks, in model order.
        identify: What is asked of experts.
        batch_size: Samples per pass (count).
        first_ids: Tokens that open a refusal.
    """

    loaded: LoadedModel
    banks: tuple[ExpertBank, ...]
    identify: IdentifyOptions
    batch_size: int
    first_ids: tuple[int, ...]

    def read(self, name: PassName, samples: Sequence[EncodedSample]) -> PassResult:
        """Read all samples of a pass, chunk by chunk."""
        shards = shards_of(len(samples))
        return joined([self.read_shard(name, samples, shard) for shard in shards])

    def read_shard(
        self, name: PassName, samples: Sequence[EncodedSample], shard: Shard
    ) -> PassResult:
        """Read the samples of one chunk; they keep their number in the whole."""
        own = samples[shard.start : shard.stop]
        read = _HOW[KINDS[name]]
        return read(self, own, shard.start)

    def batches(
        self, samples: Sequence[EncodedSample], positions: Positions, first: int
    ) -> tuple[Batch, ...]:
        """Pad samples into batches; the first of them has the number `first`."""
        made = bench.batches_of(
            self.loaded, samples, self.batch_size, positions=positions
        )
        return tuple(
            replace(
                one, sample_index=tuple(first + index for index in one.sample_index)
            )
            for one in made
        )

    def routed_batches(
        self, samples: Sequence[EncodedSample], first: int
    ) -> tuple[Batch, ...]:
        """The same, with the tokens observed whose routing counts."""
        if self.identify.positions != "prompt":
            return self.batches(samples, self.identify.positions, first)
        whole = self.batches(samples, "all", first)
        answers = self.batches(samples, "response", first)
        return tuple(
            replace(one, observed=one.observed & ~answer.observed & ~one.counted)
            for one, answer in zip(whole, answers, strict=True)
        )

    def counts(self, batches: Sequence[Batch]) -> RoutingCounts:
        """Where the observed tokens of batches are sent."""
        fold = RoutingFold([bank.place for bank in self.banks])
        show_routing(self.loaded.model, self.banks, batches, fold.take)
        return fold.result()


@dataclass(frozen=True, slots=True, kw_only=True)
class Passed:
    """What passes left, read when it is asked for.

    Args:
        read: Gives what a pass left.
    """

    read: Callable[[PassName], PassResult]

    def gradients(self, name: PassName) -> ExpertPass:
        """What gradients say of every expert."""
        return _of(ExpertPass, self.read(name))

    def counts(self, name: PassName) -> RoutingCounts:
        """Where tokens were sent."""
        return _of(RoutingCounts, self.read(name))

    def foreseen(self, name: PassName) -> Foreseen:
        """What refusal would lose without each expert."""
        return _of(Foreseen, self.read(name))


def joined(parts: Sequence[PassResult]) -> PassResult:
    """Put what was read of neighbouring chunks together, in their order."""
    first = parts[0]
    if isinstance(first, ExpertPass):
        return reduce(passes.merged, _all_of(ExpertPass, parts))
    if isinstance(first, RoutingCounts):
        return joined_counts(_all_of(RoutingCounts, parts))
    foreseen = _all_of(Foreseen, parts)
    return Foreseen(
        estimate=_joined_estimates([one.estimate for one in foreseen]),
        routing=joined_counts([one.routing for one in foreseen]),
    )


def _all_of(kind: type[Found], parts: Sequence[object]) -> list[Found]:
    return [_of(kind, part) for part in parts]


def _of(kind: type[Found], found: object) -> Found:
    assert isinstance(found, kind), "a pass leaves what its kind says"
    return found


def _joined_estimates(parts: Sequence[AblationEstimate]) -> AblationEstimate:
    examples = np.concatenate([part.examples for part in parts])
    return AblationEstimate(
        banks=parts[0].banks,
        sample_ids=tuple(name for part in parts for name in part.sample_ids),
        change=examples.mean(axis=0, dtype=np.float64),
        examples=examples,
    )


def _gradients(
    reader: ExpertReader, samples: Sequence[EncodedSample], first: int
) -> PassResult:
    """Score every expert on some samples, in one pass."""
    model = reader.loaded.model
    banks = {bank.place.path: bank for bank in reader.banks}

    def slices(place: BankPlace, expert: int) -> Mapping[str, Tensor]:
        return stored_views(model, banks[place.path], expert)

    fold = ExpertScoreFold(reader.banks, _statistics(reader.identify), slices)
    batches = reader.batches(samples, "response", first)
    show_experts(model, reader.banks, batches, fold.take)
    if all(bank.switchable for bank in reader.banks):
        return fold.result()
    routed = reader.counts(reader.batches(samples, "all", first))
    return fold.result(routed.chosen)


def _statistics(identify: IdentifyOptions) -> tuple[Statistic, ...]:
    """What is reported, and what was asked for: each costs time in every segment."""
    asked = {*_REPORTED, identify.statistic}
    return tuple(name for name in STATISTICS if name in asked)


def _routing(
    reader: ExpertReader, samples: Sequence[EncodedSample], first: int
) -> PassResult:
    return reader.counts(reader.routed_batches(samples, first))


def _foreseen(
    reader: ExpertReader, samples: Sequence[EncodedSample], first: int
) -> PassResult:
    batches = reader.batches(samples, "all", first)
    model, first_ids = reader.loaded.model, reader.first_ids
    return Foreseen(
        estimate=estimate_ablation(model, reader.banks, batches, first_ids),
        routing=reader.counts(batches),
    )


_HOW: Mapping[
    type[PassResult],
    Callable[[ExpertReader, Sequence[EncodedSample], int], PassResult],
] = {ExpertPass: _gradients, RoutingCounts: _routing, Foreseen: _foreseen}
