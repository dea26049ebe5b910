"""How is the gradient itself made, a few of its rows at a time?"""

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from driftmap.measure.products.factors import Factors, Rows

TILE = 2**20
"""Numbers made at once, of all samples of a batch together (count); on a GPU more."""

TILE_ON_GPU = 2**25


def formed_tiles(factors: Factors) -> Iterator[tuple[slice, Tensor]]:
    """Make the gradients of a batch, tile by tile.

    Yields:
        Which of the tensor's numbers, and those numbers as `[sample weight]`.
    """
    height, width = factors.shape
    room = TILE if factors.device.type == "cpu" else TILE_ON_GPU
    step = max(1, room // (factors.num_samples * width))
    for start in range(0, height, step):
        stop = min(start + step, height)
        yield slice(start * width, stop * width), _formed(factors, start, stop)


def _formed(factors: Factors, start: int, stop: int) -> Float[Tensor, "sample weight"]:
    width, outer = factors.shape[1], factors.outer
    if outer is None:
        made = torch.zeros(
            factors.num_samples,
            (stop - start) * width,
            dtype=factors.dtype,
            device=factors.device,
        )
    else:
        gradients = outer.gradients[:, :, start:stop].transpose(1, 2)
        made = torch.bmm(gradients, outer.inputs).flatten(start_dim=1)
    if factors.whole is not None:
        made += factors.whole[:, start * width : stop * width]
    if factors.rows is not None:
        _add_rows(made.unflatten(1, (-1, width)), factors.rows, start)
    return made


def _add_rows(made: Float[Tensor, "sample row width"], rows: Rows, start: int) -> None:
    """Every sample has each row once, so nothing depends on an order."""
    here = (rows.row >= start) & (rows.row < start + made.shape[1])
    sample, row = rows.sample[here], rows.row[here] - start
    made[sample, row] += rows.values[here]
