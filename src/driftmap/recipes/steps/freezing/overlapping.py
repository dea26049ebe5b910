"""Is the group of the tuned model the old one, and are frozen weights still in it?"""

from dataclasses import dataclass

import numpy as np

from driftmap.core.places import Site
from driftmap.measure.select import Overlap, overlap, overlap_table, standing
from driftmap.measure.select.overlap import POOLED
from driftmap.recipes.steps.freezing.chosen import Members, Picked
from driftmap.results.drift import POOLED_LAYER, POOLED_PART
from driftmap.results.positions import common
from driftmap.results.table import Table

_NOTHING = np.empty(0, dtype=np.int64)


def after_tuning(
    before: Picked, after: Picked, frozen: Members, num_half: int
) -> Table:
    """Compare the group before tuning with that after it, matrix by matrix.

    Args:
        before: The group as one rule takes it of the model before tuning.
        after: The same of the tuned model, by the same samples.
        frozen: What could not move.
        num_half: Samples in each half.

    Returns:
        Columns of an overlap table, then layer, part, across (Jaccard of the old
        group by one half of the samples and the new one by the other, mean of both
        ways), across_standing (where that stands between the floor of such groups, 0,
        and the ceiling, 1), num_frozen, kept_frozen (part of the group's frozen
        weights that is chosen again), kept_mobile (the same of its others),
        frozen_new (part of all frozen weights that is chosen). NaN is not known. The
        first row, `all`, is over all matrices.
    """
    same = overlap(before.whole, after.whole)
    ceiling = _between(before.even, before.odd)
    table = overlap_table(same, ceiling, num_half)
    crossed = [
        found
        for found in (
            _between(before.even, after.odd),
            _between(before.odd, after.even),
        )
        if found is not None
    ]
    sites = {site.key: site for site in same.places}
    rows = []
    for name in table["matrix"]:
        chosen = list(sites.values()) if name == POOLED else [sites[str(name)]]
        across = [_place(found, str(name)) for found in crossed]
        limit = _place(ceiling, str(name)) if ceiling is not None else None
        rows.append(
            _place_of(sites.get(str(name)))
            | _across(across, limit)
            | _kept(chosen, before.whole, after.whole, frozen).shares()
        )
    return Table(columns={**table.columns, **Table.from_rows(rows).columns})


def _place_of(site: Site | None) -> dict[str, int | str]:
    return {
        "layer": POOLED_LAYER if site is None else site.layer,
        "part": POOLED_PART if site is None else site.part,
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kept:
    """Weights of some matrices: frozen, of the old group, chosen again."""

    num_frozen: int
    num_frozen_new: int
    num_old_frozen: int
    num_old_frozen_new: int
    num_old_mobile: int
    num_old_mobile_new: int

    def shares(self) -> dict[str, float]:
        return {
            "num_frozen": self.num_frozen,
            "kept_frozen": _part(self.num_old_frozen_new, self.num_old_frozen),
            "kept_mobile": _part(self.num_old_mobile_new, self.num_old_mobile),
            "frozen_new": _part(self.num_frozen_new, self.num_frozen),
        }


def _kept(
    sites: list[Site],
    old: Members,
    new: Members,
    frozen: Members,
) -> _Kept:
    counts = np.zeros(6, dtype=np.int64)
    for site in sites:
        was, now = old.get(site, _NOTHING), new.get(site, _NOTHING)
        held = frozen.get(site, _NOTHING)
        of_group = common(held, was, site.num_weights)
        again = common(was, now, site.num_weights)
        frozen_again = common(of_group, now, site.num_weights).size
        counts += [
            held.size,
            common(held, now, site.num_weights).size,
            of_group.size,
            frozen_again,
            was.size - of_group.size,
            again.size - frozen_again,
        ]
    return _Kept(
        num_frozen=int(counts[0]),
        num_frozen_new=int(counts[1]),
        num_old_frozen=int(counts[2]),
        num_old_frozen_new=int(counts[3]),
        num_old_mobile=int(counts[4]),
        num_old_mobile_new=int(counts[5]),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Figure:
    """Jaccard of two groups in one place, and that of blind draws of their sizes."""

    jaccard: float
    floor: float


def _between(left: Members, right: Members) -> Overlap | None:
    """The overlap of two groups; None where both are empty."""
    both = [*left.values(), *right.values()]
    return overlap(left, right) if any(index.size for index in both) else None


def _place(found: Overlap, name: str) -> _Figure | None:
    """The figures of one matrix; None where both groups are empty there."""
    places = {site.key: shared for site, shared in found.places.items()}
    shared = found.total if name == POOLED else places.get(name)
    if shared is None:
        return None
    return _Figure(jaccard=shared.jaccard, floor=shared.floor)


def _across(found: list[_Figure | None], ceiling: _Figure | None) -> dict[str, float]:
    known = [figure for figure in found if figure is not None]
    if not known:
        return {"across": np.nan, "across_standing": np.nan}
    across = float(np.mean([figure.jaccard for figure in known]))
    floor = float(np.mean([figure.floor for figure in known]))
    stands = None if ceiling is None else standing(across, floor, ceiling.jaccard)
    return {
        "across": across,
        "across_standing": np.nan if stands is None else stands,
    }


def _part(count: int, of: int) -> float:
    return count / of if of else np.nan
