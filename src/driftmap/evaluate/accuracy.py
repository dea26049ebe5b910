"""Is the model right on held-out samples?

Teacher forcing answers it in one forward: if every response token is the first
choice after the true tokens before it, greedy decoding begins with the response, and
otherwise it leaves it at the first wrong token. Whether it would stop after the
response is not judged where the end token does not count.
"""

from collections.abc import Sequence
from math import isnan

import torch
from jaxtyping import Bool, Float
from peft import PeftModel
from torch import Tensor
from transformers import PreTrainedModel

from driftmap.core.errors import DataError, MeasureError
from driftmap.core.progress import progress
from driftmap.evaluate.prompts import judged
from driftmap.results.behaviour import AccuracyReading
from driftmap.signals.batch import Batch


def held_out_accuracy(
    model: PreTrainedModel | PeftModel,
    batches: Sequence[Batch],
    *,
    what: str = "held-out samples",
) -> tuple[AccuracyReading, ...]:
    """Read whether each sample is right, and how likely its counted tokens are.

    Args:
        model: A model, with or without an adapter; it is left as found.
        batches: Samples padded on the right.
        what: What the progress line calls them.

    Returns:
        One reading per sample, in the order of the samples in the data set.

    Raises:
        DataError: There is no sample, or one has no counted token after its first.
        MeasureError: A logit that counts is NaN.
    """
    if not batches:
        raise DataError("there is no held-out sample; is the file empty?")
    found: dict[int, AccuracyReading] = {}
    total = sum(len(batch.sample_ids) for batch in batches)
    with judged(model), progress(what, total) as bar:
        for batch in batches:
            assert batch.real[:, 0].all(), "padding is on the right"
            readings = _read(batch, _logits(model, batch))
            found |= dict(zip(batch.sample_index, readings, strict=True))
            bar.advance(len(batch.sample_ids))
    return tuple(found[index] for index in sorted(found))


def _logits(
    model: PreTrainedModel | PeftModel, batch: Batch
) -> Float[Tensor, "sample token token_id"]:
    """What follows each token but the last; nobody holds it longer than its batch."""
    return model(
        input_ids=batch.token_ids.to(model.device),
        attention_mask=batch.real.to(model.device).long(),
        use_cache=False,
    ).logits[:, :-1]


def _read(
    batch: Batch, logits: Float[Tensor, "sample token token_id"]
) -> list[AccuracyReading]:
    readings = []
    for row, sample_id in enumerate(batch.sample_ids):
        counted = batch.counted[row, 1:].to(logits.device)
        if not counted.any():
            raise DataError(
                f"sample {sample_id!r}: no token counts; is its response empty or "
                "cut off?"
            )
        chosen = logits[row][counted]
        ids = batch.token_ids[row, 1:].to(logits.device)[counted]
        readings.append(_reading(sample_id, chosen, chosen.argmax(1) == ids, ids))
    return readings


def _reading(
    sample_id: str,
    logits: Float[Tensor, "token token_id"],
    right: Bool[Tensor, " token"],
    ids: Tensor,
) -> AccuracyReading:
    log_p = logits.float().log_softmax(1).gather(1, ids.long()[:, None])
    nll = -log_p.cpu().to(torch.float64).mean().item()
    if isnan(nll):
        raise MeasureError(
            f"sample {sample_id!r}: a logit is NaN; are the model's weights finite?"
        )
    return AccuracyReading(
        sample_id=sample_id,
        right=bool(right.all()),
        nll_nats=nll,
        num_tokens=int(right.numel()),
        num_right_tokens=int(right.sum()),
    )
