"""Which samples share a batch, whatever part of all samples is asked for?

Samples fall into chunks by their number alone; within a chunk those of like length
share a batch. A part that is cut at the edges of chunks has the same batches as the
whole, and so the same numbers, bit for bit on a CPU.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch

from driftmap.core.errors import UsageError
from driftmap.load.batches import make_batches
from driftmap.results.samples import EncodedSample
from driftmap.signals.batch import Batch


def chunked_batches(
    encoded: Sequence[EncodedSample],
    part: range,
    *,
    chunk: int,
    batch_tokens: int,
    pad_id: int,
    device: torch.device | str = "cpu",
) -> tuple[Batch, ...]:
    """Pad samples into batches, chunk by chunk, longest first within each.

    Args:
        encoded: All samples; their order is their `sample_index`.
        part: Numbers of those asked for, without a gap.
        chunk: Samples of a chunk (count).
        batch_tokens: Tokens of one batch, padding included; one sample may have more
            (count).
        pad_id: Any valid id; padded places are never read.
        device: Where the tensors go.

    Raises:
        UsageError: A batch would hold nothing.

    >>> import numpy as np
    >>> def sample(name, length):
    ...     ids, counted = np.arange(length, dtype="i4"), np.ones(length, bool)
    ...     return EncodedSample(
    ...         sample_id=name, token_ids=ids, counted=counted, prompt_length=0
    ...     )
    >>> samples = [sample(name, length) for name, length in zip("abcd", (2, 5, 4, 9))]
    >>> how = {"chunk": 3, "batch_tokens": 10, "pad_id": 0}
    >>> [b.sample_ids for b in chunked_batches(samples, range(4), **how)]
    [('b', 'c'), ('a',), ('d',)]
    >>> [b.sample_index for b in chunked_batches(samples, range(3, 4), **how)]
    [(3,)]
    """
    if batch_tokens < 1:
        raise UsageError(f"--batch-tokens is {batch_tokens}; give 1 or more")
    batches: list[Batch] = []
    for number in range(part.start // chunk, -(-part.stop // chunk)):
        first = max(part.start, number * chunk)
        last = min(part.stop, (number + 1) * chunk)
        for group in _packed(encoded, range(first, last), batch_tokens):
            (batch,) = make_batches(
                [encoded[index] for index in group],
                batch_size=len(group),
                pad_id=pad_id,
                device=device,
                positions="all",
            )
            batches.append(replace(batch, sample_index=tuple(group)))
    return tuple(batches)


def _packed(
    encoded: Sequence[EncodedSample], chunk: range, batch_tokens: int
) -> list[list[int]]:
    """Longest first, so the first sample of a batch says how wide it is."""
    lengths = {index: len(encoded[index].token_ids) for index in chunk}
    groups: list[list[int]] = []
    for index in sorted(chunk, key=lambda i: (-lengths[i], i)):
        width = lengths[groups[-1][0]] if groups else 0
        if groups and (len(groups[-1]) + 1) * width <= batch_tokens:
            groups[-1].append(index)
        else:
            groups.append([index])
    return groups
