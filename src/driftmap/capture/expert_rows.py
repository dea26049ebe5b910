"""How does one pass show what every sample asks of every expert?

Banks that let others run them show rows, with one forward and one backward a batch;
the rest show whole gradients, sample by sample (`expert_hooks`). No parameter keeps a
gradient, and nothing runs backward below the lowest bank.
"""

from collections.abc import Sequence

import torch
from torch import nn

from driftmap.capture.expert_backend import RowSignals
from driftmap.capture.expert_hooks import broken_sample, show_whole_experts
from driftmap.capture.hooks import evaluating, frozen, one_attention_kernel
from driftmap.capture.losses import require_counted, sample_losses
from driftmap.core.errors import MeasureError
from driftmap.core.places import BankPlace
from driftmap.core.progress import Progress, progress
from driftmap.families.expert_spec import ExpertBank
from driftmap.families.expert_switch import runs_on_rows
from driftmap.signals.batch import Batch, alone
from driftmap.signals.experts import TakeExperts


def show_experts(
    model: nn.Module,
    banks: Sequence[ExpertBank],
    batches: Sequence[Batch],
    take: TakeExperts,
) -> None:
    """Show every sample's gradient of every expert.

    A sample's loss is the mean cross-entropy of its counted tokens, in nats, without
    the model's own additions such as a balance of its routers; that of a batch is the
    sum over its samples, so no gradient depends on which samples share one. Routers
    and all else are held fixed. The model runs in eval mode.

    Args:
        model: A causal language model, run by any experts backend; left as it was
            found, its backend too.
        banks: Which experts (`find_experts`).
        batches: All samples.
        take: Takes the signals, during the backward: an `ExpertSignal` per map and
            batch, or `ExpertGradients` per tensor and sample from banks that others
            cannot run.

    Raises:
        MeasureError: There is nothing to do, a sample has no loss, a number is not
            finite, or a bank never runs.
        ModelError: A bank is spread over several processes, or sends tokens to experts
            that it does not have.
    """
    if not (banks and batches):
        raise MeasureError("there is nothing to do: give banks of experts and batches")
    require_counted(batches)
    on_rows = [bank for bank in banks if runs_on_rows(model, bank)]
    others = [bank for bank in banks if bank not in on_rows]
    rounds = len(batches) * (bool(on_rows) + bool(others))
    with (
        evaluating(model),
        frozen(model),
        one_attention_kernel(model),
        progress("batches", rounds) as bar,
    ):
        if on_rows:
            _show_rows(model, [bank.place for bank in on_rows], batches, take, bar)
        if others:
            show_whole_experts(model, others, batches, take, bar)


def _show_rows(
    model: nn.Module,
    banks: Sequence[BankPlace],
    batches: Sequence[Batch],
    take: TakeExperts,
    bar: Progress,
) -> None:
    signals = RowSignals(model, banks, take)
    with signals.attached():
        for batch in batches:
            signals.begin(batch)
            with torch.enable_grad():
                losses = sample_losses(model, batch)
                finite = torch.isfinite(losses).tolist()
                if not all(finite):
                    one = alone(batch, finite.index(False))
                    signals.begin(one)
                    raise broken_sample(model, [bank.path for bank in banks], one)
                if losses.requires_grad:  # if not, `finish` says where the graph ends
                    losses.sum().backward()
            signals.finish()
            bar.advance()
