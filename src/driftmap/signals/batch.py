"""What is one padded batch of samples, ready for a model?"""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Int
from torch import Tensor

Positions = Literal["response", "labels", "all"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Batch:
    """Token ids of several samples, padded to one length on one side.

    Args:
        sample_ids: One id per row.
        sample_index: Number of each row's sample in the whole data set, so that
            halves and shards do not depend on the order of batches.
        token_ids: Token ids; padding holds any valid id.
        real: True on tokens of the sample, False on padding.
        counted: True on tokens whose own cross-entropy is a loss term (the loss
            term of token t is read from the logits at t - 1).
        observed: True on tokens whose inputs count for measures that read what
            enters a map (`observed_tokens`).
    """

    sample_ids: tuple[str, ...]
    sample_index: tuple[int, ...]
    token_ids: Int[Tensor, "sample token"]
    real: Bool[Tensor, "sample token"]
    counted: Bool[Tensor, "sample token"]
    observed: Bool[Tensor, "sample token"]


def alone(batch: Batch, row: int) -> Batch:
    """One sample of a batch, without padding."""
    real = batch.real[row]
    return Batch(
        sample_ids=(batch.sample_ids[row],),
        sample_index=(batch.sample_index[row],),
        token_ids=batch.token_ids[row, real][None],
        real=real[real][None],
        counted=batch.counted[row, real][None],
        observed=batch.observed[row, real][None],
    )


def observed_tokens(
    real: Bool[Tensor, "sample token"],
    counted: Bool[Tensor, "sample token"],
    positions: Positions,
) -> Bool[Tensor, "sample token"]:
    """Say at which tokens the inputs of a map count.

    Args:
        real: True on tokens of the sample.
        counted: True on tokens whose cross-entropy is a loss term.
        positions: `response` for tokens that predict a counted one (the one before
            it), `labels` for the counted tokens themselves, `all` for every real one.

    >>> real = torch.ones(1, 4, dtype=torch.bool)
    >>> counted = torch.tensor([[False, False, True, True]])
    >>> observed_tokens(real, counted, "response").tolist()
    [[False, True, True, False]]
    """
    if positions == "all":
        return real.clone()
    if positions == "labels":
        return counted.clone()
    predicting = torch.zeros_like(counted)
    predicting[:, :-1] = counted[:, 1:]
    return predicting
