"""How much do two groups of one model share?"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from driftmap.core.errors import MeasureError
from driftmap.core.places import Site
from driftmap.measure.select.members import FlatIndex


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Overlap:
    """How much two groups share: `|A & B| / |A | B|`.

    Args:
        pooled: Over all matrices.
        by_site: Per matrix; one where both are empty is left out.
    """

    pooled: float
    by_site: Mapping[Site, float]


def overlap(left: Mapping[Site, FlatIndex], right: Mapping[Site, FlatIndex]) -> Overlap:
    """Compare two groups of one model by the Jaccard index.

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
    by_site: dict[Site, float] = {}
    shared = united = 0
    for site in [*left, *(site for site in right if site not in left)]:
        a, b = left.get(site, nothing), right.get(site, nothing)
        both = np.intersect1d(a, b, assume_unique=True).size
        either = a.size + b.size - both
        if either:
            by_site[site] = both / either
        shared, united = shared + both, united + either
    if not united:
        raise MeasureError("two empty groups have no overlap: take larger shares")
    return Overlap(pooled=shared / united, by_site=by_site)
