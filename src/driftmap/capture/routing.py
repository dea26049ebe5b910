"""To which experts does every token go, and how strongly?

A forward pass alone, with the logits of one token a sample. What a bank is told and
what its router gave are read as they pass; nothing is chosen or weighed again here.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial

import torch
from torch import Tensor, nn

from driftmap.capture.hooks import evaluating, frozen, one_attention_kernel
from driftmap.capture.losses import logits_at, require_observed
from driftmap.core.errors import MeasureError
from driftmap.core.progress import progress
from driftmap.families.bank_calls import Told, telling
from driftmap.families.expert_forward import BankCall
from driftmap.families.expert_spec import ExpertBank, Router
from driftmap.families.expert_switch import running_experts, runs_on_rows
from driftmap.families.modules import base_model
from driftmap.signals.batch import Batch
from driftmap.signals.experts import RoutingSignal, TakeRouting


def show_routing(
    model: nn.Module,
    banks: Sequence[ExpertBank],
    batches: Sequence[Batch],
    take: TakeRouting,
) -> None:
    """Show where every batch's tokens are sent.

    Args:
        model: A causal language model, run by any experts backend; left as it was
            found. It runs in eval mode: some routers add noise in training.
        banks: Which experts (`find_experts`).
        batches: All samples; `observed` says which tokens count.
        take: Takes one signal per bank and batch, in the order of `banks`.

    Raises:
        MeasureError: There is nothing to do, a sample has no token that counts, a
            number is not finite, or a bank never runs.
        FamilyError: A bank is not told which experts its tokens get.
    """
    if not (banks and batches):
        raise MeasureError("there is nothing to do: give banks of experts and batches")
    require_observed(batches)
    seen = _Seen(model, banks)
    with (
        torch.no_grad(),
        evaluating(model),
        frozen(model),
        one_attention_kernel(model),
        seen.attached(),
        progress("batches", len(batches)) as bar,
    ):
        for batch in batches:
            seen.begin(batch)
            last = batch.real.shape[1] - 1
            logits_at(model, batch, torch.tensor([last], device=batch.real.device))
            for bank in banks:
                take(seen.signal(bank))
            bar.advance()


class _Seen:
    """What banks were told and routers gave in one batch."""

    def __init__(self, model: nn.Module, banks: Sequence[ExpertBank]) -> None:
        self._model = model
        self._banks = tuple(banks)
        self._batch: Batch | None = None
        self._told: dict[str, Told] = {}
        self._logits: dict[str, Tensor] = {}

    @contextmanager
    def attached(self) -> Iterator[None]:
        """Look on for as long as the block runs."""
        rows = [bank for bank in self._banks if runs_on_rows(self._model, bank)]
        base = base_model(self._model)
        with ExitStack() as stack:
            if rows:
                calls = {bank.place.path: self._call for bank in rows}
                stack.enter_context(running_experts(self._model, calls))
            stack.enter_context(telling(self._model, self._banks, self._tell))
            for bank in self._banks:
                handle = base.get_submodule(bank.router.path).register_forward_hook(
                    partial(self._keep, bank.router)
                )
                stack.callback(handle.remove)
            yield

    def begin(self, batch: Batch) -> None:
        """Make ready for a batch."""
        self._batch = batch
        self._told, self._logits = {}, {}

    def signal(self, bank: ExpertBank) -> RoutingSignal:
        """What was seen of one bank."""
        batch, told = self._require_batch(), self._told.get(bank.place.path)
        if told is None:
            raise MeasureError(
                f"{bank.place.path}: the model never ran this bank; leave it out"
            )
        logits = self._logits.get(bank.router.path)
        return RoutingSignal(
            bank=bank.place,
            sample_ids=batch.sample_ids,
            sample_index=batch.sample_index,
            token_ids=batch.token_ids,
            real=batch.real,
            observed=batch.observed,
            chosen=self._by_token(told.chosen),
            weights=self._finite(bank, "routing weight", told.weights),
            logits=None if logits is None else self._finite(bank, "logit", logits),
        )

    def _call(self) -> BankCall:
        return BankCall(kept=self._require_batch().real.flatten())

    def _tell(self, bank: ExpertBank, told: Told) -> None:
        if bank.place.path in self._told:
            raise MeasureError(
                f"{bank.place.path}: the model runs this bank more than once in a "
                "pass; leave the bank out"
            )
        self._told[bank.place.path] = told

    def _keep(
        self, router: Router, _module: nn.Module, _inputs: object, output: object
    ) -> None:
        many = isinstance(output, tuple)
        logits = output[router.logits_output] if many else output
        assert isinstance(logits, Tensor), router.path
        self._logits[router.path] = logits

    def _by_token(self, values: Tensor) -> Tensor:
        return values.reshape(*self._require_batch().real.shape, -1)

    def _finite(self, bank: ExpertBank, what: str, values: Tensor) -> Tensor:
        batch, values = self._require_batch(), self._by_token(values)
        real = batch.real.to(values.device)
        broken = (~torch.isfinite(values)).any(dim=2) & real
        if bool(broken.any()):
            row = int(broken.any(dim=1).nonzero()[0])
            raise MeasureError(
                f"{bank.place.path}: a {what} of sample {batch.sample_ids[row]} is not "
                "finite; are the weights damaged, or is the dtype too narrow?"
            )
        return values

    def _require_batch(self) -> Batch:
        assert self._batch is not None
        return self._batch
