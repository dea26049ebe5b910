"""How do products of parts of the originals become those of all of them?"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64, Int64

from driftmap.core.errors import MeasureError
from driftmap.results.pair_products import NONE, PairProducts


def joined_products(
    parts: Sequence[PairProducts],
    candidates: Int64[np.ndarray, "query candidate"],
    dot: Float64[np.ndarray, "query candidate tensor"] | None = None,
) -> PairProducts:
    """Join parts that cover all originals.

    Args:
        parts: In the order of their originals; of the same queries and tensors.
        candidates: Of the whole.
        dot: Where inner products go; by default in memory.

    Raises:
        MeasureError: Parts are of other runs, or leave out a candidate.
    """
    first = parts[0]
    for part in parts:
        if (part.queries, part.tensors) != (first.queries, first.tensors):
            raise MeasureError(
                "parts are of different queries or tensors; compute all of them with "
                "the same samples and options"
            )
    originals = tuple(name for part in parts for name in part.originals)
    shape = (*candidates.shape, len(first.tensors))
    total = np.zeros(shape) if dot is None else dot
    filled = candidates == NONE
    start = 0
    for part in parts:
        filled |= _copied(total, candidates - start, part)
        start += len(part.originals)
    if not filled.all():
        query = int((~filled).any(axis=1).argmax())
        number = int(candidates[query][~filled[query]][0])
        raise MeasureError(
            f"no part compares query {first.queries[query]} with original {number}; "
            "give all parts"
        )
    return PairProducts(
        queries=first.queries,
        originals=originals,
        candidates=candidates,
        tensors=first.tensors,
        dot=total,
        query_energy=first.query_energy,
        original_energy=np.concatenate([part.original_energy for part in parts]),
        provenance=first.provenance,
    )


def _copied(
    total: Float64[np.ndarray, "query candidate tensor"],
    wanted: Int64[np.ndarray, "query candidate"],
    part: PairProducts,
) -> np.ndarray:
    """Fill in what a part has; says which entries that are."""
    size = len(part.originals)
    inside = (wanted >= 0) & (wanted < size)
    query, column = np.nonzero(inside)
    rows = np.arange(len(part.queries))[:, None]
    known = np.where(part.candidates == NONE, -1, rows * size + part.candidates)
    order = np.argsort(known, axis=None, kind="stable")
    keys = known.ravel()[order]
    asked = query * size + wanted[inside]
    place = np.minimum(np.searchsorted(keys, asked), len(keys) - 1)
    found = keys[place] == asked if len(keys) else np.zeros(len(asked), dtype=bool)
    flat = part.dot.reshape(-1, part.dot.shape[2])
    total[query[found], column[found]] = flat[order[place[found]]]
    done = np.zeros_like(inside)
    done[query[found], column[found]] = True
    return done
