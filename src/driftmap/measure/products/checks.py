"""Which gradients have no direction, and which numbers cannot be?"""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float64
from torch import Tensor

from driftmap.core.errors import MeasureError
from driftmap.measure.products.pieces import PROMISE
from driftmap.signals.assembled import check_finite, noise_floor
from driftmap.signals.gradients import TensorSignal


def settled_energies(
    signal: TensorSignal, energies: Float64[Tensor, " sample"]
) -> Float64[np.ndarray, " sample"]:
    """Squared norms, 0 where they are what rounding left of sums that cancel.

    Args:
        signal: What they are the norms of.
        energies: As they were computed.

    Raises:
        MeasureError: A number is NaN or infinite.
    """
    if not signal.pieces:
        return np.zeros(len(signal.sample_ids))
    check_finite(signal, energies)
    directed = energies > noise_floor(signal).to(energies.device)
    return (energies * directed).cpu().numpy()


def require_direction(
    sample_ids: Sequence[str], energies: Float64[np.ndarray, "sample tensor"]
) -> None:
    """Refuse samples that move nothing.

    Raises:
        MeasureError: A sample's energy is zero everywhere.

    >>> require_direction(["s7"], np.zeros((1, 2)))
    Traceback (most recent call last):
        ...
    driftmap.core.errors.MeasureError: the gradient of ['s7'] is zero in every tensor; \
are all of its tokens masked?
    """
    moved = energies.sum(axis=1).tolist()
    named = [i for i, one in zip(sample_ids, moved, strict=True) if not one]
    if named:
        raise MeasureError(
            f"the gradient of {named} is zero in every tensor; "
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
