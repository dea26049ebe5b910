"""Where does the truth of one query stand in an order of its candidates?"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64

from driftmap.results.retrieval import RetrievalSettings

Row = Float64[np.ndarray, " row"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Standing:
    """One query under many orders at once; a row is an order.

    Args:
        hit: Share of a right answer that is given; 0 where the truth is no candidate.
        rank: Of the best right one; NaN likewise.
        recall: Expected share of right answers within k; one row per k, then orders.
        margin: Best right minus best other, in sd of the others; NaN where there are
            not two others that differ.
        best_right: Highest score of a right one; -inf where there is none.
        best_other: The same of the others.
    """

    hit: Row
    rank: Row
    recall: Float64[np.ndarray, "k row"]
    margin: Row
    best_right: Row
    best_other: Row


def stand(
    scores: Float64[np.ndarray, "row candidate"],
    right: Bool[np.ndarray, " candidate"],
    settings: RetrievalSettings,
) -> Standing:
    """Place the truth.

    `rank = 1 + above + ties / 2`, where only wrong candidates count; when t tie at the
    top, r of them right, r/t is scored. With `ties="first"` the candidate that is
    listed first goes first.

    Args:
        scores: Higher is better.
        right: Candidates that are right.
        settings: How ties count, and which recalls are asked.

    >>> scores = np.array([[0.9, 0.9, 0.1]])
    >>> found = stand(scores, np.array([False, True, False]), RetrievalSettings())
    >>> found.hit, found.rank
    (array([0.5]), array([1.5]))
    """
    best_right = scores[:, right].max(axis=1, initial=-np.inf)
    others = scores[:, ~right]
    best_other = others.max(axis=1, initial=-np.inf)
    above = (others > best_right[:, None]).sum(axis=1)
    if not right.any():
        return _missing(best_right, best_other, len(settings.recall_at))
    tied = (others == best_right[:, None]).sum(axis=1)
    same = (scores[:, right] == best_right[:, None]).sum(axis=1)
    if settings.ties == "first":
        tied = _tied_before(scores == best_right[:, None], right)
        rank = 1.0 + above + tied
        hit = (rank == 1).astype(float)
        recall = [(rank <= k).astype(float) for k in settings.recall_at]
    else:
        rank = 1.0 + above + tied / 2
        hit = np.where(above == 0, same / (same + tied), 0.0)
        recall = [_expected(k - above, tied, same) for k in settings.recall_at]
    return Standing(
        hit=hit,
        rank=rank,
        recall=np.array(recall).reshape(-1, len(scores)),
        margin=_margin(others, best_right, best_other),
        best_right=best_right,
        best_other=best_other,
    )


def _missing(best_right: Row, best_other: Row, num_recalls: int) -> Standing:
    nothing = np.zeros(best_right.size)
    return Standing(
        hit=nothing,
        rank=nothing + np.nan,
        recall=np.zeros((num_recalls, best_right.size)),
        margin=nothing + np.nan,
        best_right=best_right,
        best_other=best_other,
    )


def _tied_before(
    equal: Bool[np.ndarray, "row candidate"], right: Bool[np.ndarray, " candidate"]
) -> Int64[np.ndarray, " row"]:
    """Wrong candidates of the same score that are listed before the first right one."""
    first = (equal & right).argmax(axis=1)
    return (equal & ~right & (np.arange(right.size) < first[:, None])).sum(axis=1)


def _expected(
    free: Int64[np.ndarray, " row"],
    tied: Int64[np.ndarray, " row"],
    same: Int64[np.ndarray, " row"],
) -> Row:
    """Chance that one of `same` is among the first `free` of them and `tied`.

    `1 - C(tied, free) / C(tied + same, free)`, as a product over the right ones.
    """
    missed = np.ones(free.size)
    free = np.clip(free, 0, tied + same)
    for number in range(1, int(same.max()) + 1):
        left = np.clip((tied + number - free) / (tied + number), 0, 1)
        missed *= np.where(number <= same, left, 1.0)
    return 1 - missed


def _margin(
    others: Float64[np.ndarray, "row candidate"], best_right: Row, best_other: Row
) -> Row:
    margin = np.full(best_right.size, np.nan)
    if others.shape[1] >= 2:
        spread = others.std(axis=1)
        known = np.ptp(others, axis=1) > 0
        margin[known] = (best_right - best_other)[known] / spread[known]
    return margin
