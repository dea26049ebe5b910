"""What are the exact cosines of queries with some samples of an index?"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64

from driftmap.capture.gradients import show_gradients
from driftmap.core.places import TensorPlace
from driftmap.core.progress import phase
from driftmap.load.model import LoadedModel
from driftmap.measure.products import PairFold, Pairs, QueryKeeper, workload_of
from driftmap.recipes.steps.index.reading import as_encoded
from driftmap.recipes.steps.index.sketching import batched, rules_of
from driftmap.recipes.steps.threads import threads_for
from driftmap.results.index_search import NOBODY
from driftmap.results.pair_products import NONE, PairProducts
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
        with phase(f"measure {(own != NONE).sum()} cosines exactly"):
            products = self._products(queries, originals, own)
        found[asked] = products.cosine(weights=self.weights)
        return found

    def _products(
        self,
        queries: Sequence[EncodedSample],
        originals: Sequence[EncodedSample],
        candidates: Int64[np.ndarray, "query candidate"],
    ) -> PairProducts:
        lengths = [[len(s.token_ids) for s in side] for side in (queries, originals)]
        products = PairProducts(
            queries=tuple(one.sample_id for one in queries),
            originals=tuple(one.sample_id for one in originals),
            candidates=candidates,
            tensors=self.places,
            dot=np.zeros((*candidates.shape, len(self.places))),
            query_energy=np.zeros((len(queries), len(self.places))),
            original_energy=np.zeros((len(originals), len(self.places))),
        )
        keeper = QueryKeeper(
            tensors=self.places,
            energies=products.query_energy,
            workload=workload_of(candidates, *lengths),
        )
        fold = PairFold(
            keeper=keeper,
            pairs=Pairs(candidates=candidates, num_originals=len(originals)),
            dot=products.dot,
            energies=products.original_energy,
            query_ids=products.queries,
        )
        rules = rules_of(self.loaded, self.places)
        with threads_for(self.loaded.identity):
            for samples, take in ((queries, keeper.take), (originals, fold.take)):
                batches = batched(self.loaded, samples, self.batch_tokens)
                show_gradients(self.loaded.model, rules, batches, take)
        return products
