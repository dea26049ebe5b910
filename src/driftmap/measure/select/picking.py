"""Which weights does a rule take, when scores arrive matrix by matrix?"""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from driftmap.core.places import Site
from driftmap.measure.select.ranked import (
    Cut,
    Ranked,
    rank_matrix,
    rank_rows,
    sorting_keys,
)
from driftmap.measure.select.stream import RunningTop
from driftmap.results.rules import Per


class Picker:
    """Takes the highest or the lowest scores, under several cuts at once.

    What is taken of a matrix is handed out as soon as it is certain: at once where
    matrices or rows stand alone, with the last matrix of a layer, or with the last
    of all. Every matrix is handed out once.

    Args:
        sites: All matrices, in any order; each is then given once.
        cuts: How many weights are taken, in as many ways as wanted.
        per: Among which weights a share is meant: those of a matrix, of each row, of
            a layer's matrices together, or of all matrices together.
        lowest: Take the lowest scores, not the highest.
    """

    def __init__(
        self,
        sites: Sequence[Site],
        cuts: Sequence[Cut],
        *,
        per: Per = "matrix",
        lowest: bool = False,
    ) -> None:
        """Wait for the first matrix."""
        self._cuts = tuple(cuts)
        self._per = per
        self._lowest = lowest
        self._missing: dict[int, set[Site]] = {}
        for site in sites:
            self._missing.setdefault(self._contest(site), set()).add(site)
        self._running: dict[int, RunningTop] = {}

    def add(self, site: Site, score: Float[Tensor, "_ _"]) -> dict[Site, Ranked]:
        """Look at the scores of one matrix, compared as float32.

        Args:
            site: The matrix.
            score: Non-negative scores of all of its weights.

        Returns:
            What is taken of this matrix, or of several, or nothing yet.

        Raises:
            MeasureError: A score is negative or not finite.
        """
        keys = sorting_keys(site, score, lowest=self._lowest)
        if self._per == "matrix":
            return {site: rank_matrix(keys, self._counts(site.num_weights))}
        if self._per == "row":
            return {site: rank_rows(keys, self._counts(site.num_columns))}
        contest = self._contest(site)
        missing = self._missing[contest]
        if contest not in self._running:
            counts = self._counts(sum(one.num_weights for one in missing))
            self._running[contest] = RunningTop(tuple(missing), counts)
        self._running[contest].add(site, keys)
        missing.remove(site)
        return {} if missing else self._running.pop(contest).members()

    def _contest(self, site: Site) -> int:
        """Weights with the same number compete with each other."""
        return site.layer if self._per == "layer" else 0

    def _counts(self, num_weights: int) -> list[int]:
        return [cut.count(num_weights) for cut in self._cuts]
