"""Random samples as padded batches, and SNIP the slow way, for tests of capture."""

from dataclasses import dataclass
from functools import partial

import torch
from torch.utils.checkpoint import checkpoint
from transformers.modeling_layers import GradientCheckpointingLayer

from driftmap.families.discover import find_layout
from driftmap.families.matrices import site_weight
from driftmap.signals.batch import Batch, observed_tokens


@dataclass(frozen=True)
class TinySample:
    """Token ids of one sample; the last `num_counted` of them count."""

    id: str
    index: int
    token_ids: torch.Tensor
    num_counted: int


def tiny_samples(*lengths, seed=0, vocab=40, counted=3):
    """One sample per length, whose last `counted` tokens count."""
    draw = torch.Generator().manual_seed(seed)
    return [
        TinySample(
            id=f"s{index}",
            index=index,
            token_ids=torch.randint(3, vocab, (length,), generator=draw),
            num_counted=min(counted, length - 1),
        )
        for index, length in enumerate(lengths)
    ]


def batched(samples, size=None, *, side="right", extra=0, positions="response"):
    """Batches of `size` samples, `extra` columns wider than they need to be."""
    size = size or len(samples)
    return [
        _padded(samples[start : start + size], side, extra, positions)
        for start in range(0, len(samples), size)
    ]


def one_by_one_gradients(model, sites, samples):
    """Gradient of every sample's own loss, by autograd on the weights themselves.

    Sites must not be split, and the model must have no adapter.
    """
    flags = [parameter.requires_grad for parameter in model.parameters()]
    weights = [model.get_submodule(site.path).weight for site in sites]
    model.requires_grad_(False)
    for weight in weights:
        weight.requires_grad_(True)
    for sample in samples:
        loss = own_loss(model, sample)
        yield dict(zip(sites, torch.autograd.grad(loss, weights), strict=True))
    for parameter, flag in zip(model.parameters(), flags, strict=True):
        parameter.requires_grad_(flag)


def own_loss(model, sample):
    """Mean cross-entropy of one sample alone, unpadded."""
    logits = model(input_ids=sample.token_ids[None], use_cache=False).logits[0]
    first = len(sample.token_ids) - sample.num_counted
    return torch.nn.functional.cross_entropy(
        logits[first - 1 : -1].float(), sample.token_ids[first:]
    )


def naive_snip(model, samples):
    """SNIP of every site by one backward per sample; fused maps are cut at the end."""
    layout = find_layout(model)
    modules = {site.path: site for site in layout.sites}
    sums = dict.fromkeys(modules, 0.0)
    for gradients in one_by_one_gradients(model, list(modules.values()), samples):
        for site, gradient in gradients.items():
            sums[site.path] = sums[site.path] + gradient.abs()
    scores = {}
    for site in layout.sites:
        total = sums[site.path].T if site.transposed else sums[site.path]
        if site.split is not None:
            total = total[site.split.rows()]
        scores[site] = site_weight(model, site).abs() * total / len(samples)
    return scores


def checkpointed(model, use_reentrant):
    """Checkpoint every block; transformers renames its own switch between releases."""
    func = partial(checkpoint, use_reentrant=use_reentrant)
    for module in model.modules():
        if isinstance(module, GradientCheckpointingLayer):
            module.gradient_checkpointing = True
            module._gradient_checkpointing_func = func
    return model.train()


def _padded(samples, side, extra, positions):
    width = max(len(sample.token_ids) for sample in samples) + extra
    token_ids = torch.zeros(len(samples), width, dtype=torch.long)
    real = torch.zeros(len(samples), width, dtype=torch.bool)
    counted = torch.zeros(len(samples), width, dtype=torch.bool)
    for row, sample in enumerate(samples):
        length = len(sample.token_ids)
        start = width - length if side == "left" else 0
        token_ids[row, start : start + length] = sample.token_ids
        real[row, start : start + length] = True
        counted[row, start + length - sample.num_counted : start + length] = True
    return Batch(
        sample_ids=tuple(sample.id for sample in samples),
        sample_index=tuple(sample.index for sample in samples),
        token_ids=token_ids,
        real=real,
        counted=counted,
        observed=observed_tokens(real, counted, positions),
    )
