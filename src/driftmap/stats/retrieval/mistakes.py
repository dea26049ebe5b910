"""Which queries go wrong, and which originals are on top where they should not be?"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool

from driftmap.results.baselines import Beside
from driftmap.results.oddities import HubOriginal
from driftmap.results.retrieval import QueryReading, RetrievalSettings, WrongQuery
from driftmap.results.retrieval_reading import FULL
from driftmap.stats.retrieval.figures import Figures
from driftmap.stats.retrieval.outcomes import Outcomes
from driftmap.stats.retrieval.pairs import SetPairs
from driftmap.stats.retrieval.scoring import Scorer

DUPLICATE, NO_CANDIDATE, FORCED = "duplicate", "not a candidate", "forced"
"""Flags that follow from the products and their truth."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Mistakes:
    """Looks up queries one by one.

    Args:
        scorer: One set and its rows of cosines.
        outcomes: Of its queries.
        figures: Of all rows.
        rows: Name of each unit that is shown -> its row; full is one.
        flags: What is known of each query.
    """

    scorer: Scorer
    outcomes: Outcomes
    figures: Figures
    rows: Mapping[str, int]
    flags: tuple[tuple[str, ...], ...]

    def queries(self, reported: Bool[np.ndarray, " query"]) -> tuple[QueryReading, ...]:
        """Say of every query where its truth stands.

        Args:
            reported: Queries that choices are reported on.
        """
        row, found = self.rows[FULL], self.outcomes
        directed = found.directed[row] & np.isfinite(found.best_other[row])
        other = np.where(directed, found.best_other[row], np.nan)
        return tuple(
            QueryReading(
                query=self._query(query),
                original=self._original(self.scorer.pairs.original[query]),
                ranks={
                    name: _known(self.figures.rank[of, query])
                    for name, of in self.rows.items()
                },
                truth_cosine=_known(found.match[row, query]),
                best_other_cosine=_known(other[query]),
                is_reported=bool(reported[query]),
                flags=self.flags[query],
            )
            for query in range(self.scorer.pairs.num_queries)
        )

    def wrong(self, name: str, most: int) -> tuple[WrongQuery, ...]:
        """List queries that a unit of tensors has wrong.

        Args:
            name: The unit.
            most: As many of them.
        """
        row = self.rows[name]
        return tuple(
            WrongQuery(
                unit=name,
                query=self._query(query),
                original=self._original(self.scorer.pairs.original[query]),
                chosen=self._original(self.outcomes.chosen[row, query]),
                rank=_known(self.outcomes.rank[row, query]),
                truth_cosine=_known(self.outcomes.match[row, query]),
                chosen_cosine=self._top(row, query),
                flags=self.flags[query],
            )
            for query in self._missed(row)[:most]
        )

    def num_wrong(self, name: str) -> int:
        """Count all queries that a unit has wrong."""
        return len(self._missed(self.rows[name]))

    def _missed(self, row: int) -> list[int]:
        return np.flatnonzero(self.figures.hit[row] < 1).tolist()

    def _top(self, row: int, query: int) -> float | None:
        found, scorer = self.outcomes, self.scorer
        chosen = found.chosen[row, query]
        if not scorer.query_scale[query, row] or not scorer.original_scale[row, chosen]:
            return None
        return float(max(found.best_right[row, query], found.best_other[row, query]))

    def _query(self, query: int) -> str:
        pairs = self.scorer.pairs
        return pairs.products.queries[int(pairs.rows[query])]

    def _original(self, number: np.int64) -> str:
        return self.scorer.pairs.products.originals[number]


def flags(pairs: SetPairs, beside: Beside) -> tuple[tuple[str, ...], ...]:
    """What is known of each query: given flags, then what follows from the data.

    Args:
        pairs: One set.
        beside: Flags by query id, and queries whose truth was put in.
    """
    forced = frozenset(beside.forced or ())
    num_equal = np.unique(pairs.same, return_inverse=True, return_counts=True)
    is_duplicate = num_equal[2][num_equal[1]] > 1
    found: list[tuple[str, ...]] = []
    for query, row in enumerate(pairs.rows.tolist()):
        name = pairs.products.queries[row]
        known = {
            DUPLICATE: bool(is_duplicate[pairs.original[query]]),
            NO_CANDIDATE: not pairs.right[query].any(),
            FORCED: name in forced,
        }
        more = tuple(flag for flag, holds in known.items() if holds)
        found.append((*beside.flags.get(name, ()), *more))
    return tuple(found)


def hubs(
    pairs: SetPairs, outcomes: Outcomes, settings: RetrievalSettings
) -> tuple[HubOriginal, ...]:
    """List originals that are on top of far more queries than their share.

    The share is the same for all that are a candidate of any query. An original that
    is wrongly on top only once is no hub, however small the share.

    Args:
        pairs: One set.
        outcomes: Of its queries.
        settings: From which multiple of the share on.
    """
    compared = np.unique(pairs.candidates[pairs.candidates >= 0])
    share = pairs.num_queries / compared.size
    over = outcomes.on_top > settings.hub_factor * share
    over &= outcomes.wrong_on_top >= 2
    order = sorted(np.flatnonzero(over).tolist(), key=lambda n: -outcomes.on_top[n])
    return tuple(
        HubOriginal(
            original=pairs.products.originals[number],
            num_on_top=float(outcomes.on_top[number]),
            num_wrong=float(outcomes.wrong_on_top[number]),
            share=share,
        )
        for number in order
    )


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
