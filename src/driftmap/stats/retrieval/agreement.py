"""Does a tensor say of the pairs what the full gradient says?"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64
from scipy.stats import rankdata

PerRow = Float64[np.ndarray, " row"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Agreements:
    """How each row of cosines goes with the full ones; NaN where it has no direction.

    Args:
        cosine: Uncentred cosine of the two lists of all pair cosines.
        spearman: Rank correlation over the candidates of a query, mean over queries.
    """

    cosine: PerRow
    spearman: PerRow


class AgreementSums:
    """Sums over pairs, query by query.

    Args:
        num_rows: Rows of cosines.
        num_queries: Queries that will be added.
        full: Row of all tensors.
    """

    def __init__(self, num_rows: int, num_queries: int, full: int) -> None:
        self._full = full
        self._products = np.zeros(num_rows)
        self._squares = np.zeros(num_rows)
        self._correlations = np.full((num_rows, num_queries), np.nan)

    def add(self, query: int, cosines: Float64[np.ndarray, "row candidate"]) -> None:
        """Count the pairs of one query."""
        self._products += cosines @ cosines[self._full]
        self._squares += np.einsum("rc,rc->r", cosines, cosines)
        self._correlations[:, query] = spearman(cosines, cosines[self._full])

    def result(self) -> Agreements:
        """Put the sums together."""
        norms = np.sqrt(self._squares * self._squares[self._full])
        known = ~np.isnan(self._correlations)
        counted = known.sum(axis=1)
        total = np.nansum(self._correlations, axis=1)
        with np.errstate(invalid="ignore"):
            return Agreements(cosine=self._products / norms, spearman=total / counted)


def spearman(
    rows: Float64[np.ndarray, "row candidate"], one: Float64[np.ndarray, " candidate"]
) -> PerRow:
    """Correlate ranks of each row with those of one list; ties get their mean rank.

    Args:
        rows: Numbers.
        one: As many.

    Returns:
        One correlation per row; NaN where either does not vary.

    >>> rows = np.array([[1.0, 2.0, 9.0], [5.0, 5.0, 5.0]])
    >>> spearman(rows, np.array([3.0, 4.0, 5.0]))
    array([ 1., nan])
    """
    ranked, other = _centred_ranks(rows), _centred_ranks(one[None])[0]
    norms = np.sqrt(np.einsum("rc,rc->r", ranked, ranked) * (other @ other))
    with np.errstate(invalid="ignore"):
        return ranked @ other / norms


def _centred_ranks(
    rows: Float64[np.ndarray, "row candidate"],
) -> Float64[np.ndarray, "row candidate"]:
    num = rows.shape[1]
    order = np.argsort(rows, axis=1)
    ranks = np.empty(rows.shape)
    np.put_along_axis(ranks, order, np.arange(num) - (num - 1) / 2, axis=1)
    ordered = np.take_along_axis(rows, order, axis=1)
    tied = (ordered[:, 1:] == ordered[:, :-1]).any(axis=1)
    if tied.any():
        ranks[tied] = rankdata(rows[tied], axis=1) - (num + 1) / 2
    return ranks
