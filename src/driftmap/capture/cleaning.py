"""Is a captured tensor one row per sample and token, finite, and zero at padding?"""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from driftmap.core.errors import MeasureError


def clean(
    values: Tensor,
    real: Bool[Tensor, "sample token"],
    sample_ids: Sequence[str],
    name: str,
    what: str,
) -> Float[Tensor, "sample token unit"]:
    """Bring to `[sample token unit]`, zero where no token is, finite elsewhere.

    Args:
        values: `[sample token unit]`, or with samples and tokens on one axis, or with
            axes of length 1 between them.
        real: False where values mean nothing.
        sample_ids: One id per sample.
        name: Where the values were found, for messages.
        what: What they are, for messages.

    Raises:
        MeasureError: The values have another shape, or one of them is not finite.
    """
    shape = real.shape
    if values.shape[:-1] != shape:
        flat = values.ndim == 2 and len(values) == real.numel()
        if not flat and _without_ones(values.shape[:-1]) != _without_ones(shape):
            raise MeasureError(
                f"{name}: its {what} has shape {tuple(values.shape)}, "
                f"which is not sample x token {tuple(shape)}; leave the site out"
            )
        values = values.reshape(*shape, -1)
    if not bool(real.all()):
        values = values.masked_fill(~real.to(values.device)[..., None], 0)
    require_finite(values, sample_ids, name, what)
    return values


def _without_ones(shape: Sequence[int]) -> list[int]:
    """Latent attention puts an axis of one head between samples and tokens."""
    return [length for length in shape if length != 1]


def require_finite(
    values: Float[Tensor, "..."],
    sample_ids: Sequence[str],
    name: str,
    what: str,
) -> None:
    """Refuse infinities and what is no number, naming the first sample that has one.

    Args:
        values: One row per sample.
        sample_ids: One id per sample.
        name: Where the values were found, for messages.
        what: What they are, for messages.

    Raises:
        MeasureError: There is one.
    """
    low, high = values.aminmax()
    if bool(torch.isfinite(high - low)):
        return
    broken = ~torch.isfinite(values).flatten(1).all(dim=1)
    if bool(broken.any()):
        named = zip(sample_ids, broken.tolist(), strict=True)
        raise MeasureError(
            f"{name}: the {what} of sample "
            f"{next(i for i, flag in named if flag)} is not finite; are "
            "the weights damaged, or is the dtype too narrow?"
        )
