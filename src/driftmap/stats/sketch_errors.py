"""How far is an estimate from sketches off?

What theory says for k numbers, and what the two halves of the sketches themselves say:
with x1 and x2 their two estimates, the standard error of the mean of both is
`|x1 - x2| / 2`.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float64

from driftmap.results.pair_products import NONE
from driftmap.results.sketches import SketchedCosines, SketchedProducts
from driftmap.stats.margin import margin_cosine

Estimator = Literal["plain", "normed", "margin"]
"""`plain`: over exact lengths; `normed`: over lengths of sketches; `margin`: both."""


def sketched_cosines(
    sketched: SketchedProducts,
    chosen: Sequence[int] | None = None,
    weights: Float64[np.ndarray, " tensor"] | None = None,
) -> SketchedCosines:
    """Estimate the cosines of the gradients of some tensors, joined, in three ways.

    Args:
        sketched: From sketches.
        chosen: Numbers of the tensors; all by default.
        weights: One weight of every tensor; the projection's own by default.

    Returns:
        All three estimates, and the standard error that the halves tell of the first.
    """
    columns = np.arange(len(sketched.weights)) if chosen is None else np.array(chosen)
    factor = (sketched.weights if weights is None else weights)[columns]
    pairs, taken = sketched.products, sketched.products.candidates

    def joined(values: Float64[np.ndarray, "*pair tensor"]) -> np.ndarray:
        return values[..., columns] @ factor

    x = joined(pairs.dot)
    a = joined(sketched.query_length)[:, None] + np.zeros_like(x)
    b = joined(sketched.original_length)[taken]
    energy = joined(pairs.query_energy)[:, None] + np.zeros_like(x)
    other_energy = joined(pairs.original_energy)[taken]
    with np.errstate(divide="ignore", invalid="ignore"):
        length = np.where(taken == NONE, np.nan, np.sqrt(energy * other_energy))
        length[length == 0] = np.nan
        plain = x / length
        normed = np.where(np.isnan(length), np.nan, x / np.sqrt(a * b))
    margin = margin_cosine(x, a, b, energy, other_energy)
    return SketchedCosines(
        plain=plain,
        normed=normed,
        margin=np.where(np.isnan(length), np.nan, margin),
        told_error=np.abs(joined(sketched.difference)) / 2 / length,
    )


def told_errors(sketched: SketchedProducts) -> Float64[np.ndarray, " tensor"]:
    """Standard error of plain cosines per tensor, as the two halves tell it.

    Returns:
        `rms((x1 - x2) / 2 / sqrt(A B))` over all pairs with a direction; 0 where rows
        hold the gradient itself, NaN where no pair has a direction.
    """
    count = len(sketched.weights)
    return np.array([told_error(sketched, [number]) for number in range(count)])


def told_error(
    sketched: SketchedProducts,
    chosen: Sequence[int] | None = None,
    weights: Float64[np.ndarray, " tensor"] | None = None,
) -> float:
    """The same of the gradients of some tensors, joined; all by default."""
    told = sketched_cosines(sketched, chosen, weights).told_error
    told = told[np.isfinite(told)]
    return float(np.sqrt(np.mean(np.square(told)))) if told.size else float("nan")


def dot_errors(
    sketched: SketchedProducts,
) -> Float64[np.ndarray, "query candidate tensor"]:
    """Standard error of each product: its tensor's told error times `sqrt(A B)`.

    One pair's halves tell its own error too roughly; all pairs of a tensor together
    tell it to a few percent. 0 where there is no candidate, or no direction.
    """
    pairs, taken = sketched.products, sketched.products.candidates
    squares = pairs.query_energy[:, None, :] * pairs.original_energy[taken]
    squares[taken == NONE] = 0
    return np.sqrt(squares) * np.nan_to_num(told_errors(sketched))


def cosine_error(
    cosine: Float64[np.ndarray, "*pair"], num_numbers: int, estimator: Estimator
) -> Float64[np.ndarray, "*pair"]:
    """Standard error of a tensor's cosine by theory, for a signed fold.

    Args:
        cosine: The true one, or its estimate.
        num_numbers: Numbers kept (count).
        estimator: How the cosine was made.

    >>> cosine_error(np.array([0.0, 1.0]), 1024, "plain")
    array([0.03125   , 0.04419417])
    >>> cosine_error(np.array([0.0, 1.0]), 1024, "margin")
    array([0.03125, 0.     ])
    """
    square = np.square(cosine)
    if estimator == "plain":
        return np.sqrt((1 + square) / num_numbers)
    if estimator == "normed":
        return (1 - square) / np.sqrt(num_numbers)
    return (1 - square) / np.sqrt((1 + square) * num_numbers)


def full_error(
    sketched: SketchedProducts,
    weights: Float64[np.ndarray, " tensor"] | None = None,
) -> Float64[np.ndarray, "query original"]:
    """Standard error of the plain cosine of whole gradients by theory, for small ones.

    Args:
        sketched: From a signed fold; its exact tensors add no error.
        weights: One weight per tensor; the projection's own by default.

    Returns:
        `sqrt(sum_l e_l(q) e_l(o) / k_l)`, e = shares of energy; NaN without energy.
    """
    factor = sketched.weights if weights is None else weights
    shares = [
        _shares(energies * factor)
        for energies in (
            sketched.products.query_energy,
            sketched.products.original_energy,
        )
    ]
    per_number = np.where(
        _flags(sketched.is_exact), 0.0, 1 / np.array(sketched.num_numbers)
    )
    return np.sqrt((shares[0] * per_number) @ shares[1].T)


def _shares(
    energies: Float64[np.ndarray, "sample tensor"],
) -> Float64[np.ndarray, "sample tensor"]:
    total = energies.sum(axis=1, keepdims=True)
    return energies / np.where(total > 0, total, np.nan)


def _flags(values: Sequence[bool]) -> Bool[np.ndarray, " tensor"]:
    return np.array(values, dtype=bool)
