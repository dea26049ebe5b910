"""How much do two groups of one model share, between chance and noise?

Two groups always share something by chance (the floor), and the same rule on other
samples of the same kind never finds the same group again (the ceiling). An overlap
says something only between the two.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from driftmap.core.errors import MeasureError
from driftmap.core.places import Site
from driftmap.measure.select.ranked import FlatIndex
from driftmap.results.positions import common
from driftmap.results.table import Table

POOLED = "all"
"""Where a table speaks of all matrices together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """What two groups share in one place, a matrix or all of them.

    Args:
        num_left: Weights of the first group.
        num_right: Weights of the second.
        num_common: Weights of both.
        num_by_chance: The same if each were drawn blindly from its matrices, on
            average.
    """

    num_left: int
    num_right: int
    num_common: int
    num_by_chance: float

    @property
    def jaccard(self) -> float:
        """Common weights over those of either group: `|O & F| / |O | F|`."""
        return self.num_common / (self.num_left + self.num_right - self.num_common)

    @property
    def kept(self) -> float | None:
        """Common weights over the first group, `|O & F| / |O|`; None if it is empty."""
        return self.num_common / self.num_left if self.num_left else None

    @property
    def floor(self) -> float:
        """Jaccard of blind draws: `ab / (a + b - ab)` for parts a and b of a matrix."""
        chance = self.num_by_chance
        return chance / (self.num_left + self.num_right - chance)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Overlap:
    """How much two groups share.

    Args:
        total: Over all matrices.
        places: Per matrix; one where both are empty is left out.
    """

    total: Shared
    places: Mapping[Site, Shared]

    @property
    def pooled(self) -> float:
        """Jaccard over all matrices."""
        return self.total.jaccard

    @property
    def by_site(self) -> dict[Site, float]:
        """Jaccard per matrix."""
        return {site: shared.jaccard for site, shared in self.places.items()}


def overlap(left: Mapping[Site, FlatIndex], right: Mapping[Site, FlatIndex]) -> Overlap:
    """Compare two groups of one model.

    Args:
        left: Flat indices per site, ascending; a missing site is empty.
        right: The same of the other group.

    Raises:
        MeasureError: Both groups are empty.

    >>> site = Site(path="map", layer=0, part="q", num_rows=2, num_columns=2)
    >>> overlap({site: np.array([0, 1])}, {site: np.array([1, 2])}).pooled
    0.3333333333333333
    """
    nothing = np.empty(0, dtype=np.int64)
    places: dict[Site, Shared] = {}
    for site in [*left, *(site for site in right if site not in left)]:
        a, b = left.get(site, nothing), right.get(site, nothing)
        if a.size + b.size:
            places[site] = Shared(
                num_left=a.size,
                num_right=b.size,
                num_common=common(a, b, site.num_weights).size,
                num_by_chance=a.size * b.size / site.num_weights,
            )
    if not places:
        raise MeasureError("two empty groups have no overlap: take larger shares")
    total = Shared(
        num_left=sum(shared.num_left for shared in places.values()),
        num_right=sum(shared.num_right for shared in places.values()),
        num_common=sum(shared.num_common for shared in places.values()),
        num_by_chance=sum(shared.num_by_chance for shared in places.values()),
    )
    return Overlap(total=total, places=places)


def standing(jaccard: float, floor: float, ceiling: float) -> float | None:
    """Say where an overlap stands between chance, 0, and noise, 1.

    Args:
        jaccard: The overlap of two groups.
        floor: The same of blind draws of their sizes.
        ceiling: Overlap of groups that the same rule takes from disjoint halves of one
            model's samples.

    Returns:
        `(jaccard - floor) / (ceiling - floor)`, which may lie outside 0 to 1; None
        where halves agree no more than by chance, so that there is nothing to lose.
    """
    return (jaccard - floor) / (ceiling - floor) if ceiling > floor else None


def overlap_table(
    found: Overlap, ceiling: Overlap | None = None, num_samples: int = 0
) -> Table:
    """List an overlap per matrix and over all, each between its floor and ceiling.

    Args:
        found: The overlap of an old group with a new one.
        ceiling: Overlap of groups from disjoint halves of the old samples, if known.
        num_samples: Samples in each half.

    Returns:
        Columns matrix, num_old, num_new, num_common, jaccard, kept, floor, ceiling,
        standing, num_samples; a figure that is not known is NaN. The first row, `all`,
        is over all matrices.
    """
    noise = {} if ceiling is None else {s.key: j for s, j in ceiling.by_site.items()}
    if ceiling is not None:
        noise[POOLED] = ceiling.pooled
    named = {POOLED: found.total, **{s.key: one for s, one in found.places.items()}}
    return Table.from_rows(
        [
            {
                "matrix": name,
                "num_old": shared.num_left,
                "num_new": shared.num_right,
                "num_common": shared.num_common,
                "jaccard": shared.jaccard,
                "kept": _or_nan(shared.kept),
                "floor": shared.floor,
                "ceiling": noise.get(name, np.nan),
                "standing": _or_nan(
                    standing(shared.jaccard, shared.floor, noise[name])
                    if name in noise
                    else None
                ),
                "num_samples": num_samples,
            }
            for name, shared in named.items()
        ]
    )


def _or_nan(value: float | None) -> float:
    return np.nan if value is None else value
