"""Which rows, heads, neurons or layers matter most, beside single weights?"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64
from torch import Tensor

from driftmap.core.places import Site
from driftmap.core.progress import say
from driftmap.measure.first_order import FirstOrder
from driftmap.measure.units import UnitScores, UnitTally, weights_of
from driftmap.recipes.options import ScoringOptions
from driftmap.results.groups import FlatIndex, GroupOrigin, WeightGroup
from driftmap.results.table import Table
from driftmap.signals.fold import Fold
from driftmap.signals.units import Grain
from driftmap.store.groups import save_group
from driftmap.store.tables import save_table

UNITS_FILE = "tables/units.parquet"
"""Where a run keeps the score of every unit."""

_WITHIN_A_MATRIX = ("row", "column")


class UnitsBeside:
    """Scores of units, taken from the scores of weights as these go by.

    Where weights are scored by SNIP, the first-order effect of every unit is measured
    in the same pass.

    Args:
        sites: All matrices.
        grain: What a unit is, `weight` left out.
        scoring: How weights are scored.
        num_samples: Samples that are read.

    Raises:
        MeasureError: The parts of a block do not make whole units.
    """

    def __init__(
        self,
        sites: Sequence[Site],
        grain: Grain,
        scoring: ScoringOptions,
        num_samples: int,
    ) -> None:
        """Have seen nothing yet."""
        self._grain: Grain = grain
        self._tally = UnitTally(sites, grain)
        is_snip = scoring.score_name == "snip"
        self.effects = FirstOrder(sites, grain, num_samples) if is_snip else None
        self.terms: dict[Site, Any] = {}

    @property
    def has_read(self) -> bool:
        """Whether nothing is left to be read from the samples."""
        return self.effects is None or bool(self.terms)

    @property
    def folds(self) -> list[Fold[Any, Any]]:
        """What reads the samples beside the score of weights."""
        return [] if self.effects is None else [self.effects]

    def watching(
        self, parts: Iterator[dict[Site, Tensor]]
    ) -> Iterator[dict[Site, Tensor]]:
        """Hand on scores of weights and add them up."""
        for scores in parts:
            for site, score in scores.items():
                self._tally.add(site, score)
            yield scores

    def save(
        self, folder: Path, origin: GroupOrigin, share: float, *, is_lowest: bool
    ) -> None:
        """Write all units, and those of the highest or lowest density as a group.

        Args:
            folder: Where the step writes.
            origin: That of the group of single weights.
            share: Part of the units; of each matrix for rows and columns.
            is_lowest: Whether the lowest are taken.
        """
        scored = self._tally.result()
        save_table(folder / UNITS_FILE, self._table(scored))
        say(_told(scored))
        per = "matrix" if self._grain in _WITHIN_A_MATRIX else "global"
        of_units = replace(origin, shares={"share": share}, per=per, grain=self._grain)
        group = WeightGroup(
            name=f"{origin.rule}-{self._grain}",
            members=_members(scored, share, is_lowest=is_lowest, per=per),
            origin=of_units,
        )
        save_group(folder / f"groups/{group.name}.safetensors", group)

    def _table(self, scored: Sequence[UnitScores]) -> Table:
        """One row per unit; an effect that was not measured is NaN."""
        effects: list[Float64[np.ndarray, " unit"]] = [
            np.full(one.units.num_units, np.nan) for one in scored
        ]
        if self.effects is not None:
            effects = [one.effect for one in self.effects.effects(self.terms)]
        counts = [one.units.num_units for one in scored]
        return Table(
            columns={
                "grain": np.repeat([self._grain], sum(counts)),
                "layer": np.repeat([one.units.layer for one in scored], counts),
                "part": np.repeat([_part(one) for one in scored], counts),
                "path": np.repeat([one.units.name for one in scored], counts),
                "unit": np.concatenate([np.arange(count) for count in counts]),
                "num_weights": np.repeat([s.units.num_weights for s in scored], counts),
                "mass": np.concatenate([one.mass for one in scored]),
                "density": np.concatenate([one.density for one in scored]),
                "first_order": np.concatenate(effects),
            }
        )


def _told(scored: Sequence[UnitScores]) -> str:
    """One line on all units: how many, and which three are the densest."""
    named = [(one, number) for one in scored for number in range(one.units.num_units)]
    density = np.concatenate([one.density for one in scored])
    first = np.argsort(-density, kind="stable")[:3]
    listed = ", ".join(
        f"{_name(*named[place])} ({density[place]:.3g})" for place in first
    )
    return (
        f"units of kind {scored[0].units.grain}: {density.size:,} in {UNITS_FILE}; "
        f"highest mean score: {listed}"
    )


def _name(scored: UnitScores, number: int) -> str:
    units = scored.units
    where = units.name or f"layer {units.layer}"
    is_whole = units.grain in ("module", "layer")
    return where if is_whole else f"{where} {units.grain} {number}"


def _part(scored: UnitScores) -> str:
    """The part whose matrix holds all of a unit; empty where several do."""
    pieces = scored.units.pieces
    return pieces[0].site.part if len(pieces) == 1 and scored.units.name else ""


def _members(
    scored: Sequence[UnitScores], share: float, *, is_lowest: bool, per: str
) -> dict[Site, FlatIndex]:
    """Weights of the units of highest density; of equals the first."""
    pools = [[one] for one in scored] if per == "matrix" else [list(scored)]
    members: dict[Site, FlatIndex] = {}
    for pool in pools:
        density = np.concatenate([one.density for one in pool])
        count = max(1, int(share * density.size))
        order = np.argsort(density if is_lowest else -density, kind="stable")
        taken = np.zeros(density.size, dtype=bool)
        taken[order[:count]] = True
        ends = np.cumsum([one.units.num_units for one in pool])
        for one, of_set in zip(pool, np.split(taken, ends[:-1]), strict=True):
            for site, index in weights_of(one.units, np.flatnonzero(of_set)).items():
                members[site] = np.union1d(members.get(site, index), index)
    return members
