"""Where do the gradients of the queries wait until the originals come?

As numbers, 64 queries to a tile, or as the factors they are products of: whichever the
run's sizes make cheaper, tensor by tensor.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from driftmap.core.places import TensorPlace
from driftmap.measure.products.checks import settled_energies
from driftmap.measure.products.factors import (
    Factors,
    NewestInputs,
    factors_of,
    has_whole,
)
from driftmap.measure.products.ghost import (
    SharedGrams,
    ghost_energies,
    ghost_products,
)
from driftmap.measure.products.pieces import product_of, products_of, square_sums
from driftmap.measure.products.work import (
    Form,
    Products,
    TensorKind,
    Workload,
    settled_form,
)
from driftmap.signals.assembled import stretches
from driftmap.signals.gradients import (
    LookedUpRows,
    OuterProducts,
    TensorSignal,
    WholeGradients,
)

TILE_QUERIES = 64
"""Queries whose gradients lie in one block of memory (count)."""

SPARSE = 1 / 8
"""Share of pairs of the queries that have any, below which each is taken by itself."""


@dataclass(slots=True, kw_only=True, eq=False)
class _Kept:
    """What is kept of one tensor, in the order in which queries came.

    Args:
        form: Numbers, or factors.
        rows: Which queries.
        tiles: Numbers of 64 queries each, the last one filled in part.
        factors: Factors of batches of queries, and which queries they are.
    """

    form: Form
    rows: list[int] = field(default_factory=list)
    tiles: list[Float[Tensor, "_ weight"]] = field(default_factory=list)
    factors: list[tuple[Int64[np.ndarray, " query"], Factors]] = field(
        default_factory=list
    )


class QueryKeeper:
    """Takes the signals of queries, and multiplies them with those of originals.

    Args:
        tensors: Every tensor that may come, in the order of `energies`.
        energies: Filled with the squared norms of the queries kept here; it may lie
            on disk.
        workload: Sizes of the whole run.
        products: How products are formed: `auto` takes the cheaper way.
        first: Number of the first query that is kept; others are left out.
    """

    def __init__(
        self,
        *,
        tensors: Sequence[TensorPlace],
        energies: Float64[np.ndarray, "query tensor"],
        workload: Workload,
        products: Products = "auto",
        first: int = 0,
    ) -> None:
        self.energies = energies
        self.columns = {place.name: at for at, place in enumerate(tensors)}
        self.first = first
        self._workload = workload
        self._products: Products = products
        self._forms: dict[str, Form] = {}
        self._kept: dict[str, _Kept] = {}
        self._newest = NewestInputs()
        self._own_grams = SharedGrams()
        self._grams = SharedGrams()

    @property
    def num_queries(self) -> int:
        """Queries that are kept."""
        return len(self.energies)

    @property
    def forms(self) -> Mapping[str, Form]:
        """How the products of every tensor seen are formed."""
        return dict(self._forms)

    @property
    def num_bytes(self) -> int:
        """Memory of what is kept now; inputs that tensors share count once."""
        held: dict[int, int] = {}
        for kept in self._kept.values():
            factors = (one for _, f in kept.factors for one in f.tensors)
            for one in (*kept.tiles, *factors):
                held[id(one)] = one.element_size() * one.nelement()
        return sum(held.values())

    @torch.no_grad()
    def take(self, signal: TensorSignal) -> None:
        """Keep what a batch of queries shows of a tensor.

        Raises:
            MeasureError: A gradient is NaN or infinite.
        """
        name = signal.tensor.name
        rows = np.array(signal.sample_index, dtype=np.int64) - self.first
        mine = ((rows >= 0) & (rows < self.num_queries)).nonzero()[0]
        if not (signal.pieces and len(mine)):
            return
        kept = self._kept.setdefault(name, _Kept(form=self._form(signal)))
        if kept.form == "ghost":
            factors = factors_of(signal, self._newest)
            found = ghost_energies(factors, self._own_grams)
            kept.factors.append((rows[mine], factors.of(mine)))
        else:
            found = self._written(kept, mine, signal)
        kept.rows.extend(rows[mine].tolist())
        settled = settled_energies(signal, found)
        self.energies[rows[mine], self.columns[name]] = settled[mine]

    def held(self, name: str) -> Bool[np.ndarray, " query"]:
        """Which queries' gradients of a tensor are here."""
        flags = np.zeros(self.num_queries, dtype=bool)
        if name in self._kept:
            flags[self._kept[name].rows] = True
        return flags

    @torch.no_grad()
    def multiply(
        self, signal: TensorSignal, paired: Bool[np.ndarray, "query original"]
    ) -> tuple[Float64[np.ndarray, "query original"], Float64[Tensor, " original"]]:
        """Products of the queries with a batch of originals, and its squared norms.

        Args:
            signal: What a batch of originals shows of a tensor.
            paired: Which pairs; others stay 0, or hold anything.
        """
        name = signal.tensor.name
        kept = self._kept.get(name) or _Kept(form=self._form(signal))
        if kept.form == "materialise":
            return _met(kept, signal, paired)
        came = factors_of(signal, self._newest)
        found = np.zeros(paired.shape)
        for rows, factors in kept.factors:
            found[rows] = ghost_products(factors, came, paired[rows], self._grams)
        return found, ghost_energies(came, self._own_grams)

    def drop(self, names: Sequence[str] | None = None) -> None:
        """Forget the gradients of some tensors, or of all; their energies stay."""
        for name in list(self._kept) if names is None else names:
            self._kept.pop(name, None)
        self._newest, self._grams = NewestInputs(), SharedGrams()
        self._own_grams = SharedGrams()

    def _form(self, signal: TensorSignal) -> Form:
        """Settled by the first batch for the whole run."""
        name = signal.tensor.name
        if name not in self._forms:
            kind, num_tokens = _kind(signal)
            if signal.tensor.expert is not None:
                num_tokens = np.inf  # tokens of one batch at an expert tell nothing
            height, width = signal.shape if kind != "vector" else (1, 1)
            self._forms[name] = settled_form(
                kind, (height, width), self._workload, self._products, num_tokens
            )
        return self._forms[name]

    def _written(
        self, kept: _Kept, mine: Int64[np.ndarray, " kept"], signal: TensorSignal
    ) -> Float64[Tensor, " sample"]:
        """Make the gradients, write them down, and give their squared norms."""
        total = _zeros(signal, len(signal.sample_ids))
        first = len(kept.rows)
        for stretch in stretches(signal):
            made = stretch.values
            self._make_room(kept, first + len(mine), math.prod(signal.shape), made)
            total += square_sums(made)
            part = slice(stretch.start, stretch.start + made.shape[1])
            for place, row in enumerate(mine.tolist(), start=first):
                tile = kept.tiles[place // TILE_QUERIES]
                tile[place % TILE_QUERIES, part] = made[row]
        return total

    def _make_room(self, kept: _Kept, count: int, size: int, like: Tensor) -> None:
        """Add tiles; what of them is never written takes no memory on a CPU."""
        while len(kept.tiles) * TILE_QUERIES < count:
            rest = self.num_queries - len(kept.tiles) * TILE_QUERIES
            kept.tiles.append(like.new_empty(min(TILE_QUERIES, rest), size))


def _met(
    kept: _Kept, signal: TensorSignal, paired: Bool[np.ndarray, "query original"]
) -> tuple[Float64[np.ndarray, "query original"], Float64[Tensor, " original"]]:
    energies = _zeros(signal, paired.shape[1])
    total = _zeros(signal, len(kept.rows), paired.shape[1])
    asked = paired[kept.rows]
    for stretch in stretches(signal):
        made = stretch.values
        energies += square_sums(made)
        part = slice(stretch.start, stretch.start + made.shape[1])
        for number, tile in enumerate(kept.tiles):
            start = number * TILE_QUERIES
            rows = slice(start, min(start + len(tile), len(kept.rows)))
            left = tile[: rows.stop - start, part]
            total[rows] += _asked_products(left, made, asked[rows])
    found = np.zeros(paired.shape)
    found[kept.rows] = total.cpu().numpy()
    return found, energies


def _asked_products(
    left: Float[Tensor, "query weight"],
    made: Float[Tensor, "original weight"],
    asked: Bool[np.ndarray, "query original"],
) -> Float64[Tensor, "query original"]:
    """Products at least where they are asked for, by the way that reads least."""
    rows = np.flatnonzero(asked.any(axis=1))
    found = made.new_zeros(asked.shape, dtype=torch.float64)
    if len(rows) and asked[rows].mean() > SPARSE:
        found[rows] = products_of(left if len(rows) == len(left) else left[rows], made)
        return found
    for row, column in np.argwhere(asked).tolist():
        found[row, column] = product_of(left[row], made[column])
    return found


def _kind(signal: TensorSignal) -> tuple[TensorKind, int]:
    """What a tensor is, and how many tokens of a sample it sees at most."""
    outer = [p for p in signal.pieces if isinstance(p, OuterProducts)]
    rows = any(isinstance(p, LookedUpRows) for p in signal.pieces)
    num_tokens = sum(p.inputs.shape[1] for p in outer)
    if has_whole(signal) or not signal.pieces:
        return "vector", num_tokens
    if outer:
        return "tied" if rows else "map", num_tokens
    return "table", num_tokens


def _zeros(signal: TensorSignal, *shape: int) -> Float64[Tensor, "..."]:
    return torch.zeros(shape, dtype=torch.float64, device=_device(signal))


def _device(signal: TensorSignal) -> torch.device:
    piece = signal.pieces[0]
    return (
        piece.values.device
        if isinstance(piece, WholeGradients)
        else piece.gradients.device
    )
