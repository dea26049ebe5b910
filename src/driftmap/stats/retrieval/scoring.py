"""How does every unit and weighting score the candidates of a query?"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64

from driftmap.stats.retrieval.pairs import SetPairs


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scorer:
    """Cosines of many weighted sums of tensors, from one read of the products.

    Args:
        pairs: One set.
        weights: One column per row that is scored, not negative; the first columns
            are the tensors alone.
        query_scale: 1 / norm of each query; 0 where it has no direction.
        original_scale: The same of each original.
        adds_mean: A last row: the mean of the tensors' own cosines.
    """

    pairs: SetPairs
    weights: Float64[np.ndarray, "tensor row"]
    query_scale: Float64[np.ndarray, "query row"]
    original_scale: Float64[np.ndarray, "row original"]
    adds_mean: bool

    @property
    def num_rows(self) -> int:
        """Rows of scores."""
        return self.weights.shape[1] + self.adds_mean

    def cosines(self, query: int) -> Float64[np.ndarray, "row candidate"]:
        """Score a query's candidates; what has no direction scores 0.

        A product without a direction is 0: a step on the one changes nothing of the
        other there, as if they were unrelated.

        Args:
            query: Its number in the set.
        """
        found = _summed(self.pairs.dots(query).T, self.weights)
        found *= self.query_scale[query][:, None]
        found *= self.original_scales(query)
        if not self.adds_mean:
            return found
        return np.concatenate([found, self._mean(query, found)[None]])

    def squared_errors(
        self, query: int, errors: Float64[np.ndarray, "candidate tensor"]
    ) -> Float64[np.ndarray, "row candidate"]:
        """Take standard errors of products to squared ones of the cosines.

        Args:
            query: Its number in the set.
            errors: Of each product that it has.
        """
        variance = _summed(np.square(errors.T), np.square(self.weights))
        scale = self.query_scale[query][:, None] * self.original_scales(query)
        return variance * np.square(scale)

    def has_direction(self, query: int) -> Bool[np.ndarray, "row candidate"]:
        """Which cosines there are."""
        return (self.query_scale[query] > 0)[:, None] & (
            self.original_scales(query) > 0
        )

    def original_scales(self, query: int) -> Float64[np.ndarray, "row candidate"]:
        """1 / norm of each candidate of a query."""
        places = self.pairs.places(query)
        return self.original_scale[:, self.pairs.candidates[query][places]]

    def _mean(
        self, query: int, found: Float64[np.ndarray, "row candidate"]
    ) -> Float64[np.ndarray, " candidate"]:
        """Mean cosine over the tensors that have one."""
        single = len(self.weights)
        counted = self.has_direction(query)[:single].sum(axis=0)
        return found[:single].sum(axis=0) / np.maximum(counted, 1)


def make_scorer(
    pairs: SetPairs,
    joined: Sequence[Float64[np.ndarray, " tensor"]],
    *,
    adds_mean: bool = False,
) -> Scorer:
    """Prepare rows: every tensor alone, then each weighted sum.

    Args:
        pairs: One set.
        joined: Weights of the tensors, per further row.
        adds_mean: Add the mean of the tensors' cosines as last row.
    """
    single = np.eye(len(pairs.products.tensors))
    weights = np.concatenate([single, *(w[:, None] for w in joined)], axis=1)
    return Scorer(
        pairs=pairs,
        weights=weights,
        query_scale=inverse_norm(_summed(pairs.query_energy.T, weights).T.copy()),
        original_scale=inverse_norm(_summed(pairs.products.original_energy.T, weights)),
        adds_mean=adds_mean,
    )


def _summed(
    values: Float64[np.ndarray, "tensor column"],
    weights: Float64[np.ndarray, "tensor row"],
) -> Float64[np.ndarray, "row column"]:
    """Weigh and sum tensors; the first rows are the tensors alone."""
    single = len(values)
    found = np.empty((weights.shape[1], values.shape[1]))
    found[:single] = values
    np.matmul(weights[:, single:].T, values, out=found[single:])
    return found


def inverse_norm(
    energy: Float64[np.ndarray, "left right"],
) -> Float64[np.ndarray, "left right"]:
    """1 / sqrt(energy); 0 where there is no direction."""
    scale = np.zeros_like(energy)
    np.divide(1.0, np.sqrt(energy), out=scale, where=energy > 0)
    return scale
