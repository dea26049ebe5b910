"""Signals of made-up tensors, and their gradients by the slowest way there is."""

import torch

from driftmap.core.places import TensorPlace
from driftmap.signals.gradients import (
    LookedUpRows,
    OuterProducts,
    TensorSignal,
    WholeGradients,
)


def signal(pieces, shape, name="t", first=0, part="q"):
    count = len(naive(pieces, shape))
    return TensorSignal(
        tensor=TensorPlace(
            name=name, part=part, num_weights=int(torch.Size(shape).numel())
        ),
        shape=shape,
        sample_ids=tuple(f"s{first + i}" for i in range(count)),
        sample_index=tuple(range(first, first + count)),
        pieces=pieces,
    )


def outer(rows, columns, *, samples=3, tokens=5, seed=0, dtype=torch.float32):
    draw = torch.Generator().manual_seed(seed)
    return OuterProducts(
        inputs=torch.randn(samples, tokens, columns, generator=draw, dtype=dtype),
        gradients=torch.randn(samples, tokens, rows, generator=draw, dtype=dtype),
    )


def looked_up(rows, width, *, samples=3, tokens=5, scale=1.0, seed=0):
    draw = torch.Generator().manual_seed(seed + 100)
    return LookedUpRows(
        ids=torch.randint(0, rows, (samples, tokens), generator=draw),
        gradients=torch.randn(samples, tokens, width, generator=draw),
        counted=torch.rand(samples, tokens, generator=draw) < 0.8,
        scale=scale,
    )


def vectors(weights, *, samples=3, seed=0):
    draw = torch.Generator().manual_seed(seed + 200)
    values = torch.randn(samples, weights, generator=draw)
    return WholeGradients(values=values, summed_squares=values.double().square().sum(1))


def naive(pieces, shape):
    """Gradients in float64, one token at a time: `[sample, weight]`."""
    total = 0
    for piece in pieces:
        if isinstance(piece, WholeGradients):
            total = total + piece.values.double().flatten(1)
            continue
        count, tokens = piece.gradients.shape[:2]
        made = torch.zeros(count, *shape, dtype=torch.float64)
        for s in range(count):
            for t in range(tokens):
                given = piece.gradients[s, t].double()
                if isinstance(piece, OuterProducts):
                    made[s] += torch.outer(given, piece.inputs[s, t].double())
                elif piece.counted[s, t]:
                    made[s, piece.ids[s, t]] += piece.scale * given
        total = total + made.flatten(1)
    return total
