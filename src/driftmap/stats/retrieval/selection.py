"""How far does greedy selection get, step by step, on both halves of the ids?"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64

from driftmap.results.baselines import Projection
from driftmap.results.retrieval import RetrievalSettings
from driftmap.results.selection import (
    BothHalves,
    ProjectionPoint,
    Reached,
    SelectionGoal,
    SelectionPath,
    SelectionScore,
    SelectionStep,
)
from driftmap.stats.retrieval.greedy import (
    Taken,
    agreement,
    full_cosines,
    hits_of,
    next_scores,
    nothing_taken,
    tied_best,
)
from driftmap.stats.retrieval.halves import Halves
from driftmap.stats.retrieval.pairs import SetPairs, of_queries
from driftmap.stats.retrieval.resampling import draw_resamples
from driftmap.stats.retrieval.standing import stand
from driftmap.stats.retrieval.units import num_weights

MARKS = (0.9, 0.95, 0.99)
"""Agreements with full that are looked for."""

Cosines = Float64[np.ndarray, "query candidate"]


class Selection:
    """Greedy forward selection of one set, with what both goals share.

    Args:
        pairs: One set.
        halves: Queries that tensors are chosen on, and reported on.
        settings: Ties and steps.
        seed: Of the resamples that standard errors come from.
    """

    def __init__(
        self,
        pairs: SetPairs,
        halves: Halves,
        settings: RetrievalSettings,
        seed: int,
    ) -> None:
        self._pairs, self._settings = pairs, settings
        self._chosen, self._reported = halves.chosen, halves.reported
        self._full = full_cosines(pairs)
        self._half = of_queries(pairs, halves.chosen)
        self._resamples = draw_resamples(
            self._half.ids, settings.num_resamples, settings.level, seed
        )

    def path(self, goal: SelectionGoal) -> SelectionPath:
        """Take tensor after tensor.

        Args:
            goal: What each step makes as high as it can.
        """
        tensors = self._pairs.products.tensors
        free = np.ones(len(tensors), dtype=bool)
        half, whole = nothing_taken(self._half), nothing_taken(self._pairs)
        steps: list[SelectionStep] = []
        errors: list[float] = []
        for _ in range(min(len(tensors), self._settings.max_steps or len(tensors))):
            tied, tensor = self._next(goal, half, free)
            free[tensor] = False
            half = half.with_tensor(self._half, tensor)
            whole = whole.with_tensor(self._pairs, tensor)
            sums = self._sums(whole.cosines(self._pairs))
            steps.append(self._step(tensor, tied, free, sums))
            errors.append(self._error(goal, sums))
        reached = [_value(goal, step.chosen_on) for step in steps]
        best = int(np.argmax(reached))
        enough = [value >= reached[best] - errors[best] for value in reached]
        return SelectionPath(
            goal=goal,
            steps=tuple(steps),
            full=self._both(self._sums(self._full)),
            num_best=best + 1,
            standard_error=errors[best],
            num_smallest=enough.index(True) + 1,
            num_to_reach=_marks(reached) if goal == "agreement" else (),
        )

    def projections(self, given: Sequence[Projection]) -> tuple[ProjectionPoint, ...]:
        """Put random projections beside the paths, by what they store.

        Args:
            given: Their full cosines, on the queries of all sets.
        """
        total = num_weights(self._pairs.products.tensors)
        points: list[ProjectionPoint] = []
        for one in given:
            cosine = np.nan_to_num(one.cosine[self._pairs.rows])
            both = self._both(self._sums(cosine))
            points.append(
                ProjectionPoint(
                    name=one.name,
                    num_stored=one.num_stored,
                    share_of_weights=one.num_stored / total if total else None,
                    chosen_on=both.chosen_on,
                    reported_on=both.reported_on,
                )
            )
        return tuple(points)

    def _next(
        self, goal: SelectionGoal, taken: Taken, free: Bool[np.ndarray, " tensor"]
    ) -> tuple[int, int]:
        full = self._full[self._chosen]
        scores = next_scores(self._half, taken, goal, full, self._settings)
        tied = tied_best(scores, free)
        if self._settings.step_ties == "order" or tied.size == 1:
            return tied.size, int(tied[0])
        margins = [
            self._margin(taken.with_tensor(self._half, n)) for n in tied.tolist()
        ]
        return tied.size, int(tied[int(np.argmax(margins))])

    def _margin(self, taken: Taken) -> float:
        """Mean margin of a set; -inf where no query has one."""
        half, cosines = self._half, taken.cosines(self._half)
        margins = np.full(half.num_queries, np.nan)
        for query in range(half.num_queries):
            places = half.places(query)
            scores, right = cosines[query][places][None], half.right[query][places]
            margins[query] = stand(scores, right, self._settings).margin[0]
        known = margins[~np.isnan(margins)]
        return float(known.mean()) if known.size else -np.inf

    def _sums(self, cosines: Cosines) -> "_Sums":
        return _Sums(
            hits=hits_of(self._pairs, cosines, self._settings),
            products=(cosines * self._full).sum(axis=1),
            squares=np.square(cosines).sum(axis=1),
            full=np.square(self._full).sum(axis=1),
        )

    def _both(self, sums: "_Sums") -> BothHalves:
        return BothHalves(
            chosen_on=sums.score(self._chosen), reported_on=sums.score(self._reported)
        )

    def _step(
        self,
        tensor: int,
        num_tied: int,
        free: Bool[np.ndarray, " tensor"],
        sums: "_Sums",
    ) -> SelectionStep:
        tensors, both = self._pairs.products.tensors, self._both(sums)
        size = num_weights([t for n, t in enumerate(tensors) if not free[n]])
        total = num_weights(tensors)
        return SelectionStep(
            tensor=tensor,
            name=tensors[tensor].name,
            num_weights=size,
            share_of_weights=size / total if size is not None and total else None,
            chosen_on=both.chosen_on,
            reported_on=both.reported_on,
            num_tied=num_tied,
        )

    def _error(self, goal: SelectionGoal, sums: "_Sums") -> float:
        """Standard error of a set's score on the chosen half, over its ids."""
        half, drawn = self._chosen, self._resamples
        if goal == "accuracy":
            values = drawn.means(sums.hits[half][None])[0]
        else:
            rows = np.stack([sums.products, sums.squares, sums.full])[:, half]
            products, squares, full = drawn.sums(rows) @ drawn.counts
            values = products / np.sqrt(np.maximum(squares * full, _LEAST))
        return float(values.std())


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Sums:
    """What agreement and accuracy are made of, query by query."""

    hits: Float64[np.ndarray, " query"]
    products: Float64[np.ndarray, " query"]
    squares: Float64[np.ndarray, " query"]
    full: Float64[np.ndarray, " query"]

    def score(self, of: Bool[np.ndarray, " query"]) -> SelectionScore:
        products = self.products[of].sum(keepdims=True)
        squares = self.squares[of].sum(keepdims=True)
        found = float(agreement(products, squares, float(self.full[of].sum()))[0])
        known = squares[0] * self.full[of].sum() > 0
        return SelectionScore(
            agreement=found if known else None, accuracy=float(self.hits[of].mean())
        )


def _value(goal: SelectionGoal, score: SelectionScore) -> float:
    if goal == "accuracy":
        return score.accuracy
    return -1.0 if score.agreement is None else score.agreement


def _marks(reached: Sequence[float]) -> tuple[Reached, ...]:
    numbers = {
        mark: [n + 1 for n, r in enumerate(reached) if r >= mark] for mark in MARKS
    }
    return tuple(
        Reached(agreement=mark, num_steps=found[0] if found else None)
        for mark, found in numbers.items()
    )


_LEAST = np.finfo(float).tiny
