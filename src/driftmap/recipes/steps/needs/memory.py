"""How much memory does each step of a study need beside the model itself?

What depends on the model's layers is measured on short pieces (`pieces`); what
is counted here are arrays whose sizes are known: a number of bytes per weight of the
largest matrix, per member of a group, per weight of the adapter.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from driftmap.capture.scaling import BatchShape, Scaling
from driftmap.core.places import Site
from driftmap.core.seeds import child_seed
from driftmap.load.model import LoadedModel
from driftmap.recipes.options import EvaluationOptions, GroupOptions, ScoringOptions
from driftmap.recipes.steps.data import EvaluationData
from driftmap.recipes.steps.needs import pieces
from driftmap.results.samples import EncodedSample
from driftmap.stats.many_tests import needed_permutations
from driftmap.tune.order import epoch_order
from driftmap.tune.schedule import total_steps
from driftmap.tune.settings import TuningSettings

_FLOAT = 4
_DOUBLE = 8

_SELECTING = 24
"""Bytes per weight of the matrix whose highest scores are being sought: two sums of
halves, masks and the places that pass."""

_CONTROLLING = 56
"""Bytes per weight of the matrix in which a control is drawn: sizes, their order, bins,
and the free weights of each bin."""

_GROUP_MEMBER = 18
"""Bytes per member of a group that is followed: place, weight before, bin."""

_MEASURED_MEMBER = 64
"""Bytes per member of the group whose drift is being summarised."""

_BLOCK = 40 * 2**20
"""Bytes of a row block in float64 with its bins."""

_TESTING = 56
"""Bytes per weight of the matrix in which groups are tested, without the training
runs: sizes, bins, drift, residuals and their squares."""

_GAPS = 1.3
"""What the machine's memory takes for each byte asked for: gaps are left between arrays
that were given back."""

_PERMUTING = 6 * 2**20
"""Bytes of the places and values of a block of draws."""

_BACKWARD_GAPS = 2**24
"""Bytes of gaps that a pass over small matrices leaves, however small they are."""

_TESTED_MEMBER = 24
"""Bytes per member of the largest group while it is permuted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What a step needs at its peak, above what is held before it.

    Args:
        device: Bytes where the model lives.
        host: Bytes of the machine's own memory; zero where the model lives there too.
    """

    device: int
    host: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Adapter:
    """The adapter that is trained.

    Args:
        sites: Matrices it sits on.
        num_weights: Of both its factors in all of them.
    """

    sites: tuple[Site, ...]
    num_weights: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scored:
    """What scoring adds up and leaves.

    Args:
        data: The data sets.
        held_bytes: Scores that are in memory at once.
        chosen_bytes: Places of the chosen weights.
    """

    data: Sequence[Sequence[EncodedSample]]
    held_bytes: int
    chosen_bytes: int


def adapter_of(mobile: Sequence[Site], rank: int) -> Adapter:
    """Count the weights of an adapter; a fused matrix has one for all its parts."""
    rows: dict[str, int] = {}
    columns: dict[str, int] = {}
    for site in mobile:
        rows[site.path] = rows.get(site.path, 0) + site.num_rows
        columns[site.path] = site.num_columns
    units = sum(rows.values()) + sum(columns.values())
    return Adapter(sites=tuple(mobile), num_weights=rank * units)


def group_members(sites: Sequence[Site], groups: GroupOptions) -> list[int]:
    """Members of the five groups at most, largest group first."""
    total = sum(site.num_weights for site in sites)
    declared, share = int(groups.q * total), int(groups.share * total)
    return sorted([declared, declared, share, share, share], reverse=True)


def scoring_memory(
    loaded: LoadedModel, asked: Scored, scoring: ScoringOptions, scaling: Scaling
) -> Memory:
    """Scoring and choosing the groups.

    Args:
        loaded: The model.
        asked: What is scored, and how much is kept of it.
        scoring: Batch size, and how much the scores may take.
        scaling: What a batch of such a size holds.
    """
    sites, size = loaded.layout.sites, scoring.score_batch_size
    largest = max(site.num_weights for site in sites)
    shapes = [s for encoded in asked.data for s in pieces.batch_shapes(encoded, size)]
    passing = scaling.peak(shapes) + max(_joined(sites, shape) for shape in shapes)
    choosing = max(asked.held_bytes + _SELECTING * largest, _CONTROLLING * largest)
    if _is_on_host(loaded):
        peak = max(asked.held_bytes + passing, choosing) + asked.chosen_bytes
        return Memory(device=_slack(peak) + _BACKWARD_GAPS, host=0)
    return Memory(
        device=asked.held_bytes + passing, host=_slack(choosing + asked.chosen_bytes)
    )


def tuning_memory(
    loaded: LoadedModel,
    shapes: Sequence[BatchShape],
    adapter: Adapter,
    members: Sequence[int],
    scaling: Scaling,
) -> Memory:
    """Fine-tuning, and following the groups meanwhile.

    Args:
        loaded: The model.
        shapes: The longest batch of each training run.
        adapter: The adapter's size.
        members: Members of every group.
        scaling: What a batch holds.
    """
    trained = 4 * _FLOAT * adapter.num_weights  # values, gradients, two moments
    stepping = scaling.peak(shapes)
    followed, following = drift_memory(loaded, adapter, members)
    if _is_on_host(loaded):
        return _on_host(trained + followed + max(stepping, following))
    # AdamW on an accelerator makes a second copy of what it updates.
    updating = 2 * _FLOAT * adapter.num_weights
    return Memory(
        device=trained + max(stepping, updating), host=_slack(followed + following)
    )


def drift_memory(
    loaded: LoadedModel, adapter: Adapter, members: Sequence[int]
) -> tuple[int, int]:
    """Following groups: bytes held from the first checkpoint on, and at each one."""
    largest = max(site.num_weights for site in loaded.layout.sites)
    total = sum(site.num_weights for site in loaded.layout.sites)
    held = total + _GROUP_MEMBER * sum(members)
    factors = 3 * _DOUBLE * adapter.num_weights
    measuring = max(min(_BLOCK, 40 * largest), _MEASURED_MEMBER * max(members))
    return held, factors + measuring


def evaluation_memory(
    loaded: LoadedModel,
    asked: EvaluationData,
    options: EvaluationOptions,
    adapter: Adapter,
    scaling: pieces.EvaluationScaling,
) -> Memory:
    """Answering prompts and reading logits, with an adapter on the model."""
    size, written = options.eval_batch_size, options.max_new_tokens
    sets = [asked.prompts, *(held.prompts for held in asked.held_out)]
    answers = [_longest(prompts, size, written) for prompts in sets]
    readings = [
        scaling.reading.peak([_longest(prompts, size, 0) for prompts in sets]),
        *(
            scaling.reading.peak(pieces.batch_shapes(held.samples, size))
            + _reading_rows(loaded, held.samples)
            for held in asked.held_out
        ),
    ]
    # What answering leaves in gaps is not given back before logits are read.
    peak = scaling.answering.peak(answers) + max(readings)
    peak += 2 * _FLOAT * adapter.num_weights
    return _on_host(peak) if _is_on_host(loaded) else Memory(device=peak, host=0)


def statistics_memory(
    loaded: LoadedModel,
    adapter: Adapter,
    members: Sequence[int],
    num_permutations: int,
    num_runs: int,
) -> Memory:
    """Testing every group matrix by matrix, on the machine itself.

    Args:
        loaded: The model.
        adapter: The adapter's size; those of all runs are read.
        members: Members of every group.
        num_permutations: Draws of the test.
        num_runs: Training runs.
    """
    sites = loaded.layout.sites
    largest = max(site.num_weights for site in sites)
    share = max(members) / sum(site.num_weights for site in sites)
    factors = 2 * _DOUBLE * num_runs * adapter.num_weights
    moves = max(site.num_rows + site.num_columns for site in sites) * num_permutations
    draws = _DOUBLE * (3 * moves + num_permutations * len(members) * len(sites))
    testing = (_TESTING + _DOUBLE * num_runs) * largest
    testing += int(_TESTED_MEMBER * share * largest)
    # The effects look at all members under all runs at once, the largest thrice.
    effects = _DOUBLE * num_runs * (sum(members) + 4 * max(members))
    peak = _DOUBLE * sum(members) + factors + max(draws + testing, effects)
    peak += _PERMUTING
    return (
        Memory(device=peak, host=0)
        if _is_on_host(loaded)
        else Memory(device=0, host=peak)
    )


def training_shapes(
    samples: Sequence[EncodedSample], settings: TuningSettings, seeds: Sequence[int]
) -> list[BatchShape]:
    """The longest batch of each run, in the order that its seed gives."""
    lengths = [len(sample.token_ids) for sample in samples]
    batches = total_steps(len(samples), settings) * settings.grad_accum
    num_read = batches * settings.batch_size
    longest = []
    for seed in seeds:
        data_seed = child_seed(seed, "data")
        order: list[int] = []
        while len(order) < num_read:
            epoch = len(order) // len(samples)
            order += epoch_order(len(samples), data_seed, epoch)
            if epoch == 0 and len(order) >= len(samples) and num_read > len(samples):
                break  # all are read: the longest is among them
        longest.append(max(lengths[index] for index in order[:num_read]))
    size = min(settings.batch_size, len(samples))
    return [BatchShape(num_samples=size, num_tokens=n) for n in longest]


def default_permutations(sites: Sequence[Site]) -> int:
    """Draws of the test where the user names none; three groups are declared."""
    layers, parts = {s.layer for s in sites}, {s.part for s in sites}
    return max(999, needed_permutations(3 * (1 + len(layers) + len(parts)) - 1))


def _on_host(num_bytes: int) -> Memory:
    return Memory(device=_slack(num_bytes), host=0)


def _slack(num_bytes: int) -> int:
    return round(_GAPS * num_bytes)


def _is_on_host(loaded: LoadedModel) -> bool:
    return loaded.device.type != "cuda"


def _joined(sites: Sequence[Site], shape: BatchShape) -> int:
    """Inputs and gradients of one matrix, copied where halves of the samples part."""
    widest = max(site.num_rows + site.num_columns for site in sites)
    return _FLOAT * widest * shape.num_samples * shape.num_tokens


def _longest(
    prompts: Sequence[EncodedSample], batch_size: int, num_written: int
) -> BatchShape:
    by_length = sorted(prompts, key=lambda prompt: len(prompt.token_ids))
    return pieces.prompts_shape(by_length[-batch_size:], num_written)


def _reading_rows(loaded: LoadedModel, samples: Sequence[EncodedSample]) -> int:
    """Log-probabilities of one sample's counted tokens."""
    vocabulary = getattr(getattr(loaded.model, "config", None), "vocab_size", 0)
    counted = max(int(sample.counted.sum()) for sample in samples)
    return 3 * _FLOAT * counted * vocabulary
