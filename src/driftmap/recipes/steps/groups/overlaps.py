"""How much do the groups of a study share, beside what chance and noise allow?"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64

from driftmap.core.places import Site
from driftmap.measure.select import Members, Overlap, Shared, overlap, standing
from driftmap.results.drift import POOLED_LAYER, POOLED_PART
from driftmap.results.groups import WeightGroup
from driftmap.results.table import Cell, Table

_OF_OTHER_SAMPLES = ("top", "utility")
"""The two groups of one rule by disjoint samples: only these share no noise."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Halved:
    """A group as its rule takes it from each half of the samples.

    Args:
        even: Members by the one half.
        odd: Members by the other.
    """

    even: Members
    odd: Members

    @property
    def agreement(self) -> Overlap | None:
        """What both halves choose; None where neither chooses anything."""
        return _between(self.even, self.odd)


def overlaps_of(
    groups: Sequence[WeightGroup], halves: Mapping[str, Halved], num_samples: int
) -> Table:
    """Compare every two groups, and the halves of each group.

    Args:
        groups: All groups of a study, in the order of its reports.
        halves: The scored ones by halves of the samples, by name.
        num_samples: Samples in each half.

    Returns:
        Columns left, right (names; the same for a group with itself, by halves),
        layer, part, num_left, num_right, num_common, jaccard, kept (common over
        left), kept_right (common over right), floor (Jaccard of blind draws), across
        (Jaccard of one group by one half and the other by the other, mean of both
        ways), ceiling (what such groups would share if their samples asked for the
        same: the geometric mean of what the halves of each share), standing (where
        `across` lies between its own floor, 0, and the ceiling, 1), num_samples. NaN
        is not known. Each pair has a row over all matrices, then one for each matrix
        that holds either.
    """
    rows: list[dict[str, Cell]] = []
    for number, left in enumerate(groups):
        if left.name in halves and (alone := halves[left.name].agreement):
            rows += _rows(left.name, left.name, alone, {}, num_samples)
        for right in groups[number + 1 :]:
            found = _between(left.members, right.members)
            if found is not None:
                known = _standings(left.name, right.name, halves)
                rows += _rows(left.name, right.name, found, known, num_samples)
    return Table.from_rows(rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Standing:
    """Where the overlap of two groups lies, by halves; None where it is not known."""

    across: float
    ceiling: float
    standing: float | None


def _rows(
    left: str,
    right: str,
    found: Overlap,
    standings: Mapping[Site | None, _Standing],
    num_samples: int,
) -> Iterator[dict[str, Cell]]:
    places: list[tuple[Site | None, Shared]] = [(None, found.total)]
    for site, shared in (*places, *found.places.items()):
        known = standings.get(site)
        yield {
            "left": left,
            "right": right,
            "layer": POOLED_LAYER if site is None else site.layer,
            "part": POOLED_PART if site is None else site.part,
            "num_left": shared.num_left,
            "num_right": shared.num_right,
            "num_common": shared.num_common,
            "jaccard": shared.jaccard,
            "kept": _or_nan(shared.kept),
            "kept_right": shared.num_common / (shared.num_right or np.nan),
            "floor": shared.floor,
            "across": known.across if known else np.nan,
            "ceiling": known.ceiling if known else np.nan,
            "standing": _or_nan(known.standing) if known else np.nan,
            "num_samples": num_samples if known or left == right else 0,
        }


def _standings(
    left: str, right: str, halves: Mapping[str, Halved]
) -> dict[Site | None, _Standing]:
    """By matrix, and under None over all; nothing where groups share their noise."""
    if (left, right) != _OF_OTHER_SAMPLES or not {left, right} <= halves.keys():
        return {}
    of, to = halves[left], halves[right]
    alone = of.agreement, to.agreement
    crossed = _between(of.even, to.odd), _between(of.odd, to.even)
    if not (alone[0] and alone[1] and crossed[0] and crossed[1]):
        return {}
    found: dict[Site | None, _Standing] = {
        None: _standing(
            [one.total for one in alone if one], [one.total for one in crossed if one]
        )
    }
    for site in crossed[0].places:
        known = [one.places.get(site) for one in (*alone, *crossed) if one]
        if all(known):
            shared = [one for one in known if one]
            found[site] = _standing(shared[:2], shared[2:])
    return found


def _standing(alone: Sequence[Shared], crossed: Sequence[Shared]) -> _Standing:
    ceiling = float(np.sqrt(alone[0].jaccard * alone[1].jaccard))
    across = float(np.mean([one.jaccard for one in crossed]))
    floor = float(np.mean([one.floor for one in crossed]))
    return _Standing(
        across=across, ceiling=ceiling, standing=standing(across, floor, ceiling)
    )


def _between(
    left: Mapping[Site, Int64[np.ndarray, " _"]],
    right: Mapping[Site, Int64[np.ndarray, " _"]],
) -> Overlap | None:
    """The overlap of two groups; None where both are empty."""
    if not any(index.size for index in (*left.values(), *right.values())):
        return None
    return overlap(left, right)


def _or_nan(value: float | None) -> float:
    return np.nan if value is None else value
