"""Which models are made: ways of tuning, on which blocks, with which settings?"""

from collections.abc import Sequence
from dataclasses import dataclass

from driftmap.core.errors import UsageError
from driftmap.core.places import Site
from driftmap.families.spec import ModelLayout
from driftmap.recipes.edit_options import EditTuningOptions
from driftmap.tune.settings import TunedPart, Tuning, TuningSettings
from driftmap.tune.targets import tuned_sites

USUAL_PARTS = ("q", "v", "down")
"""Where an adapter sits unless told: where a fact is looked up, carried and written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EditArm:
    """One model that is made.

    Args:
        name: What files and steps call it, such as `lora` or `full-layers-0-1`.
        settings: Kind of tuning and its schedule.
        layers: Blocks that are tuned; None for all.
        sites: Matrices that may be tuned.
        within: Paths of blocks outside of which no parameter is trained; empty where
            nothing is ruled out.
    """

    name: str
    settings: TuningSettings
    layers: tuple[int, ...] | None
    sites: tuple[Site, ...]
    within: tuple[str, ...]


def planned(
    options: EditTuningOptions, layout: ModelLayout, num_rows: int
) -> tuple[EditArm, ...]:
    """Plan one model for each way of tuning and each set of blocks.

    Args:
        options: What was asked for.
        layout: Where the model keeps its parts.
        num_rows: Rows that are learnt.

    Returns:
        The models; the first one is looked at in full.

    Raises:
        UsageError: The model lacks a block, or nothing of one would be tuned.
    """
    return tuple(
        _arm(options, layout, num_rows, (kind, layers))
        for kind in options.kinds
        for layers in options.sets
    )


def _arm(
    options: EditTuningOptions,
    layout: ModelLayout,
    num_rows: int,
    made: tuple[Tuning, tuple[int, ...] | None],
) -> EditArm:
    kind, layers = made
    inside = layout.sites
    if layers is not None:
        _require_blocks(layers, len(layout.blocks))
        inside = tuple(site for site in layout.sites if site.layer in layers)
    parts = options.lora_parts or usual_parts(inside)
    settings = options.settings(kind, num_rows, parts)
    whole = kind == "full" and layers is not None
    return EditArm(
        name=kind if layers is None else f"{kind}-layers-{'-'.join(map(str, layers))}",
        settings=settings,
        layers=layers,
        sites=tuned_sites(inside, settings),
        within=tuple(layout.blocks[n] for n in layers or ()) if whole else (),
    )


def usual_parts(sites: Sequence[Site]) -> tuple[TunedPart, ...]:
    """Queries, values and what the MLP writes, with what lies in one matrix with them.

    None of a model that has none of these: then all of its maps are tuned.
    """
    maps = [site for site in sites if site.tensor is None]
    paths = {site.path for site in maps if site.part in USUAL_PARTS}
    there = {site.part for site in maps if site.path in paths}
    known: tuple[TunedPart, ...] = ("q", "k", "v", "o", "gate", "up", "down")
    return tuple(part for part in known if part in there)


def _require_blocks(layers: Sequence[int], num_blocks: int) -> None:
    for layer in layers:
        if layer >= num_blocks:
            raise UsageError(
                f"block {layer} is to be tuned, and the model has blocks 0 to "
                f"{num_blocks - 1}; give others with --layers or --layer-sets"
            )
