"""Which cosine do sketches suggest, where the lengths of the gradients are known?

The inner product of two sketches estimates D with an error that does not vanish for
equal gradients. Lengths of the sketches show how far each is off, and the exact lengths
are known: the most likely D given all five is a root of

    D^3 - D^2 x + D (A b + B a - A B) - A B x = 0

(Improving Random Projections Using Marginal Information, COLT 2006). Its standard error
falls to 0 towards a cosine of 1, and a gradient's cosine with itself is exactly 1.
"""

import numpy as np
from jaxtyping import Float64

_STEPS = 80
"""Enough for bisection alone to find a root to the last digit."""


def margin_cosine(
    product: Float64[np.ndarray, "*pair"],
    sketched: Float64[np.ndarray, "*pair"],
    other_sketched: Float64[np.ndarray, "*pair"],
    energy: Float64[np.ndarray, "*pair"],
    other_energy: Float64[np.ndarray, "*pair"],
) -> Float64[np.ndarray, "*pair"]:
    """Find the most likely cosine of each pair.

    Sums over tensors go in before: the cosine of joined gradients comes from the sum
    of each argument over the tensors, not from cosines.

    Args:
        product: x, inner product of the sketches.
        sketched: a, squared length of one sketch.
        other_sketched: b, of the other.
        energy: A, squared length of the one gradient.
        other_energy: B, of the other.

    Returns:
        `D / sqrt(A B)`, from -1 to 1; NaN where a gradient has no direction.

    >>> four = np.array([4.0])
    >>> margin_cosine(0.9 * four, 0.9 * four, 0.9 * four, four, four)
    array([1.])
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        # In c = D / sqrt(AB): c^3 - u c^2 + s c - u.
        u = product / np.sqrt(energy * other_energy)
        s = sketched / energy + other_sketched / other_energy - 1
        c = product / np.sqrt(sketched * other_sketched)
    there = (energy > 0) & (other_energy > 0)
    c = np.clip(np.nan_to_num(c), -1, 1)
    # |s1 - s2|^2 and |s1 + s2|^2 are not negative, so the signs differ at -1 and 1.
    low, high = np.full_like(c, -1), np.ones_like(c)
    for _ in range(_STEPS):
        value = ((c - u) * c + s) * c - u
        slope = (3 * c - 2 * u) * c + s
        low, high = np.where(value < 0, c, low), np.where(value > 0, c, high)
        with np.errstate(divide="ignore", invalid="ignore"):
            step = c - value / slope
        inside = (step >= low) & (step <= high)
        found = np.where(value == 0, c, np.where(inside, step, (low + high) / 2))
        if np.array_equal(found, c, equal_nan=True):
            break
        c = found
    return np.where(there, c, np.nan)
