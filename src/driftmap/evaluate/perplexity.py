"""How well does a model foresee a running text?

Perplexity is exp(mean negative log-likelihood per predicted token) over windows that
do not overlap; the tail that fills no window is dropped. It depends on the window and
on the tokenizer: compare models at the same window, and models with different
tokenizers by bits per byte.
"""

import numpy as np
import torch
from jaxtyping import Float, Int64
from peft import PeftModel
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedModel

from driftmap.core.errors import DataError, MeasureError
from driftmap.core.progress import progress
from driftmap.evaluate.prompts import judged
from driftmap.results.perplexity import EncodedText, PerplexityReading

_TOKENS_AT_A_TIME = 512
"""Rows of logits that are made float32 together: with a large vocabulary a whole
window of them is another gigabyte."""


def text_perplexity(
    model: PreTrainedModel | PeftModel,
    text: EncodedText,
    window: int,
    *,
    batch_size: int = 1,
) -> PerplexityReading:
    """Read a text in windows that do not overlap.

    Args:
        model: A model, with or without an adapter; it is left as found.
        text: The tokens of the text.
        window: Tokens per window, at least 2 and no more than the model's context.
        batch_size: Windows per forward pass; changes speed and memory only.

    Returns:
        The mean negative log-likelihood of each window.

    Raises:
        DataError: The text fills no window.
        MeasureError: A window has fewer than 2 tokens, or a logit is NaN or infinite.
    """
    if window < 2:
        raise MeasureError(f"a window of {window} tokens predicts none; give 2 or more")
    num_windows = text.token_ids.size // window
    if num_windows == 0:
        raise DataError(
            f"{text.name}: its {text.token_ids.size} tokens do not fill one window of "
            f"{window}; give a shorter window or a longer text"
        )
    size = num_windows * window
    rows = torch.from_numpy(text.token_ids[:size].reshape(num_windows, window))
    ends = text.byte_ends[:size].reshape(num_windows, window)
    means: list[float] = []
    with judged(model), progress(f"perplexity of {text.name}", num_windows) as bar:
        for some in rows.split(batch_size):
            means += _window_means(model, some, text.name)
            bar.advance(len(some))
    return PerplexityReading(
        text=text.name,
        window=window,
        num_dropped=text.token_ids.size - size,
        num_bytes=int((ends[:, -1] - ends[:, 0]).sum()),
        nll_nats=np.array(means),
    )


def _window_means(
    model: PreTrainedModel | PeftModel, ids: Int64[Tensor, "window token"], name: str
) -> list[float]:
    ids = ids.to(model.device)
    logits = model(input_ids=ids, use_cache=False).logits[:, :-1]
    means = [_mean_nll(*row) for row in zip(logits, ids[:, 1:], strict=True)]
    if not np.isfinite(means).all():
        raise MeasureError(
            f"{name}: a logit is NaN or infinite; are the model's weights finite?"
        )
    return means


def _mean_nll(
    logits: Float[Tensor, "token token_id"], ids: Int64[Tensor, " token"]
) -> float:
    pieces = [
        functional.cross_entropy(z.float(), i.to(z.device), reduction="none")
        for z, i in zip(
            logits.split(_TOKENS_AT_A_TIME), ids.split(_TOKENS_AT_A_TIME), strict=True
        )
    ]
    return torch.cat(pieces).cpu().double().mean().item()
