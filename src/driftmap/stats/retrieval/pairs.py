"""Which pairs belong to one set of queries, and which candidates are right?"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64

from driftmap.core.errors import MeasureError
from driftmap.results.pair_products import NONE, PairProducts, Truth


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SetPairs:
    """One set's queries, in the order of the products.

    Args:
        name: The set.
        products: Products of all sets.
        rows: Numbers of the set's queries among all.
        original: Number of each query's truth.
        candidates: Numbers of the originals that each is compared with.
        right: Candidates that are the truth, or equal to it.
        ids: For each query, a number that queries of equal truths share, from 0.
        same: Class of every original.
        is_even: Every query has as many candidates as there are columns.
    """

    name: str
    products: PairProducts
    rows: Int64[np.ndarray, " query"]
    original: Int64[np.ndarray, " query"]
    candidates: Int64[np.ndarray, "query candidate"]
    right: Bool[np.ndarray, "query candidate"]
    ids: Int64[np.ndarray, " query"]
    same: Int64[np.ndarray, " original"]
    is_even: bool

    @property
    def num_queries(self) -> int:
        """Queries of the set."""
        return self.rows.size

    @property
    def num_ids(self) -> int:
        """Different truths: what varies independently."""
        return int(self.ids.max()) + 1

    @property
    def num_candidates(self) -> Int64[np.ndarray, " query"]:
        """Candidates of each query."""
        return (self.candidates != NONE).sum(axis=1)

    @property
    def num_right(self) -> Int64[np.ndarray, " query"]:
        """Right candidates of each query; 0 where the truth is none."""
        return self.right.sum(axis=1)

    @property
    def is_all_pairs(self) -> bool:
        """Every query was compared with every original."""
        return bool((self.num_candidates == len(self.products.originals)).all())

    def places(self, query: int) -> Int64[np.ndarray, " candidate"] | slice:
        """Columns of the candidates that a query has."""
        if self.is_even:
            return slice(None)
        return np.flatnonzero(self.candidates[query] != NONE)

    def dots(self, query: int) -> Float64[np.ndarray, "candidate tensor"]:
        """Products of a query with the candidates that it has."""
        return np.asarray(self.products.dot[self.rows[query]])[self.places(query)]

    @property
    def query_energy(self) -> Float64[np.ndarray, "query tensor"]:
        """A of the set's queries."""
        return self.products.query_energy[self.rows]


def split_sets(products: PairProducts, truth: Truth) -> tuple[SetPairs, ...]:
    """Take the sets of queries apart, in order of first appearance.

    Args:
        products: Products of all queries.
        truth: What is behind each of them.

    Raises:
        MeasureError: Numbers of queries, originals or candidates do not fit, a query
            has no candidate, or one twice, or a product is not a number.
    """
    _check(products, truth)
    _check_numbers(products)
    return tuple(_one_set(name, products, truth) for name in dict.fromkeys(truth.sets))


def of_queries(pairs: SetPairs, wanted: Bool[np.ndarray, " query"]) -> SetPairs:
    """Keep some queries of a set; ids are numbered anew."""
    return SetPairs(
        name=pairs.name,
        products=pairs.products,
        rows=pairs.rows[wanted],
        original=pairs.original[wanted],
        candidates=pairs.candidates[wanted],
        right=pairs.right[wanted],
        ids=_numbered(pairs.ids[wanted]),
        same=pairs.same,
        is_even=pairs.is_even,
    )


def _one_set(name: str, products: PairProducts, truth: Truth) -> SetPairs:
    rows = np.array([n for n, s in enumerate(truth.sets) if s == name])
    original = truth.original[rows]
    candidates = products.candidates[rows]
    right = truth.same[candidates] == truth.same[original][:, None]
    return SetPairs(
        name=name,
        products=products,
        rows=rows,
        original=original,
        candidates=candidates,
        right=right & (candidates != NONE),
        ids=_numbered(truth.same[original]),
        same=truth.same,
        is_even=bool((candidates != NONE).all()),
    )


def _numbered(classes: Int64[np.ndarray, " query"]) -> Int64[np.ndarray, " query"]:
    return np.unique(classes, return_inverse=True)[1].astype(np.int64)


def _check(products: PairProducts, truth: Truth) -> None:
    num_queries, num_originals = len(products.queries), len(products.originals)
    told = {truth.original.size, len(truth.sets)}
    if not num_queries or told != {num_queries} or truth.same.size != num_originals:
        raise MeasureError(
            f"{num_queries} queries and {num_originals} originals, but the truth is "
            f"of {truth.original.size} and {truth.same.size}; take both from one run"
        )
    highest = max(truth.original.max(), products.candidates.max(initial=NONE))
    lowest = min(truth.original.min(), products.candidates.min(initial=0) + 1)
    if highest >= num_originals or lowest < 0:
        raise MeasureError(
            f"an original has the number {highest if lowest >= 0 else lowest}, but "
            f"there are {num_originals}, numbered from 0"
        )
    listed = np.sort(products.candidates, axis=1)
    twice = ((listed[:, 1:] == listed[:, :-1]) & (listed[:, 1:] != NONE)).any(axis=1)
    for query in np.flatnonzero(twice | (listed == NONE).all(axis=1))[:1]:
        found = "has one twice" if twice[query] else "has none"
        raise MeasureError(
            f"candidates of query {products.queries[query]}: it {found}; list every "
            "original that it is compared with once"
        )


def _check_numbers(products: PairProducts) -> None:
    """Read everything once, query by query: it may lie on disk."""
    for number, name in enumerate(products.queries):
        energy = products.query_energy[number]
        if not (np.isfinite(products.dot[number]).all() and np.isfinite(energy).all()):
            raise MeasureError(
                f"query {name}: a product is NaN or infinite; measure it again"
            )
    for name, energy in zip(products.originals, products.original_energy, strict=True):
        if not np.isfinite(energy).all():
            raise MeasureError(
                f"original {name}: an energy is NaN or infinite; measure it again"
            )
