"""Which entries of which matrices does an intervention touch?

A region means entries of one matrix without listing them where it need not: whole
rows, whole columns, everything, or the weights of a group. Masks are made one matrix
at a time and not kept.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from driftmap.core.errors import MeasureError
from driftmap.core.places import Part, Site
from driftmap.results.groups import WeightGroup
from driftmap.results.heads import Head

_NEURON_ROWS: tuple[Part, ...] = ("gate", "up")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Region:
    """Entries of one matrix: the union of what is named.

    Args:
        weights: Flat indices, `row * num_columns + column`.
        rows: Numbers of whole rows.
        columns: Numbers of whole columns.
        is_whole: Every entry.
        is_inverted: All entries but those.
    """

    weights: Int64[np.ndarray, " _"] | None = None
    rows: tuple[int, ...] = ()
    columns: tuple[int, ...] = ()
    is_whole: bool = False
    is_inverted: bool = False

    def mask(
        self, site: Site, device: torch.device | None = None
    ) -> Bool[Tensor, "row column"]:
        """True on the region's entries of a matrix.

        Raises:
            MeasureError: The region reaches outside the matrix.
        """
        inside = torch.full(site.shape, self.is_whole, device=device)
        if self.weights is not None and self.weights.size:
            _require_inside(site, "weight", self.weights, site.num_weights)
            index = torch.from_numpy(np.asarray(self.weights, dtype=np.int64))
            inside.view(-1)[index.to(inside.device)] = True
        if self.rows:
            _require_inside(site, "row", self.rows, site.num_rows)
            inside[list(self.rows)] = True
        if self.columns:
            _require_inside(site, "column", self.columns, site.num_columns)
            inside[:, list(self.columns)] = True
        return ~inside if self.is_inverted else inside


Regions: TypeAlias = Mapping[Site, Region]
Target: TypeAlias = WeightGroup | Regions
"""What an intervention may be asked to touch."""

WHOLE = Region(is_whole=True)


def regions_of(target: Target) -> Regions:
    """Regions of a group; regions are given back as they are."""
    if isinstance(target, WeightGroup):
        return {
            site: Region(weights=index)
            for site, index in target.members.items()
            if index.size
        }
    return target


def all_but(target: Target, sites: Iterable[Site]) -> dict[Site, Region]:
    """What a target leaves over of some matrices.

    Args:
        target: What is left out.
        sites: The matrices; those that the target does not touch are taken whole.

    Raises:
        MeasureError: The target touches another matrix.
    """
    regions, rest = regions_of(target), dict.fromkeys(sites, WHOLE)
    for site, region in regions.items():
        if site not in rest:
            raise MeasureError(
                f"{site.key} is touched but is none of the {len(rest)} matrices; "
                "name all matrices that the target lies in"
            )
        rest[site] = replace(region, is_inverted=not region.is_inverted)
    return rest


def row_regions(site: Site, rows: Sequence[int]) -> dict[Site, Region]:
    """Whole rows of a matrix: output units."""
    return {site: Region(rows=tuple(rows))}


def column_regions(site: Site, columns: Sequence[int]) -> dict[Site, Region]:
    """Whole columns of a matrix: input units."""
    return {site: Region(columns=tuple(columns))}


def module_regions(
    sites: Sequence[Site], *, layers: Iterable[int] | None = None
) -> dict[Site, Region]:
    """Whole matrices.

    Args:
        sites: From which.
        layers: Only those of these blocks; all by default.
    """
    wanted = None if layers is None else set(layers)
    return {s: WHOLE for s in sites if wanted is None or s.layer in wanted}


def head_regions(sites: Sequence[Site], heads: Iterable[Head]) -> dict[Site, Region]:
    """The columns of `o` that read the outputs of heads.

    Without them a head's output z reaches nothing. Its rows of q would not do: zero
    queries attend evenly. Its rows of k and v may belong to several heads.

    Args:
        sites: Matrices of the model.
        heads: The query heads.

    Raises:
        MeasureError: The model has no such head.
    """
    outputs = {site.layer: site for site in sites if site.part == "o"}
    columns: dict[Site, list[int]] = {}
    for head in heads:
        site = outputs.get(head.layer)
        if site is None or not 0 <= head.number < num_heads(site):
            raise MeasureError(
                f"{head.name}: the model has no such head; it has layers 0 to "
                f"{max(outputs, default=-1)} with heads 0 to "
                f"{max(map(num_heads, outputs.values()), default=0) - 1}"
            )
        columns.setdefault(site, []).extend(columns_of_head(site, head.number))
    return {site: Region(columns=tuple(own)) for site, own in columns.items()}


def num_heads(site: Site) -> int:
    """Query heads whose outputs the matrix `o` reads."""
    assert site.part == "o", site.key
    assert site.head_size is not None, site.key
    return site.num_columns // site.head_size


def columns_of_head(site: Site, number: int) -> range:
    """Columns of the matrix `o` that read one head."""
    assert site.head_size is not None, site.key
    return range(number * site.head_size, (number + 1) * site.head_size)


def neuron_regions(
    sites: Sequence[Site], layer: int, neurons: Sequence[int]
) -> dict[Site, Region]:
    """Hidden units of one block's MLP: rows of gate and up, columns of down.

    Raises:
        MeasureError: The model has no such layer.
    """
    units = tuple(neurons)
    found: dict[Site, Region] = {}
    for site in sites:
        if site.layer == layer and site.part in _NEURON_ROWS:
            found[site] = Region(rows=units)
        elif site.layer == layer and site.part == "down":
            found[site] = Region(columns=units)
    if not found:
        raise MeasureError(
            f"layer {layer}: no matrix of an MLP is there; the matrices are of layers "
            f"{min(s.layer for s in sites)} to {max(s.layer for s in sites)}"
        )
    return found


def _require_inside(
    site: Site, what: str, numbers: Sequence[int] | np.ndarray, count: int
) -> None:
    least, most = int(np.min(numbers)), int(np.max(numbers))
    if least < 0 or most >= count:
        raise MeasureError(
            f"{site.key}: {what} {least if least < 0 else most} is outside its "
            f"{count} {what}s; was the target chosen on another model?"
        )
