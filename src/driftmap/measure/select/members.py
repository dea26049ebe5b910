"""Which weights belong to a group, given a score for each of them?

Order is score descending, then canonical order of the matrices, then flat index
ascending, on every device; scores are compared as float32.
"""

from typing import Literal

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor

from driftmap.core.errors import MeasureError
from driftmap.measure.select.picking import Picker
from driftmap.measure.select.ranked import (
    Cut,
    FlatIndex,
    Members,
    ScoreOf,
    sorting_keys,
)
from driftmap.results.rules import Per

_BLOCK = 1 << 22


def top(scores: ScoreOf, share: float, *, per: Per = "matrix") -> Members:
    """Take the highest scores, at least one wherever a share is taken.

    Args:
        scores: Non-negative scores per matrix.
        share: Part to take, 0 to 1; the count is rounded down.
        per: Of what: each matrix, each row, the matrices of a layer together, or all
            matrices together.

    Returns:
        Flat indices per site, ascending.

    Raises:
        MeasureError: A score is negative or not finite, or the share is none.

    >>> import torch
    >>> from driftmap.core.places import Site
    >>> site = Site(path="map", layer=0, part="q", num_rows=2, num_columns=2)
    >>> top({site: torch.tensor([[1.0, 3.0], [3.0, 3.0]])}, 0.5)[site]
    array([1, 2])
    """
    return _taken(scores, Cut(share=share, at_least=1), per, "highest")


def lowest(scores: ScoreOf, share: float, *, per: Per = "matrix") -> Members:
    """Take the lowest scores, as pruning does; of equals the first.

    Wanda and SNIP are pruned `per="row"` (Sun et al. 2024, section 3), magnitude
    `per="matrix"`.

    Args:
        scores: Non-negative scores per matrix.
        share: Part to take, 0 to 1; the count is rounded down, and may be 0.
        per: Of what: each matrix, each row, the matrices of a layer together, or all
            matrices together.

    Returns:
        Flat indices per site, ascending.

    Raises:
        MeasureError: A score is negative or not finite, or the share is none.

    >>> import torch
    >>> from driftmap.core.places import Site
    >>> site = Site(path="map", layer=0, part="q", num_rows=2, num_columns=2)
    >>> lowest({site: torch.tensor([[1.0, 3.0], [3.0, 3.0]])}, 0.5, per="row")[site]
    array([0, 2])
    """
    return _taken(scores, Cut(share=share), per, "lowest")


def n_of_m(
    scores: ScoreOf, n: int, m: int, end: Literal["highest", "lowest"] = "lowest"
) -> Members:
    """Take n of every m consecutive inputs of a row, as n:m pruning does.

    Args:
        scores: Non-negative scores per matrix.
        n: Weights to take, 1 to m - 1.
        m: Length of a piece, of which the number of columns is a multiple.
        end: Which n: those of the lowest scores, which leaves m - n of every piece, or
            those of the highest.

    Returns:
        Flat indices per site, ascending.

    Raises:
        MeasureError: A score is negative or not finite, rows cannot be cut into
            pieces of m, or n is not below m.

    >>> import torch
    >>> from driftmap.core.places import Site
    >>> site = Site(path="map", layer=0, part="q", num_rows=1, num_columns=4)
    >>> n_of_m({site: torch.tensor([[4.0, 1.0, 2.0, 2.0]])}, 2, 4)[site]
    array([1, 2])
    """
    if not 0 < n < m:
        raise MeasureError(f"{n}:{m} is none: give n from 1 to below m, as in 2:4")
    members: Members = {}
    for site, score in scores.items():
        if site.num_columns % m:
            raise MeasureError(
                f"{site.key}: {site.num_columns} columns cannot be cut into pieces of "
                f"{m}; give an m of which {site.num_columns} is a multiple"
            )
        keys = sorting_keys(site, score, lowest=end == "lowest").reshape(-1)
        members[site] = np.concatenate(
            [
                start + _first_of_pieces(keys[start : start + _BLOCK * m], n, m)
                for start in range(0, keys.numel(), _BLOCK * m)
            ]
        )
    return members


def _taken(
    scores: ScoreOf, cut: Cut, per: Per, end: Literal["highest", "lowest"]
) -> Members:
    picker = Picker(tuple(scores), [cut], per=per, lowest=end == "lowest")
    members: Members = {}
    for site, score in scores.items():
        picked = picker.add(site, score)
        members |= {one: ranked.taken() for one, ranked in picked.items()}
    return members


def _first_of_pieces(keys: Float32[Tensor, " weight"], n: int, m: int) -> FlatIndex:
    """Count for each weight who comes before it in its piece."""
    pieces = keys.reshape(-1, m).T.contiguous()
    before = torch.zeros(pieces.shape, dtype=torch.uint8, device=keys.device)
    for here in range(m):
        for other in range(m):
            if other < here:
                before[here] += pieces[other] >= pieces[here]
            elif other > here:
                before[here] += pieces[other] > pieces[here]
    return np.flatnonzero((before < n).T.reshape(-1).cpu().numpy())
