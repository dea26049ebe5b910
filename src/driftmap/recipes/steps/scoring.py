"""How are all weights of a model scored on samples, within the memory there is?"""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, TypeVar

from torch import Tensor

from driftmap.capture.memory import default_budget, plan_passes
from driftmap.capture.stream import run_folds
from driftmap.core.places import Site
from driftmap.core.progress import say
from driftmap.families.matrices import effective_weight
from driftmap.load.model import LoadedModel
from driftmap.measure.snip import HalfScores, Snip, SnipHalves
from driftmap.recipes.options import ScoringOptions
from driftmap.recipes.steps.bench import batches_of
from driftmap.results.samples import EncodedSample
from driftmap.signals.fold import Fold

GIB = 2**30

Data = Sequence[Sequence[EncodedSample]]
OfSite = TypeVar("OfSite")


def snip_scores(
    loaded: LoadedModel, data: Data, scoring: ScoringOptions
) -> Iterator[tuple[dict[Site, Tensor], ...]]:
    """Score every weight by SNIP, as many matrices at a time as fit into memory.

    Args:
        loaded: The model; its adapter counts, where it has one.
        data: Encoded data sets; each is scored on its own.
        scoring: Batch size and memory.

    Yields:
        For some of the matrices, their scores on each data set. Select before asking
        for the next: they are emptied then.
    """
    return _in_parts(loaded, data, scoring, Snip(_weight_of(loaded)))


def snip_halves(
    loaded: LoadedModel, data: Data, scoring: ScoringOptions
) -> Iterator[tuple[dict[Site, HalfScores], ...]]:
    """As `snip_scores`, apart by halves of the samples, for twice the memory."""
    return _in_parts(loaded, data, scoring, SnipHalves(_weight_of(loaded)))


def _weight_of(loaded: LoadedModel) -> partial[Tensor]:
    return partial(effective_weight, loaded.model)


def _in_parts(
    loaded: LoadedModel,
    data: Data,
    scoring: ScoringOptions,
    fold: Fold[Any, dict[Site, OfSite]],
) -> Iterator[tuple[dict[Site, OfSite], ...]]:
    batches = [
        batches_of(loaded, encoded, scoring.score_batch_size) for encoded in data
    ]
    room = _budget(loaded, scoring) - _passing_bytes(loaded, len(data))
    parts = plan_passes(loaded.layout.sites, [fold] * len(data), room)
    if len(parts) > 1:
        say(f"scores of all matrices do not fit into memory: {len(parts)} passes")
    for sites in parts:
        scores = tuple(
            run_folds(loaded.model, sites, of_data, [fold], memory_bytes=room)[0]
            for of_data in batches
        )
        yield scores
        for of_data in scores:
            of_data.clear()


def _passing_bytes(loaded: LoadedModel, num_sets: int) -> int:
    """Memory of what is made of one matrix at a time, beside the states.

    First its magnitudes, when its score is finished; later its whole scores, one per
    data set, when its members are selected.
    """
    return 4 * num_sets * max(site.num_weights for site in loaded.layout.sites)


def _budget(loaded: LoadedModel, scoring: ScoringOptions) -> int:
    if scoring.memory is None:
        return default_budget(loaded.model)
    return int(scoring.memory * GIB)
