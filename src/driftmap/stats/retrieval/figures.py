"""What is averaged over queries, row by row, and what does chance give there?"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64

from driftmap.results.baselines import Baseline
from driftmap.results.retrieval import RetrievalSettings
from driftmap.results.retrieval_reading import Score
from driftmap.stats.retrieval.chance import Chance, chance
from driftmap.stats.retrieval.outcomes import Outcomes
from driftmap.stats.retrieval.pairs import SetPairs
from driftmap.stats.retrieval.resampling import Resamples, is_certain

PerQuery = Float64[np.ndarray, "row query"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Figures:
    """Numbers per row and query, baselines that only give ranks among them.

    Args:
        hit: Share of a right answer.
        reciprocal: 1/rank; 0 where the truth is no candidate.
        recall: One block of rows per k.
        rank: NaN where the truth is no candidate.
        margin: NaN where there is none.
        chances: Of the rows of one read of the products, then of each baseline that
            gives ranks.
    """

    hit: PerQuery
    reciprocal: PerQuery
    recall: Float64[np.ndarray, "k row query"]
    rank: PerQuery
    margin: PerQuery
    chances: tuple[Chance, ...]

    def chance_of(self, row: int) -> Chance:
        """What a random order gives in the lists of a row."""
        first_ranked = len(self.hit) - len(self.chances) + 1
        return self.chances[max(0, row - first_ranked + 1)]


def figures(
    pairs: SetPairs,
    outcomes: Outcomes,
    ranked: Sequence[Baseline],
    settings: RetrievalSettings,
) -> Figures:
    """Put what was observed and what baselines tell of ranks below each other.

    Args:
        pairs: One set.
        outcomes: Of its queries.
        ranked: Baselines that give ranks, of all sets' queries.
        settings: Which recalls are asked.
    """
    told = [b.ranks[pairs.rows] for b in ranked if b.ranks is not None]
    ranks = np.array(told, dtype=float).reshape(len(told), pairs.num_queries)
    ranks[ranks == 0] = np.nan
    rank = np.concatenate([outcomes.rank, ranks])
    limits = settings.recall_at
    within = [(ranks <= k).astype(float) for k in limits]
    recall = [
        np.concatenate([seen, more])
        for seen, more in zip(outcomes.recall, within, strict=True)
    ]
    _, kind, counts = np.unique(pairs.same, return_inverse=True, return_counts=True)
    in_corpus = counts[kind][pairs.original]
    return Figures(
        hit=np.concatenate([outcomes.hit, (ranks == 1).astype(float)]),
        reciprocal=np.nan_to_num(1 / rank),
        recall=np.array(recall).reshape(len(limits), *rank.shape),
        rank=rank,
        margin=np.concatenate([outcomes.margin, np.full(ranks.shape, np.nan)]),
        chances=(
            chance(pairs.num_candidates, pairs.num_right, limits),
            *(
                chance(np.full(pairs.num_queries, b.num_ranked), in_corpus, limits)
                for b in ranked
            ),
        ),
    )


def scores(
    resamples: Resamples,
    values: PerQuery,
    expected: Sequence[Float64[np.ndarray, " query"]],
    counted: Bool[np.ndarray, " query"] | None = None,
) -> tuple[Score, ...]:
    """Average rows of numbers from 0 to 1, with interval and chance.

    Args:
        resamples: Of the queries' ids.
        values: One row per order.
        expected: What chance gives each query, per row.
        counted: Queries that count, at least one; all by default.
    """
    kept = np.ones(values.shape[1], dtype=bool) if counted is None else counted
    values = np.where(kept, values, np.nan)
    found: list[Score] = []
    for interval, chances in zip(resamples.rates(values), expected, strict=True):
        assert interval is not None
        found.append(
            Score(
                value=interval,
                chance=float(chances[kept].mean()),
                method="wilson" if is_certain(interval) else "bootstrap",
            )
        )
    return tuple(found)
