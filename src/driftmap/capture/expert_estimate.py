"""What would refusal lose without each expert, as one backward foresees it?

The routing weights of expert e in sample i are multiplied by a leaf m = 1. To take the
expert away is m = 0, so the refusal log-odds rho change by about `-d rho / d m`, all
experts at once. What the removal would do to later choices is no part of it.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from driftmap.capture.hooks import evaluating, frozen, one_attention_kernel
from driftmap.capture.losses import logits_at
from driftmap.core.errors import MeasureError
from driftmap.core.progress import progress
from driftmap.families.bank_calls import Told, telling
from driftmap.families.expert_forward import BankCall
from driftmap.families.expert_spec import ExpertBank
from driftmap.families.expert_switch import running_experts, runs_on_rows
from driftmap.results.expert_effects import AblationEstimate
from driftmap.signals.batch import Batch


def estimate_ablation(
    model: nn.Module,
    banks: Sequence[ExpertBank],
    batches: Sequence[Batch],
    first_ids: Sequence[int],
) -> AblationEstimate:
    """Foresee the change of the refusal log-odds without each expert.

    Args:
        model: A causal language model, run by any experts backend; left as it was
            found. It runs in eval mode.
        banks: Which experts (`find_experts`).
        batches: Prompts, ending where the answer starts.
        first_ids: Ids that open a refusal.

    Returns:
        Samples in the order of the data set; an expert that a sample never visits has
        exactly 0 there.

    Raises:
        FamilyError: A bank is not told which experts its tokens get.
        MeasureError: There is nothing to do, no id opens a refusal, or a number is not
            finite.
    """
    if not (banks and batches):
        raise MeasureError("there is nothing to do: give banks of experts and batches")
    leaves = _Leaves(model, banks)
    found: dict[int, tuple[str, np.ndarray]] = {}
    total = sum(len(batch.sample_ids) for batch in batches)
    with (
        evaluating(model),
        frozen(model),
        one_attention_kernel(model),
        leaves.attached(),
        torch.enable_grad(),
        progress("foresee ablations", total) as bar,
    ):
        for batch in batches:
            maps = _batch_maps(model, leaves, batch, first_ids)
            rows = zip(batch.sample_index, batch.sample_ids, maps, strict=True)
            found |= {index: (name, row) for index, name, row in rows}
            bar.advance(len(batch.sample_ids))
    examples = np.stack([found[index][1] for index in sorted(found)])
    return AblationEstimate(
        banks=tuple(bank.place for bank in banks),
        sample_ids=tuple(found[index][0] for index in sorted(found)),
        change=examples.mean(axis=0, dtype=np.float64),
        examples=examples,
    )


def _batch_maps(
    model: nn.Module, leaves: "_Leaves", batch: Batch, first_ids: Sequence[int]
) -> Float[np.ndarray, "example bank expert"]:
    leaves.begin(batch)
    odds = _opening_log_odds(model, batch, first_ids)
    gradients = leaves.gradients(odds)
    widest = max(bank.place.num_experts for bank in leaves.banks)
    maps = np.full((len(odds), len(gradients), widest), np.nan, np.float32)
    for place, (bank, gradient) in enumerate(zip(leaves.banks, gradients, strict=True)):
        values = -gradient[:, : bank.place.num_experts].float().cpu().numpy()
        broken = ~np.isfinite(values).all(axis=1)
        if broken.any():
            raise MeasureError(
                f"{bank.place.path}: the foreseen change of sample "
                f"{batch.sample_ids[int(broken.argmax())]} is not finite; are the "
                "weights damaged, or is the dtype too narrow?"
            )
        maps[:, place, : values.shape[1]] = values
    return maps


def _opening_log_odds(
    model: nn.Module, batch: Batch, first_ids: Sequence[int]
) -> Float[Tensor, " sample"]:
    """`ln sum_{v in R} p(v) - ln sum_{v not in R} p(v)` after each prompt."""
    width = batch.real.shape[1]
    last = width - 1 - batch.real.flip(1).long().argmax(dim=1)
    columns, place = last.unique(return_inverse=True)
    logits = logits_at(model, batch, columns)
    rows = torch.arange(len(place), device=logits.device)
    picked = logits[rows, place.to(logits.device)]
    picked = picked.to(torch.promote_types(picked.dtype, torch.float32))
    opens = torch.zeros(picked.shape[1], dtype=torch.bool, device=picked.device)
    inside = [one for one in set(first_ids) if 0 <= one < picked.shape[1]]
    if not inside or len(inside) < len(set(first_ids)) or len(inside) == len(opens):
        raise MeasureError(
            f"{len(set(first_ids))} token ids open a refusal, {len(inside)} of them in "
            f"a vocabulary of {len(opens)}: give some of its ids and not all"
        )
    opens[inside] = True
    return picked[:, opens].logsumexp(1) - picked[:, ~opens].logsumexp(1)


class _Leaves:
    """A leaf per sample and expert of each bank, within its routing weights."""

    def __init__(self, model: nn.Module, banks: Sequence[ExpertBank]) -> None:
        self.banks = tuple(banks)
        self._model = model
        self._kept: Tensor | None = None
        self._num_samples = 0
        self._leaves: dict[str, Tensor] = {}

    @contextmanager
    def attached(self) -> Iterator[None]:
        """Multiply routing weights for as long as the block runs."""
        rows = [bank for bank in self.banks if runs_on_rows(self._model, bank)]
        with ExitStack() as stack:
            if rows:
                calls = {bank.place.path: self._call for bank in rows}
                stack.enter_context(running_experts(self._model, calls))
            stack.enter_context(telling(self._model, self.banks, self._tell))
            yield

    def begin(self, batch: Batch) -> None:
        """Make ready for a batch."""
        self._kept = batch.real.flatten()
        self._num_samples = len(batch.sample_ids)
        self._leaves = {}

    def gradients(
        self, odds: Float[Tensor, " sample"]
    ) -> list[Float[Tensor, "sample choice"]]:
        """Gradients at the leaves, bank by bank."""
        for bank in self.banks:
            if bank.place.path not in self._leaves:
                raise MeasureError(
                    f"{bank.place.path}: the model never ran this bank; leave it out"
                )
        leaves = [self._leaves[bank.place.path] for bank in self.banks]
        return list(torch.autograd.grad(odds.sum(), leaves, materialize_grads=True))

    def _call(self) -> BankCall:
        return BankCall(kept=self._kept)

    def _tell(self, bank: ExpertBank, told: Told) -> Told:
        if bank.place.path in self._leaves:
            raise MeasureError(
                f"{bank.place.path}: the model runs this bank more than once in a "
                "pass; leave the bank out"
            )
        place, num_tokens = bank.place, len(told.chosen)
        width = max(place.num_experts, bank.router.num_rows)
        leaf = told.weights.new_ones(self._num_samples, width).requires_grad_()
        self._leaves[place.path] = leaf
        rows = torch.arange(num_tokens, device=leaf.device)
        sample = rows // (num_tokens // self._num_samples)
        factor = leaf[sample[:, None], told.chosen.long()]
        return Told(chosen=told.chosen, weights=told.weights * factor)
