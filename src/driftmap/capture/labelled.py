"""What is each sample's own loss, with logits at its own labelled tokens alone?

Before the head, every sample's hidden states are gathered where they predict a counted
token, and put side by side. So no logit is made that no loss term reads, and whatever
the model does to its logits it still does.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from driftmap.capture.hooks import entering
from driftmap.core.errors import MeasureError
from driftmap.families.discover import find_layout
from driftmap.families.modules import base_model
from driftmap.signals.batch import Batch

_NO_TARGET = -100


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LabelledTokens:
    """Where each sample's loss terms are read; short samples are filled up.

    Args:
        columns: Token whose logits predict a counted one; any of the sample's own
            where `used` is False.
        used: False where a sample has no more counted tokens.
        targets: The counted token's id.
        numbers: How many counted tokens each sample has (count).
    """

    columns: Int[Tensor, "sample label"]
    used: Bool[Tensor, "sample label"]
    targets: Int[Tensor, "sample label"]
    numbers: Int[Tensor, " sample"]


def labelled_tokens(batch: Batch) -> LabelledTokens:
    """Put the counted tokens of every sample side by side.

    Args:
        batch: Samples that passed `require_counted`.
    """
    numbers = batch.counted.sum(dim=1)
    most = int(numbers.max())
    order = (~batch.counted).long().argsort(dim=1, stable=True)[:, :most]
    used = torch.arange(most, device=order.device) < numbers[:, None]
    places = torch.where(used, order, order[:, :1])
    targets = batch.token_ids.gather(1, places).long()
    return LabelledTokens(
        columns=places - 1,
        used=used,
        targets=targets.masked_fill(~used, _NO_TARGET),
        numbers=numbers,
    )


def model_head(model: nn.Module) -> nn.Module:
    """The map to the logits: its adapter's wrapper where there is one.

    Raises:
        MeasureError: The model has none.
    """
    path = find_layout(model).head
    if path is None:
        raise MeasureError("the model has no head, so that it has no loss")
    return base_model(model).get_submodule(path)


@contextmanager
def gathered(head: nn.Module, labelled: LabelledTokens) -> Iterator[None]:
    """Let the head see the labelled tokens alone, for as long as the block runs."""
    with entering({0: head}, partial(_gather, labelled)):
        yield


def labelled_losses(
    logits: Float[Tensor, "sample label vocabulary"], labelled: LabelledTokens
) -> Float[Tensor, " sample"]:
    """Mean cross-entropy of every sample's counted tokens, in nats.

    It is taken in float32 or wider.
    """
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
    targets = labelled.targets.to(logits.device)
    nats = functional.cross_entropy(
        wide.flatten(0, 1),
        targets.flatten(),
        ignore_index=_NO_TARGET,
        reduction="none",
    )
    return nats.view_as(targets).sum(dim=1) / labelled.numbers.to(nats)


def _gather(labelled: LabelledTokens, _index: int, hidden: Tensor) -> Tensor:
    columns = labelled.columns.to(hidden.device)[..., None]
    return hidden.gather(1, columns.expand(-1, -1, hidden.shape[-1]))
