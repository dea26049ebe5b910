"""How far are cosines off where a model computes in less than float32?

A whole pass in bfloat16 errs by 2e-3 to 8e-3 of a cosine, and by 4e-2 at worst. So a
few samples are repeated in float32, and what they differ by is told.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from jaxtyping import Float64
from torch import nn

from driftmap.capture.gradients import show_gradients
from driftmap.core.progress import phase, say
from driftmap.families.tensors import TensorRule
from driftmap.measure.products import (
    PairFold,
    Pairs,
    QueryKeeper,
    Workload,
    all_pairs,
)
from driftmap.results.pair_products import PairProducts
from driftmap.signals.batch import Batch


def told_deviation(
    model: nn.Module, rules: Sequence[TensorRule], batches: Sequence[Batch]
) -> dict[str, str]:
    """Say what cosines of a few samples change by in float32.

    Args:
        model: Left as it was found, bit for bit.
        rules: The tensors.
        batches: The samples.

    Returns:
        Words for the provenance; none where the model is in float32 or wider.
    """
    dtypes = {p.dtype for p in model.parameters() if p.is_floating_point()}
    narrow = [d for d in dtypes if torch.finfo(d).bits < 32]
    if not narrow:
        return {}
    with phase("a few samples in float32"):
        below = _cosines(model, rules, batches)
        with in_float32(model):
            wide = _cosines(model, rules, batches)
    gap = np.abs(below - wide)
    gap = gap[np.isfinite(gap)]
    if not len(gap):
        return {}
    count = sum(len(batch.sample_ids) for batch in batches)
    rms, most = float(np.sqrt(np.mean(gap**2))), float(gap.max())
    name = ", ".join(str(d).removeprefix("torch.") for d in narrow)
    told = f"rms {rms:.1e}, at most {most:.1e}"
    say(f"cosines in {name} are off by {told}, as {count} samples tell")
    return {"deviation": told}


@contextmanager
def in_float32(model: nn.Module) -> Iterator[None]:
    """Widen every narrower parameter and buffer for as long as the block runs."""
    held = [*model.parameters(), *model.buffers()]
    narrow = [
        (one, one.dtype)
        for one in held
        if one.is_floating_point() and torch.finfo(one.dtype).bits < 32
    ]
    try:
        for one, _ in narrow:
            one.data = one.data.float()
        yield
    finally:
        for one, dtype in narrow:
            one.data = one.data.to(dtype)


def _cosines(
    model: nn.Module, rules: Sequence[TensorRule], batches: Sequence[Batch]
) -> Float64[np.ndarray, "tensor pair"]:
    """Cosines of all samples with all others, tensor by tensor."""
    ids = dict(
        pair
        for batch in batches
        for pair in zip(batch.sample_index, batch.sample_ids, strict=True)
    )
    names = tuple(ids[index] for index in sorted(ids))
    tensors = tuple(place for rule in rules for place in rule.places)
    count, length = len(names), float(np.mean([b.real.shape[1] for b in batches]))
    products = PairProducts(
        queries=names,
        originals=names,
        candidates=all_pairs(count, count),
        tensors=tensors,
        dot=np.zeros((count, count, len(tensors))),
        query_energy=np.zeros((count, len(tensors))),
        original_energy=np.zeros((count, len(tensors))),
    )
    size = Workload(paired=count, query_tokens=length, original_tokens=length)
    keeper = QueryKeeper(tensors=tensors, energies=products.query_energy, workload=size)
    show_gradients(model, rules, batches, keeper.take)
    fold = PairFold(
        keeper=keeper,
        pairs=Pairs(candidates=products.candidates, num_originals=count),
        dot=products.dot,
        energies=products.original_energy,
        query_ids=names,
    )
    show_gradients(model, rules, batches, fold.take)
    others = ~np.eye(count, dtype=bool)
    each = [products.cosine([number])[others] for number in range(len(tensors))]
    return np.stack(each)
