"""The naive way for every shape of change: merge in float64, subtract, look."""

import numpy as np
import torch

from driftmap.measure.drift import dense_change, matrix_moments, weight_change
from driftmap.signals.changes import DenseChange, DoraFactors, MaskedFactors
from driftmap.signals.factors import LoraFactors


def random_factors(seed=0, *, rows=6, columns=9, rank=3, scale=2.0):
    draw = torch.Generator().manual_seed(seed)
    return LoraFactors(
        down=torch.randn(rank, columns, generator=draw, dtype=torch.float64),
        up=torch.randn(rows, rank, generator=draw, dtype=torch.float64),
        scale=scale,
    )


def random_weight(seed=5, *, rows=6, columns=9):
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(rows, columns, generator=draw)


def random_changes(seed=0, weight=None):
    """One of every kind, on the same factors."""
    weight = random_weight() if weight is None else weight
    lora = random_factors(seed)
    draw = torch.Generator().manual_seed(seed + 50)
    length = weight.double().norm(dim=1)
    return {
        "lora": lora,
        "dora": DoraFactors(
            factors=lora, magnitude=length * (1 + torch.rand(6, generator=draw))
        ),
        "started": DoraFactors(
            factors=lora,
            magnitude=length * (1 + torch.rand(6, generator=draw)),
            start=length.bfloat16().double(),
        ),
        "masked": MaskedFactors(factors=lora, frozen=np.array([0, 4, 9, 10, 17, 53])),
        "dense": DenseChange(
            values=torch.randn(6, 9, generator=draw, dtype=torch.float64)
        ),
    }


def naive_change(change, weight):
    """The change of one matrix, row by row from the definition."""
    if isinstance(change, DenseChange):
        return change.values.clone()
    lora = change if isinstance(change, LoraFactors) else change.factors
    added = lora.scale * (lora.up @ lora.down)
    if isinstance(change, MaskedFactors):
        mask = torch.zeros(added.numel(), dtype=torch.bool)
        mask[torch.from_numpy(change.frozen)] = True
        return torch.where(mask.reshape(added.shape), 0.0, added)
    if isinstance(change, DoraFactors):
        base = weight.double()
        for row in range(len(base)):
            merged = base[row] + added[row]
            aim = change.magnitude[row]
            if change.start is not None:
                aim = aim / change.start[row] * torch.linalg.vector_norm(base[row])
            added[row] = merged * aim / torch.linalg.vector_norm(merged) - base[row]
    return added


def assert_equals_naive(change, weight, reference=None):
    """Weights, rows and columns of the change equal the merged ones."""
    moved, before = naive_change(change, weight), weight.double()
    if reference is not None:
        then = naive_change(reference, weight)
        moved, before = moved - then, before + then
    size = moved.abs().max().item()
    index = np.random.default_rng(0).permutation(moved.numel())
    np.testing.assert_allclose(
        weight_change(change, reference, index, weight),
        moved.flatten()[index], rtol=1e-9, atol=1e-13 * size,
    )  # fmt: skip
    dense = dense_change(change, reference, weight=weight)
    np.testing.assert_allclose(dense, moved, rtol=1e-9, atol=1e-13 * size)
    got = matrix_moments(weight, change, reference)
    for axis, part in ((1, got.rows), (0, got.columns)):
        for name, value in (
            ("weight", before * before), ("cross", before * moved),
            ("change", moved * moved),
        ):  # fmt: skip
            np.testing.assert_allclose(
                getattr(part, name), value.sum(axis), rtol=1e-9, atol=1e-12
            )
