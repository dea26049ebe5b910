"""Which samples of an index move the model most like a query does?"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from driftmap.core.progress import phase
from driftmap.load.model import LoadedModel
from driftmap.recipes.index_options import SearchOptions
from driftmap.recipes.steps.index.exact import ExactCosines
from driftmap.recipes.steps.index.reading import Fed
from driftmap.recipes.steps.index.sketching import chosen, sketch
from driftmap.results.index import IndexedSample
from driftmap.results.index_search import NOBODY, Ranking
from driftmap.results.sketches import SketchedSamples
from driftmap.store.index.folder import Index
from driftmap.store.index.reranking import as_estimated, rerank
from driftmap.store.index.search import (
    Query,
    chosen_weights,
    nearest,
    tensor_errors,
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Answer:
    """What a search found.

    Args:
        queries: Ids of the queries.
        ranking: The best samples of each.
        samples: What these are, by their numbers.
        tensors: Names of the tensors that were compared.
        errors: Standard error of the index's cosine, per tensor.
        num_samples: Samples that were searched.
    """

    queries: tuple[str, ...]
    ranking: Ranking
    samples: dict[int, IndexedSample]
    tensors: tuple[str, ...]
    errors: Float64[np.ndarray, " tensor"]
    num_samples: int


def search(
    index: Index,
    loaded: LoadedModel,
    fed: Fed,
    options: SearchOptions,
    batch_tokens: int,
) -> Answer:
    """Find the best samples of every query.

    Args:
        index: Where to look.
        loaded: The model that the index was built with.
        fed: The queries.
        options: What is looked for.
        batch_tokens: Tokens of one pass, padding included.

    Raises:
        UsageError: A word names no tensor, or a query has no direction in them.
        MeasureError: A query has no direction at all.
        StoreError: A shard is damaged.
    """
    table = index.header.tensors
    places = [tensor.place for tensor in table]
    names = {place.name for place in chosen(places, options.tensors, "--tensors")}
    numbers = [number for number, p in enumerate(places) if p.name in names]
    query = _query(index, _sketched(index, loaded, fed, batch_tokens), numbers, options)
    with phase("search the index"):
        wanted = options.max_rerank + 1 if options.exact else options.top
        found = nearest(index, query, wanted)
    if options.exact:
        measure = ExactCosines(
            loaded=loaded,
            index=index,
            queries=fed.encoded,
            places=tuple(places[number] for number in numbers),
            weights=query.weights,
            batch_tokens=batch_tokens,
        )
        ranking = rerank(found, options.top, options.max_rerank, measure)
    else:
        ranking = as_estimated(found, options.top)
    shown = np.unique(ranking.samples[ranking.samples != NOBODY]).tolist()
    return Answer(
        queries=query.sketched.sample_ids,
        ranking=ranking,
        samples=index.samples(shown),
        tensors=tuple(places[number].name for number in numbers),
        errors=tensor_errors(index, query),
        num_samples=index.num_samples,
    )


def _sketched(
    index: Index, loaded: LoadedModel, fed: Fed, batch_tokens: int
) -> SketchedSamples:
    places = [tensor.place for tensor in index.header.tensors]
    settings = index.header.settings.sketch
    with phase("measure the queries"):
        return sketch(loaded, places, fed.encoded, settings, batch_tokens)


def _query(
    index: Index,
    sketched: SketchedSamples,
    numbers: Sequence[int],
    options: SearchOptions,
) -> Query:
    weights = chosen_weights(index, sketched, numbers, options.weighting)
    return Query(sketched=sketched, tensors=tuple(numbers), weights=weights)
