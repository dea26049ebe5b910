"""How much memory may a pass take for what it accumulates?"""

from collections.abc import Sequence
from math import ceil
from typing import Protocol, runtime_checkable

import torch
from torch import nn

from driftmap.core.errors import MeasureError
from driftmap.core.places import Site
from driftmap.core.room import free_memory
from driftmap.core.units import format_bytes


@runtime_checkable
class TakesMemory(Protocol):
    """What holds something for every site: a fold, or finished scores."""

    def num_bytes(self, site: Site) -> int:
        """Memory for one site, in bytes."""
        ...


def default_budget(model: nn.Module, share: float = 0.6) -> int:
    """Take a share of what is free now where the model's weights live, in bytes."""
    devices = {parameter.device for parameter in model.parameters()}
    return int(share * sum(free_bytes(device) for device in devices))


def free_bytes(device: torch.device) -> int:
    """Free memory of an accelerator, or of this machine or container, in bytes."""
    if device.type == "cuda":
        cached = torch.cuda.memory_reserved(device)
        in_use = torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + cached - in_use
    return free_memory()


def plan_passes(
    sites: Sequence[Site], folds: Sequence[TakesMemory], memory_bytes: int
) -> tuple[tuple[Site, ...], ...]:
    """Divide the sites so that all states of one part fit into the memory.

    Args:
        sites: In canonical order; parts are runs of neighbours where that needs
            no additional pass.
        folds: The measures that share a pass, or what else is held by site.
        memory_bytes: Memory for the states of one part.

    Returns:
        The parts, one pass over the data each, as few as possible.

    Raises:
        MeasureError: The states of a single site do not fit.
    """
    sizes = {site: sum(fold.num_bytes(site) for fold in folds) for site in sites}
    largest = max(sizes, key=lambda site: sizes[site])
    if sizes[largest] > memory_bytes:
        raise MeasureError(
            f"{largest.key} alone needs {format_bytes(sizes[largest])} and the "
            f"budget is {format_bytes(memory_bytes)}: give more memory, or leave "
            "the site out"
        )
    parts = _neighbours(sizes, memory_bytes)
    if len(parts) > ceil(sum(sizes.values()) / memory_bytes):
        parts = min(parts, _first_fit(sizes, memory_bytes), key=len)
    return tuple(tuple(part) for part in parts)


def _neighbours(sizes: dict[Site, int], memory_bytes: int) -> list[list[Site]]:
    parts: list[list[Site]] = []
    room = -1
    for site, size in sizes.items():
        if size > room:
            parts.append([])
            room = memory_bytes
        parts[-1].append(site)
        room -= size
    return parts


def _first_fit(sizes: dict[Site, int], memory_bytes: int) -> list[list[Site]]:
    """Largest sites first, each where it still fits."""
    parts: list[list[Site]] = []
    rooms: list[int] = []
    for site in sorted(sizes, key=lambda site: -sizes[site]):
        fitting = (i for i, room in enumerate(rooms) if room >= sizes[site])
        index = next(fitting, len(rooms))
        if index == len(rooms):
            parts.append([])
            rooms.append(memory_bytes)
        parts[index].append(site)
        rooms[index] -= sizes[site]
    order = list(sizes)
    return [sorted(part, key=order.index) for part in parts]
