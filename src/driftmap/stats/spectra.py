"""In how many directions does a matrix change, and what would chance give?

A change of low rank has few directions whatever it was made of, so it is compared with
a random one of its own rank, shape and length: factors with independent entries, or
where there are none, a matrix with independent entries.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64
from scipy.stats import chi2

NUM_DRAWS = 16
"""Random factors whose singular values are averaged."""

_GRID = 4096
"""Points at which the density of Marchenko and Pastur is summed."""

LEVEL = 0.05
"""How often the largest of many random rows is above what `largest_by_chance` says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What a random change has in common with a change.

    Args:
        num_rows: Rows of the matrix.
        num_columns: Columns of it.
        rank: Of its factors; None where it has none.
    """

    num_rows: int
    num_columns: int
    rank: int | None = None

    @property
    def num_directions(self) -> int:
        """How many singular values there can be."""
        shorter = min(self.num_rows, self.num_columns)
        return shorter if self.rank is None else min(shorter, self.rank)


def effective_rank(values: Float64[np.ndarray, " direction"]) -> float:
    """Take exp of the entropy of singular values' shares (Roy and Vetterli 2007).

    >>> round(effective_rank(np.array([2.0, 2.0, 0.0])), 9)
    2.0
    """
    share = values[values > 0] / values.sum()
    return float(np.exp(-(share * np.log(share)).sum()))


def stable_rank(values: Float64[np.ndarray, " direction"]) -> float:
    """`|dW|_F^2 / |dW|_2^2` of singular values, not all zero.

    >>> stable_rank(np.array([2.0, 1.0, 1.0]))
    1.5
    """
    return float((values**2).sum() / values.max() ** 2)


def num_for_half(values: Float64[np.ndarray, " direction"]) -> int:
    """Least number of directions that hold half of `|dW|_F^2`; values descend.

    >>> num_for_half(np.array([2.0, 1.0, 1.0]))
    1
    """
    held = np.cumsum(values**2)
    return int(np.searchsorted(held, held[-1] / 2 * (1 - 1e-12))) + 1


def random_edge(shape: Shape, length: float) -> float:
    """The largest singular value of independent entries (Marchenko and Pastur 1967).

    `|dW|_F (1 / sqrt(out) + 1 / sqrt(in))`, whatever the rank: what stands out above
    it is no noise in all directions.

    >>> random_edge(Shape(num_rows=4, num_columns=4), 2.0)
    2.0
    """
    return length * (shape.num_rows**-0.5 + shape.num_columns**-0.5)


def random_values(shape: Shape, length: float) -> Float64[np.ndarray, " direction"]:
    """Singular values of a random change, descending, all of them.

    Args:
        shape: Of a change.
        length: |dW|_F.

    Returns:
        The mean of several draws of factors, always the same ones; the quantiles of
        the limit law where there are no factors.
    """
    limited = shape.rank is not None and shape.num_directions == shape.rank
    values = _of_factors(shape) if limited else _of_entries(shape)
    return values * (length / np.sqrt((values**2).sum()))


def largest_by_chance(num_units: int, num_entries: int) -> float:
    """What the largest of many random rows reaches, over their root mean square.

    The square of a row of n independent entries is chi-squared with n degrees of
    freedom; a row of a product of rank r has about r.

    Args:
        num_units: Rows, or columns.
        num_entries: Degrees of freedom of each.

    >>> round(largest_by_chance(1, 1), 2)
    1.96
    """
    level = (1 - LEVEL) ** (1 / num_units)
    return float(np.sqrt(chi2.ppf(level, num_entries) / num_entries))


def _of_factors(shape: Shape) -> Float64[np.ndarray, " direction"]:
    """Of `R_B R_A^T`, whose factors are drawn without the matrices (Bartlett 1933)."""
    rng = np.random.default_rng(0)
    rank = shape.num_directions
    draws = []
    for _ in range(NUM_DRAWS):
        left = _triangle(rng, rank, shape.num_rows)
        right = _triangle(rng, rank, shape.num_columns)
        found = np.linalg.svd(left @ right.T, compute_uv=False)
        draws.append(found / np.sqrt((found**2).sum()))
    return np.mean(draws, axis=0)


def _triangle(
    rng: np.random.Generator, rank: int, num_units: int
) -> Float64[np.ndarray, "rank rank"]:
    """R of the QR of a matrix of independent entries, `[unit rank]`."""
    upper = np.triu(rng.normal(size=(rank, rank)), 1)
    freedom = num_units - np.arange(rank)
    return upper + np.diag(np.sqrt(rng.chisquare(freedom)))


def _of_entries(shape: Shape) -> Float64[np.ndarray, " direction"]:
    short, long = sorted((shape.num_rows, shape.num_columns))
    ratio = short / long
    low, high = (1 - ratio**0.5) ** 2, (1 + ratio**0.5) ** 2
    # x = middle - reach cos(angle) takes the roots out of the density.
    angle = (np.arange(_GRID) + 0.5) * np.pi / _GRID
    points = (low + high) / 2 - (high - low) / 2 * np.cos(angle)
    mass = np.cumsum(np.sin(angle) ** 2 / points)
    levels = (np.arange(short) + 0.5) / short
    squares = np.interp(levels, mass / mass[-1], points)
    return np.sqrt(squares)[::-1]
