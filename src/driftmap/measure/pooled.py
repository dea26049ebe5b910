"""How alike are two samples' hidden states, place by place?

The measure that needs no gradient: inner products of one vector per sample and place.
"""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float32, Float64, Int64

from driftmap.core.places import TensorPlace
from driftmap.results.pair_products import NONE, PairProducts

Vectors = Mapping[TensorPlace, Float32[np.ndarray, "_ _"]]


def pooled_products(
    queries: tuple[tuple[str, ...], Vectors],
    originals: tuple[tuple[str, ...], Vectors],
    candidates: Int64[np.ndarray, "query candidate"],
    *,
    center: bool = False,
) -> PairProducts:
    """Multiply every query's vectors with those of its candidates.

    Hidden states share a large direction that says nothing of a sample; without it,
    what is left tells samples apart.

    Args:
        queries: Ids, and one vector per sample and place.
        originals: The same of the originals; the same places.
        candidates: Numbers of originals per query.
        center: Take the mean of the originals at each place off all vectors.

    Returns:
        Products in float64, in the order of the queries' places.
    """
    places = tuple(queries[1])
    num_queries, num_candidates = candidates.shape
    dot = np.zeros((num_queries, num_candidates, len(places)))
    asked = np.empty((num_queries, len(places)))
    found = np.empty((len(originals[0]), len(places)))
    for column, place in enumerate(places):
        ours, theirs = _pair(queries[1][place], originals[1][place], center=center)
        asked[:, column] = np.square(ours).sum(1)
        found[:, column] = np.square(theirs).sum(1)
        dot[:, :, column] = np.take_along_axis(ours @ theirs.T, candidates, axis=1)
    dot[candidates == NONE] = 0
    return PairProducts(
        queries=queries[0],
        originals=originals[0],
        candidates=candidates,
        tensors=places,
        dot=dot,
        query_energy=asked,
        original_energy=found,
        provenance={"of": "activations", "centred": "yes" if center else "no"},
    )


def _pair(
    ours: Float32[np.ndarray, "query width"],
    theirs: Float32[np.ndarray, "original width"],
    *,
    center: bool,
) -> tuple[Float64[np.ndarray, "query width"], Float64[np.ndarray, "original width"]]:
    mean = theirs.mean(0, dtype=np.float64) if center else 0.0
    return ours.astype(np.float64) - mean, theirs.astype(np.float64) - mean
