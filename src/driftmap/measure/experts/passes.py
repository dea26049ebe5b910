"""How do a few numbers per sample and expert become scores, from one shard or many?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float32, Float64, Int64, Shaped

from driftmap.core.errors import MeasureError
from driftmap.core.places import BankPlace
from driftmap.results.expert_evidence import ExpertPass
from driftmap.results.experts import ExampleMaps, ExpertMap, ExpertScores

ABS_OF_SUM = "abs_of_sum"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BankNumbers:
    """What a pass leaves of one bank, samples in the order of the data.

    Args:
        bank: Which bank.
        examples: By statistic, one number per sample and expert.
        routed: Tokens that each sample sent to each expert (count).
        batches: ||G_b||_1 / n_e, in the order they came; None unless asked for.
        neurons: Mean over samples of |dW| per neuron; None unless asked for.
    """

    bank: BankPlace
    examples: Mapping[str, Float32[np.ndarray, "example expert"]]
    routed: Int64[np.ndarray, "example expert"]
    batches: Float32[np.ndarray, "batch expert"] | None
    neurons: Float64[np.ndarray, "expert neuron"] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """Which samples came.

    Args:
        ids: Of every sample.
        index: Number of each in the whole data set.
        batch_size: Samples of the largest batch (count).
        num_batches: Batches (count).
    """

    ids: tuple[str, ...]
    index: tuple[int, ...]
    batch_size: int
    num_batches: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Maps:
    examples: Mapping[str, ExampleMaps]
    routed: Int64[np.ndarray, "example bank expert"]
    batches: Float32[np.ndarray, "batch bank expert"] | None
    neurons: Mapping[str, Float64[np.ndarray, "expert neuron"]]


def pass_of(
    samples: Samples, banks: Sequence[BankNumbers], statistics: Sequence[str]
) -> ExpertPass:
    """Put banks side by side and take means.

    Args:
        samples: Which samples came, in the order of the data.
        banks: In model order.
        statistics: What is asked for.

    Raises:
        MeasureError: A number is not finite; names bank and samples. Or batches of
            banks differ, as where one of them shows samples one by one.
    """
    for numbers in banks:
        _check_finite(numbers, samples.ids)
    width = max(numbers.bank.num_experts for numbers in banks)
    kept = [n.batches for n in banks if n.batches is not None]
    if len({len(batches) for batches in kept}) > 1:
        raise MeasureError(
            f"{banks[-1].bank.path}: banks were shown in batches of different sizes, "
            "so statistics of batches cannot be compared; use batch size 1"
        )
    maps = _Maps(
        examples={
            name: _beside([n.examples[name] for n in banks], width, np.nan)
            for name in banks[0].examples
        },
        routed=_beside([n.routed for n in banks], width, 0),
        batches=_beside(kept, width, np.nan) if kept else None,
        neurons={n.bank.path: n.neurons for n in banks if n.neurons is not None},
    )
    places = tuple(numbers.bank for numbers in banks)
    return _finished(samples, places, maps, statistics)


def merged(left: ExpertPass, right: ExpertPass) -> ExpertPass:
    """Join passes over disjoint samples of one data set.

    Batches stay in order, those of the first pass first, so that statistics of
    batches equal those of one pass where shards end between batches.

    Raises:
        MeasureError: Banks or statistics differ, or a sample is in both.
    """
    a, b = left.scores, right.scores
    if a.banks != b.banks or a.scores.keys() != b.scores.keys():
        raise MeasureError(
            "two shards of a pass speak of different experts or statistics; score both "
            "with the same model and settings"
        )
    if ABS_OF_SUM in a.scores:
        raise MeasureError(
            f"`{ABS_OF_SUM}` of shards cannot be joined; join its sums, and add it last"
        )
    twice = np.intersect1d(left.sample_index, right.sample_index)
    if twice.size:
        raise MeasureError(
            f"sample {int(twice[0])} is in two shards of a pass; give each to one"
        )
    samples = Samples(
        ids=a.sample_ids + b.sample_ids,
        index=(*left.sample_index.tolist(), *right.sample_index.tolist()),
        batch_size=max(a.batch_size, b.batch_size),
        num_batches=a.num_batches + b.num_batches,
    )
    return _finished(samples, a.banks, _joined_maps(left, right), tuple(a.scores))


def with_abs_of_sum(taken: ExpertPass, score: ExpertMap) -> ExpertPass:
    """Add what a second pass says of the best experts; the rest is NaN.

    Args:
        taken: The first pass.
        score: Of `ExpertSumFold`.
    """
    scores = {**taken.scores.scores, ABS_OF_SUM: score}
    return replace(taken, scores=replace(taken.scores, scores=scores))


def _joined_maps(left: ExpertPass, right: ExpertPass) -> _Maps:
    a, b = left.scores, right.scores
    share = len(a.sample_ids) / (len(a.sample_ids) + len(b.sample_ids))
    batches = None
    if left.batches is not None and right.batches is not None:
        batches = np.concatenate([left.batches, right.batches])
    return _Maps(
        examples={
            name: np.concatenate([maps, b.examples[name]])
            for name, maps in a.examples.items()
        },
        routed=np.concatenate([a.routed_tokens, b.routed_tokens]),
        batches=batches,
        neurons={
            path: share * mean + (1 - share) * right.neurons[path]
            for path, mean in left.neurons.items()
        },
    )


def _finished(
    samples: Samples,
    banks: tuple[BankPlace, ...],
    maps: _Maps,
    statistics: Sequence[str],
) -> ExpertPass:
    order = np.argsort(samples.index, kind="stable")
    examples = {name: values[order] for name, values in maps.examples.items()}
    routed = maps.routed[order]
    ordered = _Maps(
        examples=examples, routed=routed, batches=maps.batches, neurons=maps.neurons
    )
    return ExpertPass(
        scores=ExpertScores(
            banks=banks,
            sample_ids=tuple(samples.ids[n] for n in order),
            scores={name: _score(name, ordered) for name in statistics},
            examples=examples,
            routed_tokens=routed,
            batch_size=samples.batch_size,
            num_batches=samples.num_batches,
        ),
        sample_index=np.array(samples.index, dtype=np.int64)[order],
        batches=maps.batches,
        neurons=maps.neurons,
    )


def _score(name: str, maps: _Maps) -> ExpertMap:
    if name == "per_token":
        mean = maps.examples["mean_example_abs"].mean(axis=0, dtype=np.float64)
        tokens = maps.routed.mean(axis=0)
        return np.where(np.isnan(mean), np.nan, mean / np.where(tokens > 0, tokens, 1))
    if name in maps.examples:
        return maps.examples[name].mean(axis=0, dtype=np.float64)
    assert maps.batches is not None, f"{name} is a statistic of batches"
    if name == "last_batch":
        return maps.batches[-1].astype(np.float64)
    return maps.batches.mean(axis=0, dtype=np.float64)


def _beside(
    banks: Sequence[Shaped[np.ndarray, "_ _"]], width: int, missing: float
) -> Shaped[np.ndarray, "row bank expert"]:
    """Stack `[row expert]` of every bank to `[row bank expert]`."""
    shape = (len(banks[0]), len(banks), width)
    stacked = np.full(shape, missing, dtype=banks[0].dtype)
    for number, values in enumerate(banks):
        stacked[:, number, : values.shape[1]] = values
    return stacked


def _check_finite(numbers: BankNumbers, ids: Sequence[str]) -> None:
    for values in numbers.examples.values():
        bad = np.flatnonzero(~np.isfinite(values).all(axis=1)).tolist()
        if bad:
            named = [ids[number] for number in bad]
            raise MeasureError(
                f"{numbers.bank.path}: the gradient of {named} is not finite; does the "
                "model's number type overflow, or is one of its weights not a number?"
            )
    for values in (numbers.batches, numbers.neurons):
        if values is not None and not np.isfinite(values).all():
            raise MeasureError(
                f"{numbers.bank.path}: the gradient of a batch is not finite; does the "
                "model's number type overflow, or is one of its weights not a number?"
            )
