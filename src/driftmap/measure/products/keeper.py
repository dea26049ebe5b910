"""Where do the gradients of the queries wait until the originals come?

As numbers, 64 queries to a tile, or as the factors they are products of: whichever the
run's sizes make cheaper, tensor by tensor.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from driftmap.core.places import TensorPlace
from driftmap.measure.products.checks import settled_energies
from driftmap.measure.products.factors import Factors, NewestInputs, factors_of
from driftmap.measure.products.forming import formed_tiles
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
from driftmap.signals.gradients import TensorSignal

TILE_QUERIES = 64
"""Queries whose gradients lie in one block of memory (count)."""

SPARSE = 1 / 8
"""Share of pairs below which each is taken by itself."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Kept:
    """What is kept of one tensor.

    Args:
        form: Numbers, or factors.
        tiles: Numbers of 64 queries each.
        factors: Factors of batches of queries, and which queries they are.
    """

    form: Form
    tiles: list[Float[Tensor, "query weight"]] = field(default_factory=list)
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
            for one in [*kept.tiles, *(t for _, f in kept.factors for t in _held(f))]:
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
        factors = factors_of(signal, self._newest)
        mine = (rows >= 0) & (rows < self.num_queries)
        ids = [i for i, own in zip(signal.sample_ids, mine, strict=True) if own]
        if not ids:
            return
        rows, factors = rows[mine], factors.of(mine.nonzero()[0])
        kept = self._kept.setdefault(name, _Kept(form=self._form(name, factors)))
        if kept.form == "ghost":
            found = ghost_energies(factors, self._own_grams)
            kept.factors.append((rows, factors))
        else:
            found = self._written(kept.tiles, rows, factors)
        settled = settled_energies(name, ids, factors, found)
        self.energies[rows, self.columns[name]] = settled

    def multiply(
        self, name: str, came: Factors, paired: Bool[np.ndarray, "query original"]
    ) -> tuple[Float64[np.ndarray, "query original"], Float64[np.ndarray, " original"]]:
        """Products of the queries with a batch of originals, and its squared norms.

        Args:
            name: The tensor.
            came: The originals' gradients.
            paired: Which pairs; others stay 0, or hold anything.
        """
        kept = self._kept.get(name)
        if kept is None or kept.form == "materialise":
            return _met(kept.tiles if kept else [], came, paired)
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

    def _form(self, name: str, factors: Factors) -> Form:
        """Settled by the first batch for the whole run."""
        if name not in self._forms:
            self._forms[name] = settled_form(
                _kind(factors),
                factors.shape,
                self._workload,
                self._products,
                factors.num_tokens,
            )
        return self._forms[name]

    def _written(
        self,
        tiles: list[Float[Tensor, "_ weight"]],
        rows: Int64[np.ndarray, " sample"],
        factors: Factors,
    ) -> Float64[np.ndarray, " sample"]:
        """Make the gradients, write them down, and give their squared norms."""
        if not tiles:
            tiles.extend(self._empty_tiles(factors))
        total = torch.zeros_like(factors.squares)
        for part, made in formed_tiles(factors):
            total += square_sums(made)
            for row, values in zip(rows.tolist(), made, strict=True):
                tiles[row // TILE_QUERIES][row % TILE_QUERIES, part] = values
        return total.cpu().numpy()

    def _empty_tiles(self, factors: Factors) -> list[Tensor]:
        height, width = factors.shape
        sizes = [
            min(TILE_QUERIES, self.num_queries - start)
            for start in range(0, self.num_queries, TILE_QUERIES)
        ]
        return [
            torch.zeros(
                size, height * width, dtype=factors.dtype, device=factors.device
            )
            for size in sizes
        ]


def _met(
    tiles: Sequence[Float[Tensor, "_ weight"]],
    came: Factors,
    paired: Bool[np.ndarray, "query original"],
) -> tuple[Float64[np.ndarray, "query original"], Float64[np.ndarray, " original"]]:
    energies = torch.zeros_like(came.squares)
    total = torch.zeros(paired.shape, dtype=torch.float64, device=came.device)
    for part, made in formed_tiles(came):
        energies += square_sums(made)
        for number, tile in enumerate(tiles):
            rows = slice(number * TILE_QUERIES, number * TILE_QUERIES + len(tile))
            asked = paired[rows]
            if asked.mean() > SPARSE:
                total[rows] += products_of(tile[:, part], made)
                continue
            for row, column in np.argwhere(asked).tolist():
                value = product_of(tile[row, part], made[column])
                total[rows.start + row, column] += value
    return total.cpu().numpy(), energies.cpu().numpy()


def _kind(factors: Factors) -> TensorKind:
    if factors.whole is not None:
        return "vector"
    if factors.outer is not None:
        return "map" if factors.rows is None else "tied"
    return "table"


def _held(factors: Factors) -> list[Tensor]:
    outer, rows = factors.outer, factors.rows
    found = [outer.inputs, outer.gradients] if outer else []
    return found + ([rows.values, rows.row, rows.sample] if rows else [])
