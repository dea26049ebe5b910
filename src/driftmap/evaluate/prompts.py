"""How do prompts of different lengths go through a model without changing it?"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor, nn

from driftmap.core.errors import DataError
from driftmap.results.samples import EncodedSample


@contextmanager
def judged(model: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; the mode of every module comes back."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, training in modes:
            module.training = training


def by_length(prompts: Sequence[EncodedSample], batch_size: int) -> list[list[int]]:
    """Numbers of the prompts in batches of like length, shortest first.

    Raises:
        DataError: There is no prompt, or one has no token.
    """
    if not prompts:
        raise DataError("there is no prompt to answer; is the file empty?")
    for prompt in prompts:
        if not prompt.token_ids.size:
            raise DataError(f"sample {prompt.sample_id!r}: the prompt has no token")
    lengths = [prompt.token_ids.size for prompt in prompts]
    order = np.argsort(lengths, kind="stable").tolist()
    return [order[i : i + batch_size] for i in range(0, len(order), batch_size)]


def padded(
    prompts: Sequence[EncodedSample], side: Literal["left", "right"]
) -> tuple[Int64[Tensor, "sample token"], Int64[Tensor, "sample token"]]:
    """Token ids and attention mask; padding holds id 0 and is masked by length."""
    length = max(prompt.token_ids.size for prompt in prompts)
    ids = torch.zeros(len(prompts), length, dtype=torch.int64)
    real = torch.zeros_like(ids)
    for row, prompt in enumerate(prompts):
        size = prompt.token_ids.size
        place = slice(length - size, length) if side == "left" else slice(size)
        ids[row, place] = torch.from_numpy(prompt.token_ids.astype(np.int64))
        real[row, place] = 1
    return ids, real
