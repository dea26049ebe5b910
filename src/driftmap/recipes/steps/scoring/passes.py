"""In how many passes is a model scored, and where do finished scores wait?

While one data set is scored, the finished scores of another wait. In memory they take
as much as the sums of the one at hand; on a disk they take none, so that a pass may
cover twice as many matrices.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from driftmap.capture.memory import TakesMemory, default_budget, plan_passes
from driftmap.core.errors import MeasureError
from driftmap.core.places import Site
from driftmap.core.progress import say
from driftmap.core.room import free_memory
from driftmap.core.scratch import disk_for_scratch, room_in
from driftmap.load.model import LoadedModel
from driftmap.recipes.options import ScoringOptions

GIB = 2**30

_SHARE_OF_HOST = 0.6


@dataclass(frozen=True, slots=True, kw_only=True)
class Spill:
    """Where finished scores may be written for a while.

    Args:
        run: The run folder they are for.
        chosen: Folder for temporary files that the user chose, if any.
    """

    run: Path
    chosen: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Passes:
    """How a model is scored.

    Args:
        parts: Matrices of each pass over each data set.
        waits_in: Folder of the disk where finished scores wait; None for memory.
        num_bytes: What waits at most at a time.
    """

    parts: tuple[tuple[Site, ...], ...]
    waits_in: Path | None
    num_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Room:
    """Memory in bytes, without what single matrices take on their way.

    Args:
        sums: Where the model is, for what adds up during a pass.
        results: On the host, for finished scores; None where that is the same memory.
    """

    sums: int
    results: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Floats:
    """Finished scores: so many numbers of every weight.

    Args:
        count: Numbers per weight.
    """

    count: int = 1

    def num_bytes(self, site: Site) -> int:
        """Memory of one matrix in float32."""
        return 4 * self.count * site.num_weights


def plan_whole(
    loaded: LoadedModel, fold: TakesMemory, scoring: ScoringOptions
) -> tuple[tuple[Site, ...], ...]:
    """Divide the matrices so that the scores of one data set are held part by part.

    Raises:
        MeasureError: A single matrix does not fit into memory.
    """
    room = _room(loaded, scoring, 1)
    num_bytes = room.sums if room.results is None else min(room.sums, room.results)
    return plan_passes(loaded.layout.sites, [fold], num_bytes)


def plan_waiting(
    loaded: LoadedModel,
    fold: TakesMemory,
    num_sets: int,
    scoring: ScoringOptions,
    spill: Spill | None,
) -> Passes:
    """Divide the matrices where all but the last data set wait for it.

    Args:
        loaded: The model.
        fold: The measure.
        num_sets: Data sets, each scored on its own.
        scoring: The memory there is.
        spill: Where scores may wait on a disk, where that saves passes.

    Raises:
        MeasureError: A single matrix does not fit into memory.
    """
    sites = loaded.layout.sites
    room = _room(loaded, scoring, num_sets)
    parts = _all_in_memory(sites, fold, num_sets, room)
    if spill is not None and num_sets > 1 and len(parts) > 1:
        spilled = _on_disk(loaded, fold, num_sets - 1, room, spill)
        if spilled and len(spilled.parts) < len(parts):
            return spilled
    return Passes(
        parts=parts, waits_in=None, num_bytes=_waiting_bytes(parts, fold, num_sets - 1)
    )


def _all_in_memory(
    sites: Sequence[Site], fold: TakesMemory, num_sets: int, room: _Room
) -> tuple[tuple[Site, ...], ...]:
    if room.results is None:
        return plan_passes(sites, [fold] * num_sets, room.sums)
    limit = room.sums
    if num_sets > 1:
        limit = min(limit, room.results // (num_sets - 1))
    return plan_passes(sites, [fold], limit)


def _on_disk(
    loaded: LoadedModel,
    fold: TakesMemory,
    num_waiting: int,
    room: _Room,
    spill: Spill,
) -> Passes | None:
    """The way by a disk; None where there is none or one with too little room."""
    place = disk_for_scratch(spill.chosen)
    if place is None:
        if spill.chosen is not None:
            say(
                f"--scratch {spill.chosen} is memory itself, so no score waits there; "
                "a folder on a disk may save passes"
            )
        return None
    memory = room.sums
    if room.results is None:
        memory -= num_waiting * max(map(fold.num_bytes, loaded.layout.sites))
    limit = min(memory, room_in(place) // num_waiting)
    try:
        parts = plan_passes(loaded.layout.sites, [fold], limit)
    except MeasureError:
        return None
    num_bytes = _waiting_bytes(parts, fold, num_waiting)
    return Passes(parts=parts, waits_in=place, num_bytes=num_bytes)


def _waiting_bytes(
    parts: Sequence[Sequence[Site]], fold: TakesMemory, num_waiting: int
) -> int:
    return num_waiting * max(sum(map(fold.num_bytes, sites)) for sites in parts)


def _room(loaded: LoadedModel, scoring: ScoringOptions, num_sets: int) -> _Room:
    """Memory for many matrices, less what is made of one matrix at a time.

    That is first its magnitudes, when its score is finished; later its whole scores,
    one per data set, when its members are selected.
    """
    passing = 4 * num_sets * max(site.num_weights for site in loaded.layout.sites)
    devices = {parameter.device.type for parameter in loaded.model.parameters()}
    results = None
    if "cpu" not in devices:
        results = int(_SHARE_OF_HOST * free_memory()) - passing
    return _Room(sums=_budget(loaded, scoring) - passing, results=results)


def _budget(loaded: LoadedModel, scoring: ScoringOptions) -> int:
    if scoring.memory is None:
        return default_budget(loaded.model)
    return int(scoring.memory * GIB)
