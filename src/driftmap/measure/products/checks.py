"""Which gradients have no direction, and which numbers cannot be?"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float64
from numpy.typing import ArrayLike

from driftmap.core.errors import MeasureError
from driftmap.measure.products.factors import Factors
from driftmap.measure.products.pieces import PROMISE

NOISE = 64
"""Units in the last place below which a gradient is what rounding left of nothing."""


def settled_energies(
    name: str,
    sample_ids: Sequence[str],
    factors: Factors,
    energies: Float64[np.ndarray, " sample"],
) -> Float64[np.ndarray, " sample"]:
    """Squared norms, 0 where they are rounding noise.

    A sum that should be nothing, such as that of GPT-2's key bias, leaves noise of
    `eps^2 sum X^2 sum G^2`; below `(64 eps)^2` of it there is no direction.

    Raises:
        MeasureError: A number is NaN or infinite.
    """
    squares = factors.squares.cpu().numpy()
    broken = ~(np.isfinite(energies) & np.isfinite(squares))
    if broken.any():
        raise MeasureError(
            f"{name}: the gradient of {named(sample_ids, broken)} is NaN or infinite; "
            "do the model's weights hold NaN, or is its dtype too narrow?"
        )
    least = (NOISE * torch.finfo(factors.dtype).eps) ** 2 * squares
    return np.where(energies > least, energies, 0.0)


def require_direction(
    sample_ids: Sequence[str], energies: Float64[np.ndarray, "sample tensor"]
) -> None:
    """Refuse samples that move nothing.

    Raises:
        MeasureError: A sample's energy is zero everywhere.
    """
    still = ~energies.any(axis=1)
    if still.any():
        raise MeasureError(
            f"the gradient of {named(sample_ids, still)} is zero in every tensor; "
            "are all of its tokens masked?"
        )


def require_cosines(
    name: str,
    found: Float64[np.ndarray, " pair"],
    energies: tuple[Float64[np.ndarray, " pair"], Float64[np.ndarray, " pair"]],
    ids_of: Callable[[int], tuple[str, str]],
    promise: float = PROMISE,
) -> None:
    """Refuse products that no two gradients have.

    Args:
        name: The tensor.
        found: Inner products.
        energies: Squared norms of both sides.
        ids_of: Gives the ids of one pair.
        promise: Largest error of a cosine that is promised.

    Raises:
        MeasureError: A cosine is above 1 by more than five times the promise.
    """
    most = np.sqrt(energies[0] * energies[1]) * (1 + 5 * promise)
    beyond = np.abs(found) > most
    if beyond.any():
        at = int(beyond.argmax())
        cosine = found[at] / np.sqrt(energies[0][at] * energies[1][at])
        raise MeasureError(
            f"{name}: the cosine of {' and '.join(ids_of(at))} is {cosine:.7f}, which "
            "rounding does not explain; please report it with the model's name"
        )


def named(sample_ids: Sequence[str], flags: ArrayLike) -> list[str]:
    """Ids of the samples that are flagged."""
    return [i for i, flag in zip(sample_ids, np.asarray(flags), strict=True) if flag]
