"""What do two models say next at the end of the same prompts?

Both distributions of a batch are made, compared and dropped: what is kept does not
grow with the vocabulary.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor, nn

from driftmap.capture.hooks import evaluating, one_attention_kernel
from driftmap.capture.losses import logits_at
from driftmap.core.errors import MeasureError
from driftmap.core.progress import progress
from driftmap.signals.batch import Batch

Apart = Callable[
    [Float[Tensor, "prompt vocabulary"], Float[Tensor, "prompt vocabulary"]],
    Float64[np.ndarray, "_ prompt"],
]
"""Takes the logits of both models and says how far apart they are, in several ways."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NextTokens:
    """What one model says next, in the order of the prompts.

    Args:
        logit: Of the wanted tokens.
        log_p: ln p of the same, in nats.
        rank: Tokens strictly more likely than each (count).
        top_ids: The most likely tokens, most likely first.
        top_p: Their probabilities.
    """

    logit: Float64[np.ndarray, "prompt wanted"]
    log_p: Float64[np.ndarray, "prompt wanted"]
    rank: Int64[np.ndarray, "prompt wanted"]
    top_ids: Int64[np.ndarray, "prompt choice"]
    top_p: Float64[np.ndarray, "prompt choice"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NextTokensBeside:
    """What two models say next.

    Args:
        before: The first one.
        after: The second one.
        apart: How far apart they are, one row for each way of `Apart`.
    """

    before: NextTokens
    after: NextTokens
    apart: Float64[np.ndarray, "_ prompt"]


def next_tokens(
    base: nn.Module,
    tuned: nn.Module,
    batches: Sequence[Batch],
    wanted: Int64[np.ndarray, "prompt wanted"],
    apart: Apart,
    num_top: int = 10,
) -> NextTokensBeside:
    """Compare two models at the last token of prompts.

    Args:
        base: One causal language model; both are left as they were found.
        tuned: Another one of the same vocabulary.
        batches: Prompts without answers, padded on the right.
        wanted: Tokens whose logits are read, by `sample_index`.
        apart: Compares the logits of both.
        num_top: Most likely tokens that are kept (count).

    Raises:
        MeasureError: The vocabularies differ, or a logit is NaN or infinite.
    """
    num, width = wanted.shape
    before, after = (_empty(num, width, num_top) for _ in range(2))
    ways: list[tuple[np.ndarray, np.ndarray]] = []
    with (
        torch.no_grad(),
        evaluating(base),
        evaluating(tuned),
        one_attention_kernel(base),
        one_attention_kernel(tuned),
        progress("compare next tokens", num) as bar,
    ):
        for batch in batches:
            place = np.array(batch.sample_index)
            first, second = (_last_logits(model, batch) for model in (base, tuned))
            if first.shape != second.shape:
                raise MeasureError(
                    f"the models choose between {first.shape[1]} and "
                    f"{second.shape[1]} tokens; compare models of one vocabulary"
                )
            _fill(before, place, first, wanted[place], batch)
            _fill(after, place, second, wanted[place], batch)
            ways.append((place, apart(first, second)))
            bar.advance(len(place))
    found = np.full((len(ways[0][1]) if ways else 0, num), np.nan)
    for place, rows in ways:
        found[:, place] = rows
    return NextTokensBeside(before=before, after=after, apart=found)


def _empty(num: int, width: int, num_top: int) -> NextTokens:
    return NextTokens(
        logit=np.full((num, width), np.nan),
        log_p=np.full((num, width), np.nan),
        rank=np.full((num, width), -1, np.int64),
        top_ids=np.full((num, num_top), -1, np.int64),
        top_p=np.full((num, num_top), np.nan),
    )


def _last_logits(model: nn.Module, batch: Batch) -> Float[Tensor, "prompt vocabulary"]:
    last = batch.real.sum(1) - 1
    columns, place = last.unique(return_inverse=True)
    logits = logits_at(model, batch, columns)
    rows = torch.arange(len(last), device=logits.device)
    # float64 does not exist on every device.
    return logits[rows, place.to(logits.device)].cpu().double()


def _fill(
    found: NextTokens,
    place: Int64[np.ndarray, " prompt"],
    logits: Float[Tensor, "prompt vocabulary"],
    wanted: Int64[np.ndarray, "prompt wanted"],
    batch: Batch,
) -> None:
    log_p = logits.log_softmax(1)
    ids = torch.from_numpy(wanted)
    own = logits.gather(1, ids)
    # Places of a vocabulary that a model keeps empty are at minus infinity.
    odd = (log_p.isnan().any(1) | ~own.isfinite().all(1)).tolist()
    if any(odd):
        raise MeasureError(
            f"{batch.sample_ids[odd.index(True)]}: a logit after it is NaN or "
            "infinite; are the model's weights finite?"
        )
    top = log_p.topk(min(found.top_ids.shape[1], log_p.shape[1]), 1)
    found.logit[place] = own.numpy()
    found.log_p[place] = log_p.gather(1, ids).numpy()
    rank = (logits[:, None, :] > own[:, :, None]).sum(2)
    found.rank[place] = rank.numpy()
    kept = top.indices.shape[1]
    found.top_ids[place, :kept] = top.indices.numpy()
    found.top_p[place, :kept] = top.values.exp().numpy()
