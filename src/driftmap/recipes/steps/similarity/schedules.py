"""In which order do samples and tensors meet, so that the gradients held fit?"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Float64, Int64
from torch import nn

from driftmap.capture.gradients import show_gradients
from driftmap.capture.memory import default_budget
from driftmap.core.errors import MeasureError
from driftmap.core.places import TensorPlace
from driftmap.core.progress import phase, say
from driftmap.core.units import format_bytes
from driftmap.families.tensors import TensorRule, slice_shape
from driftmap.measure.products import (
    Form,
    PairFold,
    Pairs,
    Products,
    QueryKeeper,
    TensorKind,
    Workload,
    kept_bytes,
)
from driftmap.signals.batch import Batch

Schedule = Literal["auto", "streaming", "layer_major"]

TILE = 64
"""Queries are held in multiples of this, where there is room (count)."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PairWork:
    """What is computed, and where it goes.

    Args:
        model: The model.
        rules: The tensors.
        query_ids: One id per query.
        candidates: Numbers, among the originals at hand, per query.
        workload: Sizes of the whole run.
        dot: Filled with inner products.
        query_energy: Filled with squared norms of queries.
        original_energy: Filled with squared norms of originals.
    """

    model: nn.Module
    rules: tuple[TensorRule, ...]
    query_ids: tuple[str, ...]
    candidates: Int64[np.ndarray, "query candidate"]
    workload: Workload
    dot: Float64[np.ndarray, "query candidate tensor"]
    query_energy: Float64[np.ndarray, "query tensor"]
    original_energy: Float64[np.ndarray, "original tensor"]

    @property
    def tensors(self) -> tuple[TensorPlace, ...]:
        """Places of all tensors, in the order of the results."""
        return tuple(place for rule in self.rules for place in rule.places)


@dataclass(frozen=True, slots=True, kw_only=True)
class Filled:
    """How the work was done.

    Args:
        schedule: In which order.
        forms: How products of every tensor were formed.
    """

    schedule: str
    forms: Mapping[str, Form]


def fill(
    work: PairWork,
    queries: Callable[[range], Sequence[Batch]],
    originals: Callable[[], Sequence[Batch]],
    *,
    products: Products,
    schedule: Schedule,
    memory_bytes: int | None,
) -> Filled:
    """Fill the results of some work.

    Args:
        work: What is computed.
        queries: Gives batches of some queries.
        originals: Gives batches of all originals at hand.
        products: How products are formed.
        schedule: In which order.
        memory_bytes: What kept gradients may take; by default most of what is free.

    Raises:
        MeasureError: The gradients of a single query do not fit.
    """
    room = default_budget(work.model) if memory_bytes is None else memory_bytes
    forms: dict[str, Form] = {}
    tiles = list(query_tiles(work, room, products))
    if len(tiles) > 1:
        say(
            f"gradients of {len(tiles[0])} queries fit into {format_bytes(room)}, so "
            f"the originals pass {len(tiles)} times"
        )
    for tile in tiles:
        forms |= _stream(work, tile, (queries(tile), originals()), products)
    return Filled(schedule="streaming", forms=forms)


def query_tiles(work: PairWork, room: int, products: Products) -> Iterator[range]:
    """Divide the queries so that the gradients held at a time fit.

    Raises:
        MeasureError: Those of a single query do not fit.
    """
    num_queries = len(work.query_ids)
    one = foreseen_bytes(work.rules, 1, work.workload, products)
    most = room // max(1, one)
    if not most:
        raise MeasureError(
            f"the gradient of one query takes {format_bytes(one)} and the budget is "
            f"{format_bytes(room)}; give more memory, or measure fewer tensors"
        )
    size = most // TILE * TILE if most >= TILE else most
    for first in range(0, num_queries, size):
        yield range(first, min(first + size, num_queries))


def foreseen_bytes(
    rules: Sequence[TensorRule],
    num_queries: int,
    workload: Workload,
    products: Products,
) -> int:
    """Memory that the gradients of some queries take, of all tensors."""
    return sum(
        kept_bytes(_kind(rule), slice_shape(rule, one), num_queries, workload, products)
        for rule in rules
        for one in rule.slices
    )


def _stream(
    work: PairWork,
    tile: range,
    sides: tuple[Sequence[Batch], Sequence[Batch]],
    products: Products,
) -> Mapping[str, Form]:
    """Queries first, and then originals batch by batch."""
    mine = slice(tile.start, tile.stop)
    keeper = QueryKeeper(
        tensors=work.tensors,
        energies=work.query_energy[mine],
        workload=work.workload,
        products=products,
        first=tile.start,
    )
    with phase("gradients of the queries"):
        show_gradients(work.model, work.rules, sides[0], keeper.take)
    fold = PairFold(
        keeper=keeper,
        pairs=Pairs(
            candidates=work.candidates[mine], num_originals=len(work.original_energy)
        ),
        dot=work.dot[mine],
        energies=work.original_energy,
        query_ids=work.query_ids[mine],
    )
    with phase("gradients of the originals"):
        show_gradients(work.model, work.rules, _from_zero(sides[1]), fold.take)
    return keeper.forms


def _from_zero(batches: Sequence[Batch]) -> tuple[Batch, ...]:
    """Number the originals at hand from 0."""
    first = min((index for b in batches for index in b.sample_index), default=0)
    return tuple(
        replace(b, sample_index=tuple(index - first for index in b.sample_index))
        for b in batches
    )


def _kind(rule: TensorRule) -> TensorKind:
    kinds = {use.kind for use in rule.uses}
    if kinds == {"linear"}:
        return "map"
    if kinds == {"table"}:
        return "table"
    return "tied" if kinds == {"linear", "table"} else "vector"
