"""What happens to every query under every order, in one read of the products?

A row is an order of the candidates: the tensors first, then joined units and
weightings, then baselines.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64

from driftmap.results.retrieval import RetrievalSettings
from driftmap.stats.retrieval.agreement import Agreements, AgreementSums
from driftmap.stats.retrieval.scoring import Scorer
from driftmap.stats.retrieval.standing import Standing, stand

PerQuery = Float64[np.ndarray, "row query"]
Scores = Float64[np.ndarray, "query candidate"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Outcomes:
    """Figures of every query; NaN where there is none.

    Args:
        hit: Share of a right answer that is given.
        rank: Of the best right candidate.
        recall: Expected share of right answers within k.
        margin: Best right minus best other, in sd of the others.
        chosen: Number of the first original on top.
        best_right: Score of the best right candidate; -inf where there is none.
        best_other: The same of the others.
        truth: Score of the truth; 0 without a direction, NaN where it is no candidate.
        match: Cosine with the truth; NaN without a direction.
        background: Mean cosine with the others.
        background_sd: Of all those cosines, per row.
        directed: The query has a direction there.
        distance: Per query, root mean square of tensor cosines minus full ones.
        on_top: Per original, queries of which it is on top under full; ties shared.
        wrong_on_top: Those for which it is wrong.
        agreement: Of each row with full.
    """

    hit: PerQuery
    rank: PerQuery
    recall: Float64[np.ndarray, "k row query"]
    margin: PerQuery
    chosen: Int64[np.ndarray, "row query"]
    best_right: PerQuery
    best_other: PerQuery
    truth: PerQuery
    match: PerQuery
    background: PerQuery
    background_sd: Float64[np.ndarray, " row"]
    directed: Bool[np.ndarray, "row query"]
    distance: Float64[np.ndarray, " query"]
    on_top: Float64[np.ndarray, " original"]
    wrong_on_top: Float64[np.ndarray, " original"]
    agreement: Agreements


def observe(
    scorer: Scorer,
    beside: Sequence[Scores],
    full: int,
    settings: RetrievalSettings,
) -> Outcomes:
    """Place the truth of every query under every row.

    Args:
        scorer: One set and the rows that are cosines.
        beside: Scores of baselines, on the set's queries: further rows.
        full: Row of all tensors.
        settings: How ties count.
    """
    ledger = _Ledger(scorer, len(beside), full, settings)
    pairs = scorer.pairs
    for query in range(pairs.num_queries):
        places = pairs.places(query)
        others = [scores[query][places] for scores in beside]
        cosines = scorer.cosines(query)
        scores = np.concatenate([cosines, np.array(others)]) if others else cosines
        ledger.place(query, scores)
        ledger.compare(query, cosines)
    return ledger.outcomes()


class _Ledger:
    """Arrays that fill up query by query."""

    def __init__(
        self, scorer: Scorer, num_beside: int, full: int, settings: RetrievalSettings
    ) -> None:
        pairs = scorer.pairs
        self._scorer, self._full, self._settings = scorer, full, settings
        num_rows = scorer.num_rows + num_beside
        shape = (num_rows, pairs.num_queries)
        self._figures = {name: np.full(shape, np.nan) for name in _FIGURES}
        self._recall = np.zeros((len(settings.recall_at), *shape))
        self._chosen = np.zeros(shape, dtype=np.int64)
        self._directed = np.ones(shape, dtype=bool)
        self._sums = np.zeros((3, num_rows))
        self._distance = np.zeros(pairs.num_queries)
        self._tops = np.zeros((2, len(pairs.products.originals)))
        self._agreement = AgreementSums(scorer.num_rows, pairs.num_queries, full)

    def place(self, query: int, scores: Float64[np.ndarray, "row candidate"]) -> None:
        pairs = self._scorer.pairs
        places = pairs.places(query)
        candidates = pairs.candidates[query][places]
        right = pairs.right[query][places]
        found: Standing = stand(scores, right, self._settings)
        for name in _OF_STANDING:
            self._figures[name][:, query] = getattr(found, name)
        self._recall[:, :, query] = found.recall
        self._chosen[:, query] = candidates[scores.argmax(axis=1)]
        truth = np.flatnonzero(candidates == pairs.original[query])
        truth = truth if truth.size else np.flatnonzero(right)
        if truth.size:
            self._figures["truth"][:, query] = scores[:, truth[0]]
        full: Float64[np.ndarray, " candidate"] = scores[self._full]
        top = np.flatnonzero(np.greater_equal(full, full.max()))
        self._tops[0, candidates[top]] += 1 / top.size
        self._tops[1, candidates[top[~right[top]]]] += 1 / top.size

    def compare(
        self, query: int, cosines: Float64[np.ndarray, "row candidate"]
    ) -> None:
        """Take means of the cosines of one query that there are."""
        pairs, rows = self._scorer.pairs, len(cosines)
        right = pairs.right[query][pairs.places(query)]
        known = self._scorer.has_direction(query)
        if rows > len(known):
            known = np.concatenate([known, known.any(axis=0, keepdims=True)])
        self._directed[:rows, query] = known.any(axis=1)
        others = known & ~right
        num = others.sum(axis=1)
        total = (cosines * others).sum(axis=1)
        squares = (np.square(cosines) * others).sum(axis=1)
        self._sums[:, :rows] += np.stack([num, total, squares])
        with np.errstate(invalid="ignore"):
            self._figures["background"][:rows, query] = total / num
        at_truth = (known & right).any(axis=1)
        truth = self._figures["truth"][:rows, query]
        self._figures["match"][:rows, query] = np.where(at_truth, truth, np.nan)
        single = len(self._scorer.weights)
        apart = (cosines[:single] - cosines[self._full]) * known[:single]
        count = max(1, int(known[:single].sum()))
        self._distance[query] = float(np.sqrt(np.square(apart).sum() / count))
        self._agreement.add(query, cosines)

    def outcomes(self) -> Outcomes:
        num, total, squares = self._sums
        with np.errstate(invalid="ignore", divide="ignore"):
            variance = squares / num - np.square(total / num)
        return Outcomes(
            **self._figures,
            recall=self._recall,
            chosen=self._chosen,
            background_sd=np.sqrt(np.maximum(variance, 0)),
            directed=self._directed,
            distance=self._distance,
            on_top=self._tops[0],
            wrong_on_top=self._tops[1],
            agreement=self._agreement.result(),
        )


_OF_STANDING = ("hit", "rank", "margin", "best_right", "best_other")
_FIGURES = (*_OF_STANDING, "truth", "match", "background")
