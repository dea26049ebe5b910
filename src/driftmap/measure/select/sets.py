"""Which weights matter to a behaviour and not to ordinary ability?

For one pair of shares, for a grid of them at the cost of one, and for groups that are
there already.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64, UInt8

from driftmap.core.errors import MeasureError
from driftmap.core.places import Site
from driftmap.measure.select.picking import Picker
from driftmap.measure.select.ranked import (
    Cut,
    Members,
    Ranked,
    ScoreOf,
)
from driftmap.results.positions import without
from driftmap.results.rules import Per


@dataclass(frozen=True, slots=True, kw_only=True)
class GridCell:
    """The set difference at one pair of shares.

    Args:
        p: Share that utility claims.
        q: Share that the behaviour claims.
        num_weights: Size of the difference.
        num_claimed: Size of what it is taken from, the behaviour's top q.
        jaccard: What the differences of two halves of the samples share, the ceiling
            of every overlap with this group; None where no halves were given or both
            are empty.
        floor: The same of random sets of their sizes.
    """

    p: float
    q: float
    num_weights: int
    num_claimed: int
    jaccard: float | None
    floor: float | None

    @property
    def share_kept(self) -> float | None:
        """Part of the behaviour's top q that utility leaves; None where it is empty."""
        return self.num_weights / self.num_claimed if self.num_claimed else None


def difference(
    behaviour: ScoreOf, utility: ScoreOf, *, p: float, q: float, per: Per = "matrix"
) -> Members:
    """Take what matters to a behaviour and not to ordinary ability.

    The top q of the behaviour's score without the top p of the utility's (Wei et al.
    2024, section 3.3). Either may be empty.

    Args:
        behaviour: Scores on samples that show the behaviour.
        utility: Scores on samples of ordinary ability, of the same matrices.
        p: Part that utility claims, 0 to 1.
        q: Part that the behaviour claims, 0 to 1.
        per: Parts of what: each matrix, each row, the matrices of a layer together,
            or all matrices together.

    Returns:
        Flat indices per site, ascending.

    Raises:
        MeasureError: A score is negative or not finite, a share is none, or the
            scores are of different matrices.
    """
    members: Members = {}
    for site, (of, to) in _both(behaviour, utility, [p], [q], per):
        members[site] = without(of.taken(), to.taken(), site.num_weights)
    return members


def difference_grid(
    behaviour: ScoreOf,
    utility: ScoreOf,
    *,
    ps: Sequence[float],
    qs: Sequence[float],
    per: Per = "matrix",
) -> tuple[GridCell, ...]:
    """Size up the set difference for every pair of shares, ranking scores once.

    Args:
        behaviour: Scores on samples that show the behaviour.
        utility: Scores on samples of ordinary ability, of the same matrices.
        ps: Parts that utility claims, 0 to 1.
        qs: Parts that the behaviour claims, 0 to 1.
        per: Parts of what, as in `difference`.

    Returns:
        A cell for each pair, q within p.

    Raises:
        MeasureError: As `difference`.
    """
    tally = GridTally(ps, qs)
    for site, (of, to) in _both(behaviour, utility, ps, qs, per):
        tally.add(site, (of, to))
    return tally.cells()


class GridTally:
    """Counts the weights of every pair of shares, matrix by matrix.

    Args:
        ps: Parts that utility claims.
        qs: Parts that the behaviour claims.
    """

    def __init__(self, ps: Sequence[float], qs: Sequence[float]) -> None:
        """Count nothing yet."""
        self._ps, self._qs = tuple(ps), tuple(qs)
        shape = len(self._qs), len(self._ps)
        self._sizes = np.zeros(shape, dtype=np.int64)
        self._claimed = np.zeros(len(self._qs), dtype=np.int64)
        self._shared = np.zeros(shape, dtype=np.int64)
        self._of_halves = np.zeros(shape, dtype=np.int64)
        self._by_chance = np.zeros(shape)

    def add(
        self,
        site: Site,
        whole: tuple[Ranked, Ranked],
        halves: tuple[tuple[Ranked, Ranked], tuple[Ranked, Ranked]] | None = None,
    ) -> None:
        """Count one matrix.

        Args:
            site: The matrix.
            whole: Its weights by behaviour score, cut at the grid's q, and by utility
                score, cut at its p.
            halves: The same from each half of the samples.
        """
        self._sizes += _sizes(site, *whole)
        self._claimed += [whole[0].taken(cut).size for cut in range(len(self._qs))]
        if halves is None:
            return
        (of_even, to_even), (of_odd, to_odd) = halves
        even, odd = _sizes(site, of_even, to_even), _sizes(site, of_odd, to_odd)
        self._of_halves += even + odd
        self._by_chance += even * odd / site.num_weights
        behaviour = _levels(site, of_odd)[of_even.index]
        utility = np.minimum(_levels(site, to_even), _levels(site, to_odd))
        self._shared += _counted(
            np.maximum(of_even.level, behaviour),
            utility[of_even.index],
            of_even.reach,
            to_even.reach,
        )

    def cells(self) -> tuple[GridCell, ...]:
        """All pairs, q within p."""
        cells = []
        for column, p in enumerate(self._ps):
            for row, q in enumerate(self._qs):
                at = row, column
                total = int(self._of_halves[at])
                cells.append(
                    GridCell(
                        p=p,
                        q=q,
                        num_weights=int(self._sizes[at]),
                        num_claimed=int(self._claimed[row]),
                        jaccard=_jaccard(float(self._shared[at]), total),
                        floor=_jaccard(float(self._by_chance[at]), total),
                    )
                )
        return tuple(cells)


def _both(
    behaviour: ScoreOf,
    utility: ScoreOf,
    ps: Sequence[float],
    qs: Sequence[float],
    per: Per,
) -> Iterator[tuple[Site, tuple[Ranked, Ranked]]]:
    """Rank both scores of every matrix."""
    if behaviour.keys() != utility.keys():
        odd = min(s.key for s in behaviour.keys() ^ utility.keys())
        raise MeasureError(f"{odd} has only one of the two scores: score both alike")
    sites = tuple(behaviour)
    of = Picker(sites, [Cut(share=q) for q in qs], per=per)
    to = Picker(sites, [Cut(share=p) for p in ps], per=per)
    for site in sites:
        wanted, claimed = of.add(site, behaviour[site]), to.add(site, utility[site])
        for one in wanted:
            yield one, (wanted[one], claimed[one])


def _sizes(site: Site, of: Ranked, to: Ranked) -> Int64[np.ndarray, "q p"]:
    return _counted(of.level, _levels(site, to)[of.index], of.reach, to.reach)


def _counted(
    behaviour: UInt8[np.ndarray, " weight"],
    utility: UInt8[np.ndarray, " weight"],
    qs: tuple[int, ...],
    ps: tuple[int, ...],
) -> Int64[np.ndarray, "q p"]:
    """Weights that each q takes and each p does not, from their levels."""
    height, width = max(qs) + 1, max(ps) + 1
    pairs = np.minimum(behaviour, height - 1).astype(np.int64) * width
    pairs += np.minimum(utility, width - 1)
    counts = np.bincount(pairs, minlength=height * width).reshape(height, width)
    below = np.vstack([np.zeros(width, np.int64), np.cumsum(counts, axis=0)])
    beyond = np.cumsum(below[:, ::-1], axis=1)[:, ::-1]
    return beyond[np.ix_(qs, ps)]


def _levels(site: Site, ranked: Ranked) -> UInt8[np.ndarray, " weight"]:
    """The level of every weight of the matrix, out of reach where none takes it."""
    levels = np.full(site.num_weights, np.iinfo(np.uint8).max, dtype=np.uint8)
    levels[ranked.index] = ranked.level
    return levels


def _jaccard(shared: float, total: int) -> float | None:
    return shared / (total - shared) if total else None
