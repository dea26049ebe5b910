"""What do short rows of two sets of samples say of every pair?"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from jaxtyping import Float32, Float64, Int64

from driftmap.core.errors import MeasureError
from driftmap.results.pair_products import NONE, PairProducts
from driftmap.results.sketches import SketchedProducts, SketchedSamples
from driftmap.stats.sketch_sizes import projection_weights

_PIECE = 2**16
"""Numbers that one float32 sum goes over at most."""


def pair_up(
    queries: SketchedSamples,
    originals: SketchedSamples,
    candidates: Int64[np.ndarray, "query candidate"] | None = None,
) -> SketchedProducts:
    """Estimate the inner products of queries with originals, tensor by tensor.

    Args:
        queries: Their sketches.
        originals: Theirs, made with the same settings of the same tensors.
        candidates: Numbers of the originals that each query is compared with, `NONE`
            where there are no more; all by default.

    Raises:
        MeasureError: The sketches are not comparable.
    """
    _require_comparable(queries, originals)
    if candidates is None:
        every = np.arange(len(originals.sample_ids))
        candidates = np.tile(every, (len(queries.sample_ids), 1))
    shape = (*candidates.shape, len(queries.tensors))
    dot, difference = np.zeros(shape), np.zeros(shape)
    for number in range(len(queries.tensors)):
        lengths = _pairs_of(
            np.sqrt(queries.energies[:, number]),
            np.sqrt(originals.energies[:, number]),
            candidates,
        )
        rows, others = queries.rows[number], originals.rows[number]
        if queries.is_exact(number):
            dot[:, :, number] = lengths * _products(rows, others, candidates)
            continue
        half = rows.shape[1] // 2
        first = 2 * _products(rows[:, :half], others[:, :half], candidates)
        second = 2 * _products(rows[:, half:], others[:, half:], candidates)
        dot[:, :, number] = lengths * (first + second) / 2
        difference[:, :, number] = lengths * (first - second)
    return SketchedProducts(
        products=PairProducts(
            queries=queries.sample_ids,
            originals=originals.sample_ids,
            candidates=candidates,
            tensors=queries.tensors,
            dot=dot,
            query_energy=queries.energies,
            original_energy=originals.energies,
            provenance=_provenance(queries),
        ),
        difference=difference,
        query_length=_lengths(queries),
        original_length=_lengths(originals),
        num_numbers=queries.num_numbers,
        is_exact=tuple(queries.is_exact(n) for n in range(len(queries.tensors))),
        weights=projection_weights(queries.tensors, queries.settings),
    )


def weighed(sketched: SketchedProducts) -> SketchedProducts:
    """Put the weight of each tensor into its numbers, so that plain sums have it.

    Cosines of single tensors stay; those of several become what the projection stands
    for. Without weights nothing changes.
    """
    pairs, weights = sketched.products, sketched.weights
    if (weights == 1).all():
        return sketched
    products = replace(
        pairs,
        dot=pairs.dot * weights,
        query_energy=pairs.query_energy * weights,
        original_energy=pairs.original_energy * weights,
        provenance={
            **pairs.provenance,
            "energies": "exact, times the numbers kept of each tensor",
        },
    )
    return replace(
        sketched,
        products=products,
        difference=sketched.difference * weights,
        query_length=sketched.query_length * weights,
        original_length=sketched.original_length * weights,
        weights=np.ones_like(weights),
    )


def _products(
    rows: Float32[np.ndarray, "query number"],
    others: Float32[np.ndarray, "original number"],
    candidates: Int64[np.ndarray, "query candidate"],
) -> Float64[np.ndarray, "query candidate"]:
    """Inner products, 0 where there is no candidate; long ones in pieces."""
    everything = np.arange(len(others))
    is_all = candidates.shape[1] == len(others) and (candidates == everything).all()
    total = np.zeros(candidates.shape)
    for piece in _pieces(rows.shape[1]):
        if is_all:
            total += rows[:, piece] @ others[:, piece].T
        else:
            for query, chosen in enumerate(candidates):
                total[query] += others[chosen, piece] @ rows[query, piece]
    return np.where(candidates == NONE, 0.0, total)


def _pieces(length: int) -> Iterator[slice]:
    for start in range(0, length, _PIECE):
        yield slice(start, start + _PIECE)


def _pairs_of(
    of_query: Float64[np.ndarray, " query"],
    of_original: Float64[np.ndarray, " original"],
    candidates: Int64[np.ndarray, "query candidate"],
) -> Float64[np.ndarray, "query candidate"]:
    return of_query[:, None] * of_original[candidates]


def _lengths(sketched: SketchedSamples) -> Float64[np.ndarray, "sample tensor"]:
    squares = [
        sum(
            np.square(rows[:, piece]).sum(axis=1, dtype=np.float64)
            for piece in _pieces(rows.shape[1])
        )
        for rows in sketched.rows
    ]
    return np.stack(squares, axis=1) * sketched.energies


def _provenance(sketched: SketchedSamples) -> dict[str, str]:
    settings = sketched.settings
    numbers = (
        f"{settings.share:g} of all weights"
        if settings.kind == "legacy"
        else f"{settings.size} numbers a tensor"
    )
    return {
        "projection": f"{settings.kind}, {numbers}, seed {settings.seed}",
        "energies": "exact",
    }


def _require_comparable(queries: SketchedSamples, originals: SketchedSamples) -> None:
    if queries.settings != originals.settings:
        raise MeasureError(
            f"queries were projected by {queries.settings}, originals by "
            f"{originals.settings}; project both alike"
        )
    if queries.tensors != originals.tensors:
        raise MeasureError(
            f"queries have {len(queries.tensors)} tensors, originals "
            f"{len(originals.tensors)}, and they are not the same; choose the same"
        )
