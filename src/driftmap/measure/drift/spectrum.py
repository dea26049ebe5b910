"""In how many directions did training change a matrix?

The singular values of plain factors come from their QR: `s R_B R_A^T` is as small as
their rank. Any other change is made whole, one matrix at a time.
"""

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from driftmap.measure.drift.change import changed_rows
from driftmap.measure.drift.settled import Settled, shape_of
from driftmap.results.weight_changes import Spectrum
from driftmap.signals.factors import LoraFactors
from driftmap.stats.spectra import (
    Shape,
    effective_rank,
    num_for_half,
    random_edge,
    random_values,
    stable_rank,
)

MOST_VALUES = 64
"""Singular values that are kept; sums are over all."""

LARGEST_SIDE = 1024
"""Shorter side up to which singular values are taken from dW itself; above, from the
product of dW with itself, several times as fast and exact but for values below a
millionth of the largest."""


def spectrum(change: Settled, weight: Float[Tensor, "row column"] | None) -> Spectrum:
    """Directions of a change that is not zero.

    Args:
        change: What `difference` returned.
        weight: The matrix under the adapter. Only DoRA needs it.

    Returns:
        Its largest singular values, and the same of a random change.
    """
    shape = random_shape(change)
    values = singular_values(change, weight)
    length = float(np.sqrt((values**2).sum()))
    chance = random_values(shape, length)
    return Spectrum(
        values=values[:MOST_VALUES],
        num_directions=shape.num_directions,
        stable_rank=stable_rank(values),
        effective_rank=effective_rank(values),
        half=num_for_half(values),
        chance_values=chance[:MOST_VALUES],
        chance_effective_rank=effective_rank(chance),
        chance_half=num_for_half(chance),
        edge=random_edge(shape, length),
    )


def random_shape(change: Settled) -> Shape:
    """What a random change has in common with this one."""
    num_rows, num_columns = shape_of(change)
    rank = len(change.down) if isinstance(change, LoraFactors) else None
    return Shape(num_rows=num_rows, num_columns=num_columns, rank=rank)


def singular_values(
    change: Settled, weight: Float[Tensor, "row column"] | None
) -> Float64[np.ndarray, " direction"]:
    """All singular values of a change, descending; of factors as many as their rank."""
    if isinstance(change, LoraFactors) and len(change.down) < min(shape_of(change)):
        over_rows = torch.linalg.qr(change.up, mode="r").R
        over_columns = torch.linalg.qr(change.down.T, mode="r").R
        return torch.linalg.svdvals(over_rows @ over_columns.T).numpy()
    moved = changed_rows(change, slice(None), weight)
    if min(moved.shape) <= LARGEST_SIDE:
        return torch.linalg.svdvals(moved).numpy()
    tall = moved if moved.shape[0] >= moved.shape[1] else moved.T
    squares = torch.linalg.eigvalsh(tall.T @ tall).flip(0)
    return squares.clamp(min=0).sqrt().numpy()
