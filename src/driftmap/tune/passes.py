"""How do samples go through a model that is tuned, and what do they cost it?

Samples of one batch are padded on the right; padding is attended to by nothing and
counts nowhere. A step's loss is the mean over all its counted tokens, so that cutting
it into smaller batches changes nothing.
"""

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer

from driftmap.core.errors import DataError, ModelError
from driftmap.core.seeds import child_seed
from driftmap.results.samples import EncodedSample
from driftmap.signals.batch import Batch, observed_tokens
from driftmap.tune.order import epoch_order


def padded(samples: Sequence[EncodedSample], device: torch.device) -> Batch:
    """Lay samples side by side, padded on the right."""
    shape = len(samples), max(len(sample.token_ids) for sample in samples)
    token_ids = torch.zeros(shape, dtype=torch.int64)
    real, counted = torch.zeros((2, *shape), dtype=torch.bool)
    for row, sample in enumerate(samples):
        length = len(sample.token_ids)
        token_ids[row, :length] = torch.from_numpy(sample.token_ids)
        real[row, :length] = True
        counted[row, :length] = torch.from_numpy(sample.counted)
    return Batch(
        sample_ids=tuple(sample.sample_id for sample in samples),
        sample_index=tuple(range(len(samples))),
        token_ids=token_ids.to(device),
        real=real.to(device),
        counted=counted.to(device),
        observed=observed_tokens(real, counted, "response").to(device),
    )


def summed_loss(model: nn.Module, batch: Batch) -> Float[Tensor, ""]:
    """Cross-entropy of all counted tokens of a batch, added up, in nats.

    Logits are made only at columns that predict a counted token of any sample.
    """
    columns = batch.observed.any(dim=0).nonzero().squeeze(1)
    keywords = inspect.signature(model.forward).parameters
    kept = {"logits_to_keep": columns} if "logits_to_keep" in keywords else {}
    logits = model(
        input_ids=batch.token_ids,
        attention_mask=batch.real.long(),
        use_cache=False,
        **kept,
    ).logits
    if not kept:
        logits = logits[:, columns]
    predicts = batch.observed[:, columns].to(logits.device)
    targets = batch.token_ids[:, columns + 1].to(logits.device)
    picked = logits[predicts]
    picked = picked.to(torch.promote_types(picked.dtype, torch.float32))
    return functional.cross_entropy(picked, targets[predicts], reduction="sum")


def run_backbone(model: nn.Module, batch: Batch) -> None:
    """Run a model up to its last block, without the head that makes logits."""
    cast(PreTrainedModel, model).base_model(
        input_ids=batch.token_ids,
        attention_mask=batch.real.long(),
        use_cache=False,
    )


def steps_of(
    num_samples: int, per_step: int, epochs: int, seed: int
) -> list[tuple[int, ...]]:
    """Which samples every step takes: each epoch takes all in an order of its own.

    >>> [len(step) for step in steps_of(5, 2, 2, seed=0)]
    [2, 2, 1, 2, 2, 1]
    """
    data_seed = child_seed(seed, "data")
    orders = [epoch_order(num_samples, data_seed, epoch) for epoch in range(epochs)]
    return [
        tuple(order[start : start + per_step])
        for order in orders
        for start in range(0, num_samples, per_step)
    ]


def require_counted(samples: Sequence[EncodedSample]) -> None:
    """Refuse samples that say nothing to a model.

    Raises:
        DataError: There is no sample, or one has no counted token.
    """
    if not samples:
        raise DataError("there is no sample to tune on; is the file empty?")
    for sample in samples:
        if not sample.counted[1:].any():
            raise DataError(
                f"sample {sample.sample_id!r}: no token counts in the loss; is its "
                "response empty or cut off?"
            )


@contextmanager
def evaluated(model: nn.Module) -> Iterator[None]:
    """Have a model in eval mode, where no parameter needs a gradient.

    Modes and needs are given back as they were, module by module, also on error; no
    gradient is left.

    Raises:
        ModelError: The model has an adapter.
    """
    if hasattr(model, "peft_config"):
        raise ModelError(
            "the model has an adapter: merge it into the weights (`merge_and_unload` "
            "in peft), save the merged model, and tune that"
        )
    modes = [(module, module.training) for module in model.modules()]
    needs = [(p, p.requires_grad, p.grad) for p in model.parameters()]
    try:
        model.eval().requires_grad_(False)
        for parameter, _, _ in needs:
            parameter.grad = None
        yield
    finally:
        for module, mode in modes:
            module.training = mode
        for parameter, need, gradient in needs:
            parameter.requires_grad_(need)
            parameter.grad = gradient


@contextmanager
def computing_again(model: nn.Module) -> Iterator[None]:
    """Have every block compute its inside again in the backward pass.

    Only the blocks themselves are told that they train: inside them dropout and the
    jitter of routers stay off, so that the second time gives the same as the first.

    Raises:
        ModelError: The model has no such blocks.
    """
    blocks = [m for m in model.modules() if isinstance(m, GradientCheckpointingLayer)]
    if not blocks:
        raise ModelError(
            f"{type(model).__name__}: its blocks cannot compute their insides again; "
            "leave --checkpoint-activations out"
        )
    given = {
        "training": True,
        "gradient_checkpointing": True,
        "_gradient_checkpointing_func": partial(checkpoint, use_reentrant=False),
    }
    found = [{name: vars(block).get(name) for name in given} for block in blocks]
    try:
        for block in blocks:
            vars(block).update(given)
        yield
    finally:
        for block, before in zip(blocks, found, strict=True):
            for name, value in before.items():
                if value is None:
                    del vars(block)[name]
                else:
                    vars(block)[name] = value
