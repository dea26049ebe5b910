"""Does a model show the same gradients layer by layer as in one pass?

It does where nothing but hidden states goes from layer to layer. Whether that is so is
not read from the model's name: it is tried, on a few tokens.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from driftmap.capture.gradients import show_whole
from driftmap.core.errors import MeasureError
from driftmap.families.tensors import TensorRule
from driftmap.signals.batch import Batch
from driftmap.signals.gradients import (
    LookedUpRows,
    OuterProducts,
    TakeGradients,
    TensorSignal,
)

_NUM_SAMPLES = 2
_NUM_TOKENS = 12
_NUM_COUNTED = 4
_TOLERANCE = 64
"""Times the rounding of one number: the same sums are made twice."""


def require_like_whole(
    model: nn.Module,
    rules: Sequence[TensorRule],
    probe: Batch,
    by_layers: Callable[[TakeGradients], None],
) -> None:
    """Refuse a model that shows something else when its layers are taken one by one.

    Args:
        model: Ready for a pass.
        rules: What is shown.
        probe: From `probe_batch`.
        by_layers: Shows the same samples layer by layer.

    Raises:
        MeasureError: Names the first tensor that differs.
    """
    whole, layered = _Kept(), _Kept()
    show_whole(model, rules, [probe], whole)
    by_layers(layered)
    for name, pieces in whole.pieces.items():
        found = layered.pieces.get(name, ())
        same = len(found) == len(pieces) and all(map(_close, found, pieces))
        if not same:
            raise MeasureError(
                f"{name}: its gradient is another one when layers are taken one by "
                "one; layers of this model share more than hidden states, so take "
                "them in one pass"
            )


def probe_batch(batch: Batch) -> Batch:
    """The first tokens of a batch's first samples, of which the last ones count."""
    lengths = [min(int(row.sum()), _NUM_TOKENS) for row in batch.real[:_NUM_SAMPLES]]
    shape = len(lengths), max(lengths)
    device = batch.token_ids.device
    token_ids = torch.zeros(shape, dtype=batch.token_ids.dtype, device=device)
    real = torch.zeros(shape, dtype=torch.bool, device=device)
    counted = torch.zeros_like(real)
    for row, length in enumerate(lengths):
        token_ids[row, :length] = batch.token_ids[row, batch.real[row]][:length]
        real[row, :length] = True
        counted[row, max(length - _NUM_COUNTED, 1) : length] = True
    return Batch(
        sample_ids=batch.sample_ids[:_NUM_SAMPLES],
        sample_index=batch.sample_index[:_NUM_SAMPLES],
        token_ids=token_ids,
        real=real,
        counted=counted,
        observed=real,
    )


@dataclass(slots=True, eq=False)
class _Kept:
    """Takes signals and keeps what they hold, by tensor."""

    pieces: dict[str, list[Tensor]] = field(default_factory=dict)

    def __call__(self, signal: TensorSignal) -> None:
        kept: dict[str, list[Tensor]] = {"product": [], "row": [], "sum": []}
        for piece in signal.pieces:
            if isinstance(piece, OuterProducts):
                kept["product"] += [piece.inputs, piece.gradients]
            elif isinstance(piece, LookedUpRows):
                kept["row"] += [piece.gradients]
            else:
                kept["sum"] += [piece.values]
        self.pieces[signal.tensor.name] = [one for of in kept.values() for one in of]


def _close(one: Tensor, other: Tensor) -> bool:
    if one.shape != other.shape:
        return False
    largest = other.abs().max()
    allowed = _TOLERANCE * torch.finfo(other.dtype).eps * largest
    return bool((one - other).abs().max() <= allowed)
