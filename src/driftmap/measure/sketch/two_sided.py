"""How is a gradient projected without being formed at all?

`G^T X` is projected by projecting its factors: `(P_o G^T) (X P_i^T)`, one product per
side and token. It is fast and unbiased, but gradients are nearly of low rank, so the
error falls as the fourth root of the numbers kept and not as the square root (the
projection of LoGra, arXiv:2405.13954, and Bergson; here with orthonormal rows).
"""

import hashlib

import numpy as np
import torch
from jaxtyping import Float, Float32, Float64
from torch import Tensor

from driftmap.core.places import TensorPlace
from driftmap.measure.sketch.folding import Sketched
from driftmap.signals.assembled import (
    add_at,
    only_looked_up,
    squared_sums,
    stretches,
    touched_rows,
    widened,
)
from driftmap.signals.gradients import LookedUpRows, OuterProducts, TensorSignal


class TwoSided:
    """The two-sided projection of one matrix; makes its projections once.

    Args:
        tensor: Which.
        shape: Its rows and columns, together more than `size`.
        size: Numbers of both independent pairs together, a power of two.
        seed: The projection's.
        device: Where the gradients are.
    """

    def __init__(
        self,
        tensor: TensorPlace,
        shape: tuple[int, int],
        size: int,
        *,
        seed: int,
        device: torch.device,
    ) -> None:
        kept_rows, kept_columns = sides(shape, size // 2)
        key = f"{seed}\x1f{tensor.name}"
        self._pairs = [
            (
                orthonormal_rows(kept_rows, shape[0], f"{key}\x1fo{half}").to(device),
                orthonormal_rows(kept_columns, shape[1], f"{key}\x1fi{half}").to(
                    device
                ),
            )
            for half in (0, 1)
        ]

    def __call__(self, signal: TensorSignal) -> Sketched:
        """Project what a batch showed; its exact energies are made beside it."""
        projected = [_projected(signal, out, into) for out, into in self._pairs]
        values = torch.cat([one.flatten(1) for one in projected], dim=1) / 2**0.5
        return Sketched(values=values, energy=exact_energy(signal))


def sides(shape: tuple[int, int], size: int) -> tuple[int, int]:
    """Rows and columns that are kept, `size` numbers together, as square as may be.

    >>> sides((4096, 4096), 512)
    (16, 32)
    >>> sides((5, 4096), 512)
    (4, 128)
    """
    rows, columns = (1 << (axis.bit_length() - 1) for axis in shape)
    kept = min(1 << ((size.bit_length() - 1) // 2), rows)
    kept = max(kept, size // columns)
    return kept, size // kept


def orthonormal_rows(kept: int, axis: int, key: str) -> Float32[Tensor, "kept axis"]:
    """Draw orthonormal rows, scaled so that squared lengths stay on average.

    Args:
        kept: Rows (count).
        axis: Length of the axis that is projected.
        key: What they are drawn from; other keys give independent rows.
    """
    digest = hashlib.blake2b(f"two-sided\x1f{key}".encode(), digest_size=16).digest()
    source = np.random.Generator(np.random.Philox(key=int.from_bytes(digest, "little")))
    columns, _ = np.linalg.qr(source.standard_normal((axis, kept)))
    return torch.from_numpy(columns.T * (axis / kept) ** 0.5).float()


def exact_energy(signal: TensorSignal) -> Float64[Tensor, " sample"]:
    """Squared length of each gradient, by the cheapest exact way.

    Grams of tokens where the text is short, the looked-up rows of a table, and else
    the gradient itself, a stretch at a time.
    """
    if only_looked_up(signal):
        touched = touched_rows(signal)
        energy = touched.values.new_zeros(len(signal.sample_ids), dtype=torch.float64)
        add_at(energy, touched.sample, squared_sums(touched.values))
        return energy
    (first, *more) = signal.pieces
    if isinstance(first, OuterProducts) and not more:
        tokens, num_rows = first.gradients.shape[1:]
        num_columns = first.inputs.shape[2]
        if tokens * (num_rows + num_columns) < num_rows * num_columns:
            grams = [_gram(side) for side in (first.inputs, first.gradients)]
            return (grams[0].double() * grams[1].double()).sum(dim=(1, 2))
    return sum(
        (squared_sums(stretch.values) for stretch in stretches(signal)),
        start=torch.zeros((), dtype=torch.float64),
    )


def _projected(
    signal: TensorSignal,
    out: Float[Tensor, "row out"],
    into: Float[Tensor, "column in"],
) -> Float[Tensor, "sample row column"]:
    parts = []
    for piece in signal.pieces:
        if isinstance(piece, OuterProducts):
            left = widened(piece.gradients) @ out.T.to(widened(piece.gradients).dtype)
            right = widened(piece.inputs)
        else:
            assert isinstance(piece, LookedUpRows), "whole gradients are folded"
            left = out.T[piece.ids] * (piece.counted[:, :, None] * piece.scale)
            right = widened(piece.gradients)
        right = right @ into.T.to(right.dtype)
        parts.append(left.to(right.dtype).transpose(1, 2) @ right)
    return torch.stack(parts).sum(dim=0)


def _gram(
    side: Float[Tensor, "sample token unit"],
) -> Float[Tensor, "sample token token"]:
    wide = widened(side)
    return wide @ wide.transpose(1, 2)
