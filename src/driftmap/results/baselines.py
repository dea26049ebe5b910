"""What stands beside gradient products: other orders of the same candidates."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float64, Int64


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Baseline:
    """Another way to order originals: BM25, embeddings, activations, random order.

    Give `scores` on the candidates of the products, or `ranks` in a whole corpus.

    Args:
        name: What tables call it: `bm25`.
        scores: Higher is better; in the order of `PairProducts.candidates`. What
            stands where there is no candidate does not matter.
        ranks: Place of the truth, from 1, ties already broken; 0 where it was not
            found.
        num_ranked: Originals that each rank is among (count); None with `scores`.
    """

    name: str
    scores: Float64[np.ndarray, "query candidate"] | None = None
    ranks: Int64[np.ndarray, " query"] | None = None
    num_ranked: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Projection:
    """Products of randomly projected gradients, to compare with the exact ones.

    Args:
        name: What it is called: `fold, k = 1024`.
        num_stored: Numbers that it stores per sample, over all tensors (count).
        cosine: Its full cosines, in the order of `PairProducts.candidates`; NaN
            where there is none.
    """

    name: str
    num_stored: int
    cosine: Float64[np.ndarray, "query candidate"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Beside:
    """What is known besides the products.

    Args:
        baselines: Other orders.
        projections: Random projections.
        dot_error: Standard error of every product, for projected ones; may lie on
            disk. None for exact products.
        flags: Query id -> what is wrong with it, in words: `too long`,
            `incomplete answer`. Accuracy is given without them too.
        forced: Ids of queries whose truth was put among the candidates; None where
            that is not known.
    """

    baselines: tuple[Baseline, ...] = ()
    projections: tuple[Projection, ...] = ()
    dot_error: Float64[np.ndarray, "query candidate tensor"] | None = None
    flags: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    forced: tuple[str, ...] | None = None
