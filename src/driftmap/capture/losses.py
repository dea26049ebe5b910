"""What is each sample's own loss, whatever else is in its batch?"""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from driftmap.core.errors import MeasureError
from driftmap.families.modules import base_model
from driftmap.signals.batch import Batch


def sample_losses(model: nn.Module, batch: Batch) -> Float[Tensor, " sample"]:
    """Mean cross-entropy of every sample's counted tokens, in nats.

    Logits are made only where they predict a counted token, and their
    cross-entropy is taken in float32 or wider.

    Args:
        model: A causal language model in eval mode.
        batch: Samples that passed `require_counted`.
    """
    counted = counted_logits(model, batch)
    logits, target, row = counted.logits, counted.target, counted.row
    share = (1.0 / batch.counted.sum(dim=1)).to(row.device)[row]
    nats = functional.cross_entropy(logits, target, reduction="none") * share
    return nats.new_zeros(len(batch.sample_ids)).index_add(0, row, nats)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CountedLogits:
    """What predicts every counted token of a batch.

    Args:
        logits: In float32 or wider.
        target: The token that stands there.
        row: Whose token it is: a place in the batch, ascending.
    """

    logits: Float[Tensor, "counted vocabulary"]
    target: Int[Tensor, " counted"]
    row: Int[Tensor, " counted"]


def counted_logits(model: nn.Module, batch: Batch) -> CountedLogits:
    """Run the model and keep the logits that predict counted tokens."""
    columns = batch.counted.any(dim=0).nonzero().squeeze(1) - 1
    logits = logits_at(model, batch, columns)
    row, column = batch.counted.nonzero(as_tuple=True)
    target = batch.token_ids[row, column].long()
    place = torch.searchsorted(columns, column - 1)
    home = logits.device
    row, place, target = (t.to(home) for t in (row, place, target))
    picked = logits[row, place]
    picked = picked.to(torch.promote_types(picked.dtype, torch.float32))
    return CountedLogits(logits=picked, target=target, row=row)


def logits_at(
    model: nn.Module, batch: Batch, columns: Int[Tensor, " position"]
) -> Float[Tensor, "sample position vocabulary"]:
    """Run the model so that padding changes nothing, with logits at some columns."""
    if "logits_to_keep" not in _keywords(model):
        return all_logits(model, batch)[:, columns]
    return _run(model, batch, {"logits_to_keep": columns})


def all_logits(
    model: nn.Module, batch: Batch
) -> Float[Tensor, "sample position vocabulary"]:
    """Run the model so that padding changes nothing, with logits wherever it looks."""
    return _run(model, batch, {})


def require_counted(batches: Sequence[Batch]) -> None:
    """Refuse samples whose loss is not defined.

    Raises:
        MeasureError: A sample has no counted token, or one that is padding or
            the sample's first.
    """
    for batch in batches:
        predicted = batch.real.clone()
        predicted[:, 1:] &= batch.real[:, :-1]
        predicted[:, 0] = False
        _require_any(batch, batch.counted)
        wrong = _named(batch, (batch.counted & ~predicted).any(dim=1))
        if wrong:
            raise MeasureError(
                f"sample {wrong[0]}: a counted token is padding or the first of the "
                "sample, which nothing predicts"
            )


def require_observed(batches: Sequence[Batch]) -> None:
    """Refuse samples that would be read nowhere.

    Raises:
        MeasureError: A sample has no observed token.
    """
    for batch in batches:
        _require_any(batch, batch.observed)


def _require_any(batch: Batch, flags: Tensor) -> None:
    empty = _named(batch, ~flags.any(dim=1))
    if empty:
        raise MeasureError(
            f"sample {empty[0]}: no token counts; is its response empty, or cut "
            "off by the maximal length?"
        )


def _named(batch: Batch, flags: Tensor) -> list[str]:
    return [i for i, flag in zip(batch.sample_ids, flags.tolist(), strict=True) if flag]


def _run(model: nn.Module, batch: Batch, given: Mapping[str, object]) -> Tensor:
    if "position_ids" in _keywords(model):
        positions = (batch.real.cumsum(dim=1) - 1).clamp(min=0)
        given = {**given, "position_ids": positions}
    return model(
        input_ids=batch.token_ids,
        attention_mask=batch.real.long(),
        use_cache=False,
        **given,
    ).logits


def _keywords(model: nn.Module) -> frozenset[str]:
    return frozenset(inspect.signature(base_model(model).forward).parameters)
