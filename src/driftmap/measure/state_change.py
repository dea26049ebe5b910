"""How far does a state turn, and how far does it move, between two models?

The cosine is 1 - |u - v|^2 / 2 of both states at length 1: exactly 1 for equal states,
and without the rounding that a product of nearly equal vectors has. The relative change
is |after - before| / |before|.
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from driftmap.core.errors import MeasureError
from driftmap.results.readings_change import StateChange

States = Float[Tensor, "head token width"]


def state_change(before: Sequence[States], after: Sequence[States]) -> StateChange:
    """Compare states of two models, layer by layer.

    Args:
        before: By layer. Layers may hold different numbers of heads, and the last
            tokens of a text alone; what a layer does not hold is NaN.
        after: The same of the other model.

    Raises:
        MeasureError: There is no layer, or the two differ in shape.

    >>> first = torch.tensor([[[3.0, 4.0]]])
    >>> found = state_change([first, first], [first, torch.tensor([[[0.0, 4.0]]])])
    >>> found.relative[:, 0, 0].tolist(), found.cosine[:, 0, 0].round(4).tolist()
    ([0.0, 0.6000000238418579], [1.0, 0.800000011920929])
    """
    shapes = [[tuple(one.shape) for one in some] for some in (before, after)]
    if not before or shapes[0] != shapes[1]:
        raise MeasureError(
            f"states of shapes {shapes[0][:3]} and {shapes[1][:3]} cannot be compared; "
            "do both models have the same layers?"
        )
    heads, tokens = (max(shape[axis] for shape in shapes[0]) for axis in (0, 1))
    cosine = np.full((len(before), heads, tokens), np.nan, np.float32)
    relative = cosine.copy()
    for layer, (one, other) in enumerate(zip(before, after, strict=True)):
        held = slice(0, one.shape[0]), slice(tokens - one.shape[1], tokens)
        cosine[(layer, *held)], relative[(layer, *held)] = _change(one, other)
    return StateChange(cosine=cosine, relative=relative)


def _change(
    before: States, after: States
) -> tuple[Float64[np.ndarray, "head token"], Float64[np.ndarray, "head token"]]:
    before, after = before.cpu().double(), after.cpu().double()
    lengths = [torch.linalg.vector_norm(one, dim=-1) for one in (before, after)]
    moved = torch.linalg.vector_norm(after - before, dim=-1)
    # A state of length 0 has no direction; one that stays so has not moved.
    relative = torch.where(moved == 0, 0.0, moved / lengths[0])
    relative[relative.isinf()] = torch.nan
    turned = after / lengths[1][..., None] - before / lengths[0][..., None]
    cosine = 1 - turned.square().sum(-1) / 2
    cosine = torch.where(moved == 0, 1.0, cosine)
    return cosine.numpy(), relative.numpy()
