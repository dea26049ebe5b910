"""What does a random order of the candidates give?"""

from dataclasses import dataclass
from math import prod

import numpy as np
from jaxtyping import Float64, Int64


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Chance:
    """Expected figures of a random order, query by query.

    Args:
        accuracy: A right one is on top.
        reciprocal_rank: Mean of 1/rank.
        recall: A right one is among the first k; one row per k.
    """

    accuracy: Float64[np.ndarray, " query"]
    reciprocal_rank: Float64[np.ndarray, " query"]
    recall: Float64[np.ndarray, "k query"]


def chance(
    num_candidates: Int64[np.ndarray, " query"],
    num_right: Int64[np.ndarray, " query"],
    recall_at: tuple[int, ...],
) -> Chance:
    """Expect nothing of the order.

    With k candidates and one right: 1/k, H_k/k and r/k. With c right ones the best of
    them is at place j with probability `C(k-j, c-1) / C(k, c)`.

    Args:
        num_candidates: Per query, at least 1.
        num_right: Per query; 0 where the truth is no candidate.
        recall_at: Numbers of places.

    >>> found = chance(np.array([4, 4]), np.array([1, 0]), (2,))
    >>> found.accuracy, found.recall
    (array([0.25, 0.  ]), array([[0.5, 0. ]]))
    >>> round(float(found.reciprocal_rank[0] * 4), 4)
    2.0833
    """
    shapes = np.stack([num_candidates, num_right], axis=1)
    kinds, kind = np.unique(shapes, axis=0, return_inverse=True)
    first = [_of_first(int(k), int(c)) for k, c in kinds]
    reciprocal = [float((p / np.arange(1, p.size + 1)).sum()) for p in first]
    recall = [[_within(int(k), int(c), r) for k, c in kinds] for r in recall_at]
    kind = kind.reshape(-1)
    return Chance(
        accuracy=np.array([float(p[0]) for p in first])[kind],
        reciprocal_rank=np.array(reciprocal)[kind],
        recall=np.array(recall).reshape(len(recall_at), len(first))[:, kind],
    )


def _within(num: int, num_right: int, places: int) -> float:
    """How probable it is that a right one is among the first few."""
    missed = [max(0, num - places - n) / (num - n) for n in range(num_right)]
    return 1.0 - prod(missed)


def _of_first(num: int, num_right: int) -> Float64[np.ndarray, " place"]:
    """How probable each place is for the first right one."""
    places = np.zeros(num)
    left = 1.0
    for place in range(num if num_right else 0):
        here = min(1.0, num_right / (num - place))
        places[place] = left * here
        left *= 1 - here
    return places
