"""How much do whole units matter, given a score for each of their weights?

`mass` is the sum of a unit's scores, `density` their mean: units of different size
compare by density alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from driftmap.core.places import Site
from driftmap.results.groups import FlatIndex
from driftmap.signals.units import Grain, Piece, UnitSet, unit_sets


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class UnitScores:
    """Scores of the units of a set.

    Args:
        units: Which units.
        mass: Sum of the scores of each unit's weights.
    """

    units: UnitSet
    mass: Float64[np.ndarray, " unit"]

    @property
    def density(self) -> Float64[np.ndarray, " unit"]:
        """Mean of the scores of each unit's weights."""
        return self.mass / self.units.num_weights


class UnitTally:
    """Adds up the scores of weights, matrix by matrix, in float64.

    Args:
        sites: All matrices; each is then given once, in any order.
        grain: What a unit is.
    """

    def __init__(self, sites: Sequence[Site], grain: Grain) -> None:
        """Have seen nothing yet."""
        self._sets = unit_sets(sites, grain)
        self._masses: dict[Site, dict[int, Tensor]] = {}

    def add(self, site: Site, score: Float[Tensor, "row column"]) -> None:
        """Take in the scores of one matrix; they may be forgotten then."""
        self._masses[site] = {
            number: piece_sums(score, piece)
            for number, units in enumerate(self._sets)
            for piece in units.pieces
            if piece.site == site
        }

    def result(self) -> tuple[UnitScores, ...]:
        """Scores of all units, once all matrices are in."""
        found = []
        for number, units in enumerate(self._sets):
            parts = [self._masses[piece.site][number] for piece in units.pieces]
            mass = torch.stack(parts).sum(dim=0)
            found.append(UnitScores(units=units, mass=mass.cpu().numpy()))
        return tuple(found)


def unit_scores(
    scores: Mapping[Site, Float[Tensor, "_ _"]], grain: Grain
) -> tuple[UnitScores, ...]:
    """Score the units of a model whose weights are all scored.

    Args:
        scores: One score per weight of all matrices, in canonical order.
        grain: What a unit is, `weight` left out.

    Raises:
        MeasureError: The parts of a block do not make whole units.
    """
    tally = UnitTally(list(scores), grain)
    for site, score in scores.items():
        tally.add(site, score)
    return tally.result()


def piece_sums(
    values: Float[Tensor, "row column"], piece: Piece
) -> Float64[Tensor, " unit"]:
    """Sum what one matrix gives to every unit.

    >>> site = Site(path="o", layer=0, part="o", num_rows=1, num_columns=4)
    >>> two = Piece(site=site, axis="column", size=2)
    >>> piece_sums(torch.tensor([[1.0, 2.0, 3.0, 4.0]]), two).tolist()
    [3.0, 7.0]
    """
    if piece.axis == "whole":
        return values.sum(dtype=torch.float64)[None]
    across = 1 if piece.axis == "row" else 0
    lines = values.sum(dim=across, dtype=torch.float64)
    return lines.reshape(-1, piece.size).sum(dim=1)


def weights_of(
    units: UnitSet, chosen: Sequence[int] | Int64[np.ndarray, " _"]
) -> dict[Site, FlatIndex]:
    """Places of all weights of some units.

    Args:
        units: The set.
        chosen: Numbers of units in it.

    Returns:
        Flat indices per site, ascending.

    >>> site = Site(path="o", layer=0, part="o", num_rows=2, num_columns=2)
    >>> units = UnitSet(grain="column", layer=0, name="o",
    ...                 pieces=(Piece(site=site, axis="column", size=1),))
    >>> weights_of(units, [1])[site]
    array([1, 3])
    """
    members: dict[Site, FlatIndex] = {}
    for piece in units.pieces:
        place = np.arange(piece.site.num_weights).reshape(piece.site.shape)
        if piece.axis != "whole":
            lines = np.concatenate(
                [np.arange(u * piece.size, (u + 1) * piece.size) for u in chosen]
                or [np.empty(0, dtype=np.int64)]
            )
            place = place[lines] if piece.axis == "row" else place[:, lines]
        elif not len(chosen):
            place = place[:0]
        members[piece.site] = np.sort(place.reshape(-1))
    return members
