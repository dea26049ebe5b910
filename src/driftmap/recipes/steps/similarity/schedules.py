"""In which order do samples and tensors meet, so that the gradients held fit?"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float64, Int64
from torch import nn

from driftmap.capture.gradients import show_gradients
from driftmap.capture.layer_sweep import (
    Side,
    SweepSettings,
    require_layers,
    sweep_layers,
)
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
from driftmap.signals.gradients import TensorSignal

Schedule = Literal["auto", "streaming", "layer_major"]

KeptQueries = dict[range, QueryKeeper]
"""Gradients of queries by their numbers."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Ways:
    """How the work may be done.

    Args:
        products: How products are formed.
        schedule: In which order.
        memory_bytes: What kept gradients may take; by default most of what is free.
        scratch: Folder for hidden states that do not fit into memory.
    """

    products: Products = "auto"
    schedule: Schedule = "auto"
    memory_bytes: int | None = None
    scratch: Path | None = None


def fill(
    work: PairWork,
    queries: Callable[[range], Sequence[Batch]],
    originals: Callable[[], Sequence[Batch]],
    ways: Ways,
    kept: KeptQueries | None = None,
) -> Filled:
    """Fill the results of some work.

    Args:
        work: What is computed.
        queries: Gives batches of some queries.
        originals: Gives batches of all originals at hand.
        ways: How it may be done.
        kept: Gradients of the queries from earlier work with other originals; where
            all fit at once they are left here for later work.

    Raises:
        MeasureError: The gradients of a single query do not fit, or layers cannot be
            taken one by one.
    """
    given = ways.memory_bytes
    room = default_budget(work.model) if given is None else given
    every = range(len(work.query_ids))
    need = foreseen_bytes(work.rules, len(every), work.workload, ways.products)
    is_large = ways.schedule == "auto" and need > room
    if ways.schedule == "layer_major" or (is_large and _has_layers(work, queries)):
        sides = queries(every), _from_zero(originals())
        return _by_layer(work, sides, ways, room)
    forms: dict[str, Form] = {}
    tiles = list(query_tiles(work, room, ways.products))
    if len(tiles) > 1:
        say(
            f"gradients of {len(tiles[0])} queries fit into {format_bytes(room)}, so "
            f"the originals pass {len(tiles)} times"
        )
    for tile in tiles:
        held = kept if len(tiles) == 1 else None
        keeper = _keeper(work, tile, queries, ways.products, held)
        forms |= _stream(work, tile, keeper, _from_zero(originals()))
    return Filled(schedule="streaming", forms=forms)


def query_tiles(work: PairWork, room: int, products: Products) -> Iterator[range]:
    """Divide the queries so that the gradients held at a time fit.

    Raises:
        MeasureError: Those of a single query do not fit.
    """
    num_queries = len(work.query_ids)
    one = foreseen_bytes(work.rules, 1, work.workload, products)
    _require_room(one, room)
    most = room // one
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


def _keeper(
    work: PairWork,
    tile: range,
    queries: Callable[[range], Sequence[Batch]],
    products: Products,
    kept: KeptQueries | None,
) -> QueryKeeper:
    """Gradients of some queries, from earlier work if they were kept."""
    mine = slice(tile.start, tile.stop)
    if kept is not None and tile in kept:
        work.query_energy[mine] = kept[tile].energies
        return kept[tile]
    keeper = _empty_keeper(work, tile, products)
    with phase("gradients of the queries"):
        show_gradients(work.model, work.rules, queries(tile), keeper.take)
    if kept is not None:
        kept[tile] = keeper
    return keeper


def _stream(
    work: PairWork, tile: range, keeper: QueryKeeper, originals: Sequence[Batch]
) -> Mapping[str, Form]:
    """Originals batch by batch, each multiplied with all queries that are kept."""
    fold = _fold(work, tile, keeper)
    show_gradients(work.model, work.rules, originals, fold.take)
    return keeper.forms


class _Layers:
    """Takes layer after layer, and keeps no more than one."""

    def __init__(self, keeper: QueryKeeper, fold: PairFold) -> None:
        self._keeper, self._fold = keeper, fold

    def take(self, signal: TensorSignal, side: Side) -> None:
        (self._keeper if side == "query" else self._fold).take(signal)

    def close(self) -> None:
        self._keeper.drop()


def _by_layer(
    work: PairWork,
    sides: tuple[Sequence[Batch], Sequence[Batch]],
    ways: Ways,
    room: int,
) -> Filled:
    """All samples of a layer before the next; hidden states share a host's memory."""
    on_host = all(one.device.type == "cpu" for one in work.model.parameters())
    for_gradients = room // 2 if on_host else room
    batches = _query_batches(work, len(sides[0]), ways.products, for_gradients)
    every = range(len(work.query_ids))
    keeper = _empty_keeper(work, every, ways.products)
    fold = _fold(work, every, keeper)
    settings = SweepSettings(
        memory_bytes=room - for_gradients if on_host else None,
        folder=ways.scratch,
        query_batches=batches,
    )
    with phase("gradients layer by layer"):
        sweep_layers(
            work.model, work.rules, sides[0], sides[1], _Layers(keeper, fold), settings
        )
    return Filled(schedule="layer_major", forms=keeper.forms)


def _query_batches(
    work: PairWork, num_batches: int, products: Products, room: int
) -> int | None:
    """Batches of queries whose gradients of the largest layer fit; None for all.

    Raises:
        MeasureError: Those of a single query do not fit.
    """
    groups: dict[object, list[TensorRule]] = {}
    for rule in work.rules:
        place = rule.places[0]
        key = place.part == "embed" if place.layer is None else place.layer + 2
        groups.setdefault(key, []).append(rule)
    one, every = (
        max(
            foreseen_bytes(rules, count, work.workload, products)
            for rules in groups.values()
        )
        for count in (1, len(work.query_ids))
    )
    _require_room(one, room)
    return None if every <= room else max(1, num_batches * room // every)


def _has_layers(work: PairWork, queries: Callable[[range], Sequence[Batch]]) -> bool:
    """Whether layers can be taken one by one; says why where they cannot."""
    try:
        require_layers(work.model, work.rules, queries(range(1))[0])
    except MeasureError as error:
        say(f"{error}: queries are taken in tiles instead")
        return False
    return True


def _empty_keeper(work: PairWork, tile: range, products: Products) -> QueryKeeper:
    return QueryKeeper(
        tensors=work.tensors,
        energies=work.query_energy[tile.start : tile.stop],
        workload=work.workload,
        products=products,
        first=tile.start,
    )


def _fold(work: PairWork, tile: range, keeper: QueryKeeper) -> PairFold:
    mine = slice(tile.start, tile.stop)
    return PairFold(
        keeper=keeper,
        pairs=Pairs(
            candidates=work.candidates[mine], num_originals=len(work.original_energy)
        ),
        dot=work.dot[mine],
        energies=work.original_energy,
        query_ids=work.query_ids[mine],
    )


def _require_room(num_bytes: int, room: int) -> None:
    if num_bytes > room:
        raise MeasureError(
            f"the gradient of one query takes {format_bytes(num_bytes)} and the budget "
            f"is {format_bytes(room)}; give more memory, or measure fewer tensors"
        )


def _from_zero(batches: Sequence[Batch]) -> tuple[Batch, ...]:
    """Number the originals at hand from 0."""
    first = min((index for b in batches for index in b.sample_index), default=0)
    return tuple(
        replace(b, sample_index=tuple(index - first for index in b.sample_index))
        for b in batches
    )


def _kind(rule: TensorRule) -> TensorKind:
    kinds = {use.kind for use in rule.uses}
    if kinds in ({"linear"}, {"expert"}):
        return "map"
    if kinds == {"table"}:
        return "table"
    return "tied" if kinds == {"linear", "table"} else "vector"
