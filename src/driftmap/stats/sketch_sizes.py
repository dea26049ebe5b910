"""How many numbers does a projection keep of each tensor, and how do they then weigh?

A legacy projection, as published with gradient similarities of layers, keeps numbers in
proportion to a tensor's weights and does not divide by their count. So a tensor that
keeps k numbers adds k times its product, and the cosine of the joined numbers tends to
one that is weighted by tensor size, however many numbers are kept.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64

from driftmap.core.errors import MeasureError
from driftmap.core.places import TensorPlace
from driftmap.results.sketches import SketchSettings

BLOCK = 512
"""Legacy sizes are multiples of this, the width of the published kernel."""

LEGACY_WARNING = (
    "legacy projection weights tensors by size; its deviation from the exact cosine "
    "does not shrink with k"
)


def num_numbers(
    tensors: Sequence[TensorPlace], settings: SketchSettings
) -> tuple[int, ...]:
    """Count the numbers that are kept per tensor; never more than it has weights.

    Raises:
        MeasureError: The number of weights of a tensor is not known.

    >>> norm = TensorPlace(name="norm", part="norm", num_weights=64)
    >>> q = TensorPlace(name="q", part="q", num_weights=4096)
    >>> num_numbers([norm, q], SketchSettings(size=256))
    (64, 256)
    """
    weights = [_num_weights(tensor) for tensor in tensors]
    if settings.kind == "legacy":
        sizes = legacy_weights(tensors, settings.share).astype(int).tolist()
    else:
        sizes = [settings.size] * len(tensors)
    return tuple(map(min, weights, sizes))


def projection_weights(
    tensors: Sequence[TensorPlace], settings: SketchSettings
) -> Float64[np.ndarray, " tensor"]:
    """Weight of each tensor in sums over tensors: 1, but for a legacy projection."""
    if settings.kind == "legacy":
        return legacy_weights(tensors, settings.share)
    return np.ones(len(tensors))


def legacy_weights(
    tensors: Sequence[TensorPlace], share: float
) -> Float64[np.ndarray, " tensor"]:
    """Numbers that a legacy projection keeps per tensor, which are its weights too.

    All together are `share` of the model's weights, rounded to 512; of them a tensor
    gets its share, rounded to 512 (halves to even), and 512 at least.

    Args:
        tensors: All tensors of the model; slices of a fused one count as the one.
        share: Numbers kept, as a share of all weights, between 0 and 1.

    Raises:
        MeasureError: The number of weights of a tensor is not known.

    >>> sizes = [("a", 100_000), ("b", 924_000), ("c", 64)]
    >>> places = [TensorPlace(name=n, part="q", num_weights=w) for n, w in sizes]
    >>> legacy_weights(places, 0.01)
    array([1024., 9216.,  512.])
    """
    of_parameter: dict[str, int] = {}
    for tensor in tensors:
        known = of_parameter.get(tensor.parameter, 0)
        of_parameter[tensor.parameter] = known + _num_weights(tensor)
    everything = sum(of_parameter.values())
    total = BLOCK * round(share * everything / BLOCK)
    sizes = [
        max(
            BLOCK, BLOCK * round(total * of_parameter[t.parameter] / everything / BLOCK)
        )
        for t in tensors
    ]
    return np.array(sizes, dtype=np.float64)


def _num_weights(tensor: TensorPlace) -> int:
    if tensor.num_weights is None:
        raise MeasureError(
            f"{tensor.name}: its number of weights is not known, so no size of a "
            "projection follows; name the model"
        )
    return tensor.num_weights
