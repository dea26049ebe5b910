"""Which weights do the scores of two data sets choose, matrix by matrix?"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from driftmap.core.places import Site
from driftmap.measure.select import Cut, GridTally, Picker, Ranked
from driftmap.recipes.options import GroupOptions
from driftmap.recipes.steps.groups.overlaps import Halved
from driftmap.results.groups import FlatIndex
from driftmap.results.positions import without
from driftmap.results.rules import DECLARED
from driftmap.results.table import Table
from driftmap.signals.scores import FixedScores, HalfScores, MatrixScores

Members = dict[Site, FlatIndex]

_ARM, _TOP = 0, 1
_GRID = slice(2, None)
_Pair = tuple[Ranked, Ranked]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Chosen:
    """Members of the scored groups, gathered matrix by matrix."""

    difference: Members = field(default_factory=dict)
    top: Members = field(default_factory=dict)
    utility: Members = field(default_factory=dict)

    def add(self, site: Site, ranked: _Pair) -> None:
        """Take the groups' weights of one matrix."""
        of, to = ranked
        wanted, claimed = of.taken(_ARM), to.taken(_ARM)
        self.difference[site] = without(wanted, claimed, site.num_weights)
        self.top[site] = of.taken(_TOP)
        self.utility[site] = to.taken(_TOP)

    def add_fixed(self, site: Site, ranked: Ranked) -> None:
        """Take weights by a score that no sample changes: utility claims none."""
        self.difference[site] = ranked.taken(_ARM)
        self.top[site] = ranked.taken(_TOP)


class Choice:
    """The groups, the same from each half of the samples, and a grid of p and q.

    Args:
        sites: All matrices; each is then given once.
        groups: Which shares are taken.
    """

    def __init__(self, sites: Sequence[Site], groups: GroupOptions) -> None:
        """Have chosen nothing yet."""
        self.whole, self.even, self.odd = Chosen(), Chosen(), Chosen()
        ps, qs = groups.grid
        self._tally = GridTally(ps, qs) if ps else None
        self._of, self._to = (
            [
                Picker(sites, _cuts(arm, groups.share, grid), per=groups.per)
                for _ in ("whole", "even", "odd")
            ]
            for arm, grid in ((groups.q, qs), (groups.p, ps))
        )

    def add(self, site: Site, behaviour: MatrixScores, utility: MatrixScores) -> None:
        """Look at the scores of one matrix."""
        if isinstance(behaviour, FixedScores):
            for one, ranked in self._of[0].add(site, behaviour.score).items():
                self.whole.add_fixed(one, ranked)
            return
        assert isinstance(utility, HalfScores), "one score for both data sets"
        wanted, claimed = (
            [picker.add(site, score) for picker, score in zip(pickers, of, strict=True)]
            for pickers, of in (
                (self._of, (behaviour.score, *behaviour.alone)),
                (self._to, (utility.score, *utility.alone)),
            )
        )
        for one in wanted[0]:
            whole, even, odd = (
                (of[one], to[one]) for of, to in zip(wanted, claimed, strict=True)
            )
            self.whole.add(one, whole)
            self.even.add(one, even)
            self.odd.add(one, odd)
            if self._tally is not None:
                self._tally.add(one, _grid(whole), (_grid(even), _grid(odd)))

    def agreement(self, num_samples: int) -> Table:
        """How much of a group two halves of the samples agree on, beside chance.

        Args:
            num_samples: Samples of the smaller data set.
        """
        rows = []
        halves = self.halves(num_samples)
        for name in (DECLARED, "top", *(["utility"] if self.whole.utility else [])):
            agreement = halves[name].agreement if name in halves else None
            shared = agreement.total if agreement else None
            rows.append(
                {
                    "group": name,
                    "num_samples": num_samples // 2,
                    "jaccard": _known(shared.jaccard if shared else None),
                    "by_chance": _known(shared.floor if shared else None),
                    "why_not": "" if shared else self._why_not(num_samples),
                }
            )
        return Table.from_rows(rows)

    def halves(self, num_samples: int) -> dict[str, Halved]:
        """The groups by halves of the samples, by name; empty where there are none."""
        if num_samples < 2 or not self.whole.utility:
            return {}
        return {
            name: Halved(even=getattr(self.even, name), odd=getattr(self.odd, name))
            for name in (DECLARED, "top", "utility")
        }

    def _why_not(self, num_samples: int) -> str:
        """Why halves of the samples tell nothing of a group."""
        if not self.whole.utility:
            return "the score reads no sample"
        return "one sample has no halves" if num_samples < 2 else "no half takes any"

    def difference_grid(self, num_samples: int) -> Table | None:
        """What `difference` would be at other shares; None where nobody asked.

        Args:
            num_samples: Samples of the smaller data set.

        Returns:
            Columns p, q, num_weights, share_kept (of the top q), ceiling (Jaccard of
            what halves of the samples choose), floor (the same by chance) and
            num_samples of a half; NaN is not known.
        """
        if self._tally is None:
            return None
        halved = num_samples >= 2
        return Table.from_rows(
            [
                {
                    "p": cell.p,
                    "q": cell.q,
                    "num_weights": cell.num_weights,
                    "share_kept": _known(cell.share_kept),
                    "ceiling": _known(cell.jaccard if halved else None),
                    "floor": _known(cell.floor if halved else None),
                    "num_samples": num_samples // 2,
                }
                for cell in self._tally.cells()
            ]
        )


def _cuts(arm: float, share: float, grid: Sequence[float]) -> list[Cut]:
    return [
        Cut(share=arm),
        Cut(share=share, at_least=1),
        *(Cut(share=one) for one in grid),
    ]


def _grid(ranked: _Pair) -> _Pair:
    of, to = ranked
    return of.among(_GRID), to.among(_GRID)


def _known(value: float | None) -> float:
    return np.nan if value is None else value
