"""Of which queries do single tensors say something else than all of them together?"""

import numpy as np

from driftmap.results.oddities import OddQuery, Profile
from driftmap.results.retrieval import RetrievalSettings
from driftmap.stats.retrieval.lineup import Lineup
from driftmap.stats.retrieval.outcomes import Outcomes


def odd_queries(
    lineup: Lineup, outcomes: Outcomes, settings: RetrievalSettings
) -> tuple[OddQuery, ...]:
    """Take the queries whose tensors differ most from full, and show their candidates.

    Args:
        lineup: One set; which row is which.
        outcomes: Of its queries.
        settings: How many queries, and candidates of each.
    """
    pairs = lineup.scorer.pairs
    order = np.argsort(-outcomes.distance, kind="stable")[: settings.num_odd]
    return tuple(
        OddQuery(
            query=pairs.products.queries[int(pairs.rows[query])],
            distance=float(outcomes.distance[query]),
            profiles=_profiles(lineup, query, settings.shown.candidates),
        )
        for query in order.tolist()
    )


def _profiles(lineup: Lineup, query: int, num_others: int) -> tuple[Profile, ...]:
    pairs, scorer = lineup.scorer.pairs, lineup.scorer
    places = pairs.places(query)
    right = pairs.right[query][places]
    numbers = pairs.candidates[query][places]
    cosines = scorer.cosines(query)[: scorer.weights.shape[1]]
    cosines[~scorer.has_direction(query)] = np.nan
    full = np.nan_to_num(cosines[lineup.full])
    is_truth = numbers == pairs.original[query]
    truth = np.flatnonzero(is_truth if is_truth.any() else right)[:1]
    by_rank = np.argsort(-full, kind="stable")
    shown = [*truth, *by_rank[~np.isin(by_rank, truth)][:num_others]]
    single = len(scorer.weights)
    return tuple(
        Profile(
            original=pairs.products.originals[int(numbers[place])],
            is_right=bool(right[place]),
            full=_known(cosines[lineup.full, place]),
            cosines=tuple(_known(value) for value in cosines[:single, place]),
        )
        for place in shown
    )


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
