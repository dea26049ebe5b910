"""Which weights of a matrix does a rule take, given a score for each of them?

Every rule has one right answer: order is score descending, then flat index
ascending, on every device.
"""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float, Int64
from torch import Tensor

from driftmap.core.errors import MeasureError
from driftmap.core.places import Site

# Axes of mappings stay unnamed: one name has one size in all matrices of a call.
FlatIndex = Int64[np.ndarray, " _"]
Members = dict[Site, FlatIndex]
ScoreOf = Mapping[Site, Float[Tensor, "_ _"]]

_SAMPLE_SIZE = 1 << 16


def top(scores: ScoreOf, share: float) -> Members:
    """Take the highest scores of every matrix, at least one.

    Args:
        scores: Non-negative scores per matrix.
        share: Part of each matrix to take, 0 to 1; the count is rounded down.

    Returns:
        Flat indices per site, ascending.

    Raises:
        MeasureError: A score is negative or not finite, or the share is none.

    >>> import torch
    >>> site = Site(path="map", layer=0, part="q", num_rows=2, num_columns=2)
    >>> top({site: torch.tensor([[1.0, 3.0], [3.0, 3.0]])}, 0.5)[site]
    array([1, 2])
    """
    require_share(share)
    return {
        site: highest(site, score, max(1, count_of(share, site)))
        for site, score in scores.items()
    }


def require_share(share: float) -> None:
    """Refuse what is no part of a matrix."""
    if not 0 <= share <= 1:
        raise MeasureError(f"a share of {share} is none: give a number from 0 to 1")


def count_of(share: float, site: Site) -> int:
    """Weights in a share of a matrix, rounded down."""
    return int(share * site.num_weights)


def highest(site: Site, score: Tensor, count: int) -> FlatIndex:
    """Take so many of one matrix: score descending, then index ascending."""
    values = score.detach().reshape(-1)
    assert values.numel() == site.num_weights, site.key
    low, high = (bound.item() for bound in values.aminmax())
    if not (low >= 0 and high < float("inf")):
        raise MeasureError(
            f"{site.key}: a score is negative or not finite ({low} to {high}); "
            "are the model's weights damaged?"
        )
    if count == 0:
        return np.empty(0, dtype=np.int64)
    border = _kth_highest(values, count)
    above = (values > border).cpu().numpy()
    ties = np.flatnonzero((values == border).cpu().numpy())
    above[ties[: count - int(np.count_nonzero(above))]] = True
    return np.flatnonzero(above)


def _kth_highest(values: Tensor, count: int) -> Tensor:
    """Find the exact k-th value among the few that a strided sample lets through."""
    stride = values.numel() // _SAMPLE_SIZE | 1  # odd: meets every column
    sample = values[::stride]
    expected = count / values.numel() * sample.numel()
    rank = min(sample.numel(), int(1.1 * expected + 6 * expected**0.5) + 8)
    floor = sample.topk(rank, sorted=True).values[-1]
    likely = values[values >= floor]
    if likely.numel() < count:
        likely = values
    return likely.kthvalue(likely.numel() - count + 1).values
