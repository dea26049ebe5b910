"""Are a base and what was made of it the same, and is the base still what it was?"""

from collections.abc import Callable, Sequence

import torch
from peft import PeftModel
from torch import Tensor, nn

from driftmap.core.errors import ModelError
from driftmap.evaluate.prompts import by_length, judged, padded
from driftmap.recipes.steps.comparing.pair import Pair
from driftmap.results.samples import EncodedSample

BATCH_SIZE = 16


def is_identical(pair: Pair, samples: Sequence[EncodedSample]) -> bool:
    """Whether both models give the same logits, bit for bit, on every sample.

    Raises:
        ModelError: With its adapter switched off, the tuned model is not the base:
            something else was saved with the adapter.
    """
    if isinstance(pair.tuned.model, PeftModel):
        with pair.tuned.model.disable_adapter():
            if not _equal(pair, samples):
                raise ModelError(
                    f"{pair.run.last}: without its adapter, the tuned model is not the "
                    "base bit for bit, so that more than the adapter was saved with "
                    "it; tune it again into a new --out"
                )
    return _equal(pair, samples)


def _equal(pair: Pair, samples: Sequence[EncodedSample]) -> bool:
    base, tuned = _logits(pair.base.model), _logits(pair.tuned.model)
    for batch in by_length(samples, BATCH_SIZE):
        ids, real = padded([samples[number] for number in batch], "right")
        there = real.bool()
        if not torch.equal(base(ids, real)[there], tuned(ids, real)[there]):
            return False
    return True


def _logits(model: nn.Module) -> Callable[[Tensor, Tensor], Tensor]:
    device = next(model.parameters()).device

    def run(ids: Tensor, real: Tensor) -> Tensor:
        with judged(model):
            out = model(input_ids=ids.to(device), attention_mask=real.to(device))
        return out.logits.cpu()

    return run
