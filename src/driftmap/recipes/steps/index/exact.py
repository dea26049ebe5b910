"""What are the exact cosines of queries with some samples of an index?"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64

from driftmap.core.places import TensorPlace
from driftmap.core.progress import phase
from driftmap.load.model import LoadedModel
from driftmap.recipes.steps.index.reading import as_encoded
from driftmap.recipes.steps.similarity.gradients import (
    EncodedSides,
    GradientSettings,
    pair_products,
)
from driftmap.recipes.steps.threads import threads_for
from driftmap.results.index_search import NOBODY
from driftmap.results.pair_products import NONE
from driftmap.results.samples import EncodedSample
from driftmap.store.index.folder import Index


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ExactCosines:
    """Measures exact cosines of queries with samples of an index.

    Args:
        loaded: The model that the index was built with.
        index: Where the samples are.
        queries: The queries.
        places: Tensors that are compared.
        weights: One weight per tensor.
        batch_tokens: Tokens of one pass, padding included.
    """

    loaded: LoadedModel
    index: Index
    queries: tuple[EncodedSample, ...]
    places: tuple[TensorPlace, ...]
    weights: Float64[np.ndarray, " tensor"]
    batch_tokens: int

    def __call__(
        self, candidates: Int64[np.ndarray, "query candidate"]
    ) -> Float64[np.ndarray, "query candidate"]:
        """Measure cosines; NaN where there is no candidate.

        Args:
            candidates: Numbers of samples of the index; `NOBODY` fills up.
        """
        numbers = np.unique(candidates[candidates != NOBODY])
        asked = np.flatnonzero((candidates != NOBODY).any(1))
        found = np.full(candidates.shape, np.nan)
        if len(numbers) == 0:
            return found
        held = self.index.samples(numbers.tolist())
        originals = [as_encoded(held[number]) for number in numbers.tolist()]
        queries = [self.queries[number] for number in asked.tolist()]
        own = np.searchsorted(numbers, candidates[asked])
        own[candidates[asked] == NOBODY] = NONE
        what = f"measure {(own != NONE).sum()} cosines exactly"
        with phase(what), threads_for(self.loaded.identity):
            sides = EncodedSides(queries=queries, originals=originals, candidates=own)
            found[asked] = self._cosines(sides)
        return found

    def _cosines(self, sides: EncodedSides) -> Float64[np.ndarray, "query candidate"]:
        names = [place.name for place in self.places]
        settings = GradientSettings(only=tuple(names), batch_tokens=self.batch_tokens)
        products = pair_products(self.loaded, sides, settings)
        # A name may be a piece of another one, so more tensors may have come.
        columns = {place.name: at for at, place in enumerate(products.tensors)}
        chosen = [columns[name] for name in names]
        weights = np.zeros(len(columns))
        weights[chosen] = self.weights
        cosines = products.cosine(chosen, weights)
        # Products come without the gaps among candidates; the last column is NONE.
        table = np.full((len(sides.queries), len(sides.originals) + 1), np.nan)
        query, column = np.nonzero(products.candidates != NONE)
        there = products.candidates[query, column]
        table[query, there] = cosines[query, column]
        return np.take_along_axis(table, sides.candidates, axis=1)
