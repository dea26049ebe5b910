"""How likely does a model find given answers, each token in its own place?"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float64, Int64
from torch import nn
from torch.nn import functional

from driftmap.capture.hooks import evaluating, one_attention_kernel
from driftmap.capture.losses import counted_logits, require_counted
from driftmap.core.errors import MeasureError
from driftmap.core.progress import progress
from driftmap.signals.batch import Batch


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AnswerNumbers:
    """What a model says of answers, in the order of the samples.

    Args:
        nll: Mean over the answer's tokens of -ln p, in nats.
        num_tokens: Tokens of the answer (count).
        is_first: Each of them is the model's first choice, after those before it.
    """

    nll: Float64[np.ndarray, " sample"]
    num_tokens: Int64[np.ndarray, " sample"]
    is_first: Bool[np.ndarray, " sample"]

    @property
    def p(self) -> Float64[np.ndarray, " sample"]:
        """Probability of each whole answer."""
        return np.exp(-self.nll * self.num_tokens)


def answer_numbers(model: nn.Module, batches: Sequence[Batch]) -> AnswerNumbers:
    """Read answers that follow their prompts.

    Args:
        model: A causal language model; left as it was found.
        batches: The tokens of answers count; every token is predicted from those
            before it, the answer's own first ones included.

    Returns:
        Numbers by `sample_index`.

    Raises:
        MeasureError: A sample has no counted token, or a logit is NaN or infinite.
    """
    require_counted(batches)
    num = sum(len(batch.sample_ids) for batch in batches)
    found = AnswerNumbers(
        nll=np.full(num, np.nan),
        num_tokens=np.zeros(num, np.int64),
        is_first=np.zeros(num, bool),
    )
    with (
        torch.no_grad(),
        evaluating(model),
        one_attention_kernel(model),
        progress("read answers", num) as bar,
    ):
        for batch in batches:
            _read(model, batch, found)
            bar.advance(len(batch.sample_ids))
    return found


def _read(model: nn.Module, batch: Batch, found: AnswerNumbers) -> None:
    counted = counted_logits(model, batch)
    own = counted.logits.gather(1, counted.target[:, None])
    nats = functional.cross_entropy(counted.logits, counted.target, reduction="none")
    # The first choice is that than which none is strictly likelier.
    first = (counted.logits > own).sum(1) == 0
    size = batch.counted.sum(1).cpu().double().numpy()
    row = counted.row.cpu().numpy()
    values = nats.cpu().double().numpy()
    if not np.isfinite(values).all():
        name = batch.sample_ids[int(row[~np.isfinite(values)][0])]
        raise MeasureError(
            f"{name}: a logit of its answer is NaN or infinite; are the model's "
            "weights finite?"
        )
    place = np.array(batch.sample_index)
    num = len(place)
    found.nll[place] = np.bincount(row, weights=values, minlength=num) / size
    found.num_tokens[place] = size
    missed = np.bincount(row, weights=~first.cpu().numpy(), minlength=num)
    found.is_first[place] = missed == 0
