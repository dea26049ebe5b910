"""How do samples of different lengths share one forward pass?"""

from collections.abc import Sequence
from typing import Literal

import torch

from driftmap.core.errors import UsageError
from driftmap.results.samples import EncodedSample
from driftmap.signals.batch import Batch, Positions, observed_tokens


def make_batches(
    encoded: Sequence[EncodedSample],
    *,
    batch_size: int,
    pad_id: int,
    device: torch.device | str = "cpu",
    padding_side: Literal["left", "right"] = "right",
    positions: Positions = "response",
) -> tuple[Batch, ...]:
    """Put samples of like length together, longest first, and pad them.

    Equal lengths stay in data order, so the same samples always share a batch; the
    longest come first so that too little memory shows at once.

    Args:
        encoded: Samples; their order here is their `sample_index`.
        batch_size: Samples of one batch, the last batch may be smaller.
        pad_id: Any valid id; padded places are never read.
        device: Where the tensors go.
        padding_side: `right` for scores, `left` for generation.
        positions: Tokens whose inputs count: those that predict counted tokens, the
            counted tokens themselves, or all.

    Returns:
        The batches; none for no samples.

    Raises:
        UsageError: `batch_size` is below 1.

    >>> import numpy as np
    >>> def sample(name, length):
    ...     ids, counted = np.arange(length, dtype="i4"), np.ones(length, bool)
    ...     return EncodedSample(
    ...         sample_id=name, token_ids=ids, counted=counted, prompt_length=0
    ...     )
    >>> batches = make_batches([sample("a", 1), sample("b", 3), sample("c", 3)],
    ...                        batch_size=2, pad_id=0)
    >>> [batch.sample_ids for batch in batches]
    [('b', 'c'), ('a',)]
    """
    if batch_size < 1:
        raise UsageError(f"--batch-size is {batch_size}; give 1 or more")
    order = sorted(range(len(encoded)), key=lambda i: (-len(encoded[i].token_ids), i))
    return tuple(
        _pad(
            [(index, encoded[index]) for index in order[start : start + batch_size]],
            pad_id,
            device,
            padding_side,
            positions,
        )
        for start in range(0, len(order), batch_size)
    )


def _pad(
    chosen: Sequence[tuple[int, EncodedSample]],
    pad_id: int,
    device: torch.device | str,
    padding_side: Literal["left", "right"],
    positions: Positions,
) -> Batch:
    longest = max(len(sample.token_ids) for _, sample in chosen)
    shape = len(chosen), longest
    token_ids = torch.full(shape, pad_id, dtype=torch.int64)
    real = torch.zeros(shape, dtype=torch.bool)
    counted = torch.zeros(shape, dtype=torch.bool)
    for row, (_, sample) in enumerate(chosen):
        length = len(sample.token_ids)
        start = 0 if padding_side == "right" else longest - length
        token_ids[row, start : start + length] = torch.tensor(sample.token_ids)
        real[row, start : start + length] = True
        counted[row, start : start + length] = torch.tensor(sample.counted)
    return Batch(
        sample_ids=tuple(sample.sample_id for _, sample in chosen),
        sample_index=tuple(index for index, _ in chosen),
        token_ids=token_ids.to(device),
        real=real.to(device),
        counted=counted.to(device),
        observed=observed_tokens(real, counted, positions).to(device),
    )
