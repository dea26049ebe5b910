"""Hand-made signals of gradients, and the gradients themselves by plain loops."""

from dataclasses import dataclass

import numpy as np
import torch

from driftmap.core.places import TensorPlace
from driftmap.signals.gradients import (
    LookedUpRows,
    OuterProducts,
    TensorSignal,
    WholeGradients,
)

HIDDEN, VOCABULARY = 6, 11


@dataclass(frozen=True, kw_only=True)
class MadeTensor:
    """One tensor of a made-up model."""

    name: str
    kind: str  # map, twice, table, tied, vector
    shape: tuple[int, ...]

    @property
    def place(self):
        size = int(np.prod(self.shape))
        return TensorPlace(name=self.name, part="up", layer=0, num_weights=size)


TENSORS = (
    MadeTensor(name="tied", kind="tied", shape=(VOCABULARY, HIDDEN)),
    MadeTensor(name="positions", kind="table", shape=(40, HIDDEN)),
    MadeTensor(name="q", kind="map", shape=(4, HIDDEN)),
    MadeTensor(name="k", kind="map", shape=(3, HIDDEN)),
    MadeTensor(name="twice", kind="twice", shape=(5, HIDDEN)),
    MadeTensor(name="norm", kind="vector", shape=(HIDDEN,)),
)


@dataclass(frozen=True, kw_only=True)
class MadeSample:
    """Everything random about one sample, without padding."""

    id: str
    ids: torch.Tensor
    values: dict[str, list[torch.Tensor]]


def made_samples(count, *, seed, prefix="s", dtype=torch.float32, longest=7):
    """Samples of one to `longest` tokens."""
    random = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=random, dtype=torch.float64).to(dtype)

    samples = []
    for number in range(count):
        length = int(torch.randint(1, longest + 1, (), generator=random))
        ids = torch.randint(0, VOCABULARY, (length,), generator=random)
        shared, values = normal(length, HIDDEN), {}
        for tensor in TENSORS:
            if tensor.kind == "vector":
                values[tensor.name] = [normal(*tensor.shape)]
                continue
            given = shared if tensor.name in "qk" else normal(length, HIDDEN)
            width = HIDDEN if tensor.kind == "table" else tensor.shape[0]
            values[tensor.name] = [given, normal(length, width)]
            if tensor.kind in ("tied", "twice"):
                more = HIDDEN if tensor.kind == "tied" else tensor.shape[0]
                values[tensor.name] += [normal(length, HIDDEN), normal(length, more)]
        samples.append(MadeSample(id=f"{prefix}{number}", ids=ids, values=values))
    return samples


def true_gradient(sample, tensor, *, scale=1.0, unread=None):
    """One sample's gradient in float64, token by token."""
    values = [v.double() for v in sample.values[tensor.name]]
    if tensor.kind == "vector":
        return values[0].numpy()
    total = np.zeros(tensor.shape)
    for token, row in enumerate(sample.ids.tolist()):
        if tensor.kind == "table":
            total[token] += scale * values[1][token].numpy()
            continue
        total += np.outer(values[1][token], values[0][token])
        if tensor.kind == "twice":
            total += np.outer(values[3][token], values[2][token])
        if tensor.kind == "tied" and row != unread:
            total[row] += scale * values[3][token].numpy()
    return total


def true_products(queries, originals, tensor, **how):
    """D, A and B of one tensor in float64."""
    left = np.stack([true_gradient(s, tensor, **how).ravel() for s in queries])
    right = np.stack([true_gradient(s, tensor, **how).ravel() for s in originals])
    return left @ right.T, (left**2).sum(axis=1), (right**2).sum(axis=1)


def signals_of(
    samples, index, *, scale=1.0, unread=None, extra=0, terms=1.0, tensors=TENSORS
):
    """Signals of one padded batch.

    Args:
        samples: All samples of the set.
        index: Numbers of those in the batch.
        scale: Of both tables.
        unread: Row of the tied table that is not counted when looked up.
        terms: What the vectors' squares were summed over.
        extra: Tokens of padding beyond the longest sample.
    """
    chosen = [samples[i] for i in index]
    length = max(len(s.ids) for s in chosen) + extra
    ids = _padded([s.ids for s in chosen], length)
    real = _padded([torch.ones(len(s.ids), dtype=torch.bool) for s in chosen], length)
    shared = _padded([s.values["q"][0] for s in chosen], length)
    for tensor in tensors:
        found = [s.values[tensor.name] for s in chosen]
        each = [
            _padded(list(column), length) if tensor.kind != "vector" else None
            for column in zip(*found, strict=True)
        ]
        if tensor.kind == "vector":
            values = torch.stack([v[0] for v in found])
            squares = terms * values.double().square().sum(dim=1).clamp(min=1)
            pieces = (WholeGradients(values=values, summed_squares=squares),)
        elif tensor.kind == "table":
            place = torch.arange(length).expand(len(chosen), -1)
            pieces = (
                LookedUpRows(ids=place, gradients=each[1], counted=real, scale=scale),
            )
        else:
            is_shared = tensor.name in ("q", "k")
            inputs = shared if is_shared else each[0]
            key = 7 if is_shared else 0
            pieces = (OuterProducts(inputs=inputs, gradients=each[1], inputs_key=key),)
            if tensor.kind == "twice":
                pieces += (OuterProducts(inputs=each[2], gradients=each[3]),)
            if tensor.kind == "tied":
                counted = real if unread is None else real & (ids != unread)
                pieces += (
                    LookedUpRows(
                        ids=ids, gradients=each[3], counted=counted, scale=scale
                    ),
                )
        yield TensorSignal(
            tensor=tensor.place,
            shape=tensor.shape,
            sample_ids=tuple(s.id for s in chosen),
            sample_index=tuple(index),
            pieces=pieces,
        )


def batches_of(count, size):
    """Numbers of the samples of every batch."""
    return [list(range(a, min(a + size, count))) for a in range(0, count, size)]


def _padded(values, length):
    full = values[0].new_zeros(len(values), length, *values[0].shape[1:])
    for row, value in enumerate(values):
        full[row, : len(value)] = value
    return full
