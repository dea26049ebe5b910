"""How are all weights of a model scored on samples, within the memory there is?"""

from collections.abc import Iterator, Sequence
from functools import partial

from driftmap.capture.memory import default_budget, plan_passes
from driftmap.capture.stream import run_folds
from driftmap.core.places import Site
from driftmap.core.progress import say
from driftmap.families.matrices import effective_weight
from driftmap.load.model import LoadedModel
from driftmap.measure.snip import HalfScores, SnipHalves
from driftmap.recipes.options import ScoringOptions
from driftmap.recipes.steps.bench import batches_of
from driftmap.results.samples import EncodedSample

GIB = 2**30

Scores = dict[Site, HalfScores]


def snip_scores(
    loaded: LoadedModel,
    data: Sequence[Sequence[EncodedSample]],
    scoring: ScoringOptions,
) -> Iterator[tuple[Scores, ...]]:
    """Score every weight by SNIP, as many matrices at a time as fit into memory.

    Args:
        loaded: The model; its adapter counts, where it has one.
        data: Encoded data sets; each is scored on its own.
        scoring: Batch size and memory.

    Yields:
        For some of the matrices, their scores on each data set, apart by halves of
        its samples. Select before asking for the next.
    """
    batches = [
        batches_of(loaded, encoded, scoring.score_batch_size) for encoded in data
    ]
    fold = SnipHalves(partial(effective_weight, loaded.model))
    budget = _budget(loaded, scoring)
    parts = plan_passes(loaded.layout.sites, [fold] * len(data), budget)
    if len(parts) > 1:
        say(f"scores of all matrices do not fit into memory: {len(parts)} passes")
    for sites in parts:
        yield tuple(
            run_folds(loaded.model, sites, of_data, [fold], memory_bytes=budget)[0]
            for of_data in batches
        )


def _budget(loaded: LoadedModel, scoring: ScoringOptions) -> int:
    if scoring.memory is None:
        return default_budget(loaded.model)
    return int(scoring.memory * GIB)
