"""What does a model do when its routers take some experts last, or first?

A suppressed expert stands last in the order of choice and gets the logit
`min z - 0.01`; a promoted one stands first and gets `max z + 0.01` (SteerMoE, Fayyaz et
al. 2025). What others get in its place follows from the router's own law.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from driftmap.core.errors import FamilyError, MeasureError, UsageError
from driftmap.core.places import ExpertPlace
from driftmap.families.bank_calls import Told, telling
from driftmap.families.expert_routing import named_tensor, router_logits
from driftmap.families.expert_spec import ExpertBank, Router
from driftmap.families.modules import base_model
from driftmap.families.routing_law import RoutingLaw
from driftmap.intervene.experts import by_bank

_BEYOND = 0.01
"""How far beyond all other logits an expert's is set."""

Laws = Mapping[str, RoutingLaw]
"""By path of a bank, the law of its router."""


@contextmanager
def suppressed_experts(
    model: nn.Module,
    banks: Sequence[ExpertBank],
    laws: Laws,
    experts: Iterable[ExpertPlace],
) -> Iterator[None]:
    """Have routers take experts last for as long as the block runs.

    Only tokens that would have gone to one of them are sent elsewhere; of all others
    no bit changes.

    Args:
        model: With or without PEFT adapters.
        banks: Its banks, from `find_experts`.
        laws: Of the banks that have any of the experts.
        experts: Which experts.

    Raises:
        FamilyError: No law is known of a bank, or it is not told a choice.
        MeasureError: The model has no such expert.
        UsageError: So many of a bank are suppressed that too few are left to choose.
    """
    with ExitStack() as undo:
        for bank, numbers in by_bank(banks, experts):
            law = _law(laws, bank)
            _require_others(bank, law, numbers)
            undo.enter_context(_Rerouted(model, bank, law, numbers).suppressed())
        yield


@contextmanager
def promoted_experts(
    model: nn.Module,
    banks: Sequence[ExpertBank],
    laws: Laws,
    experts: Iterable[ExpertPlace],
) -> Iterator[None]:
    """Have routers take experts first for as long as the block runs, at every token.

    Args:
        model: With or without PEFT adapters.
        banks: Its banks, from `find_experts`.
        laws: Of the banks that have any of the experts.
        experts: Which experts.

    Raises:
        FamilyError: No law is known of a bank, or it is not told a choice.
        MeasureError: The model has no such expert.
        UsageError: More experts of a bank are promoted than a token gets.
    """
    with ExitStack() as undo:
        for bank, numbers in by_bank(banks, experts):
            law = _law(laws, bank)
            if len(numbers) > law.num_chosen:
                raise UsageError(
                    f"{bank.place.path}: {len(numbers)} experts are promoted, and a "
                    f"token gets {law.num_chosen}; promote no more than that in a bank"
                )
            undo.enter_context(_Rerouted(model, bank, law, numbers).promoted())
        yield


class _Rerouted:
    """Some experts of one bank, and what its router gave last."""

    def __init__(
        self, model: nn.Module, bank: ExpertBank, law: RoutingLaw, numbers: list[int]
    ) -> None:
        self._model = model
        self._bank = bank
        self._law = law
        self._numbers = numbers
        self._logits: Tensor | None = None

    @contextmanager
    def suppressed(self) -> Iterator[None]:
        with self._seen(), telling(self._model, [self._bank], self._tell_without):
            yield

    @contextmanager
    def promoted(self) -> Iterator[None]:
        with self._seen(), telling(self._model, [self._bank], self._tell_with):
            yield

    @contextmanager
    def _seen(self) -> Iterator[None]:
        router = base_model(self._model).get_submodule(self._bank.router.path)
        handle = router.register_forward_hook(partial(self._keep, self._bank.router))
        try:
            yield
        finally:
            handle.remove()
            self._logits = None

    def _keep(
        self, router: Router, _module: nn.Module, _inputs: object, output: object
    ) -> None:
        self._logits = router_logits(router, output)

    def _tell_without(self, _bank: ExpertBank, told: Told) -> Told | None:
        gone = torch.tensor(self._numbers, device=told.chosen.device)
        rows = torch.isin(told.chosen, gone).any(dim=1)
        if not bool(rows.any()):
            return None
        logits = self._taken()[rows].float()
        logits[:, gone] = logits.amin(dim=1, keepdim=True) - _BEYOND
        return self._changed(told, rows, logits, -torch.inf)

    def _tell_with(self, _bank: ExpertBank, told: Told) -> Told:
        rows = torch.ones_like(told.chosen[:, 0], dtype=torch.bool)
        logits = self._taken().float()
        first = torch.tensor(self._numbers, device=logits.device)
        logits = logits.index_copy(
            1,
            first,
            (logits.amax(dim=1, keepdim=True) + _BEYOND).expand(-1, len(first)),
        )
        return self._changed(told, rows, logits, torch.inf)

    def _changed(
        self,
        told: Told,
        rows: Tensor,
        logits: Float[Tensor, "token expert"],
        place: float,
    ) -> Told:
        """Choose anew at some tokens, with our experts at one end of the order."""
        bias, scale = self._bank.router.selection_bias, self._bank.router.expert_scale
        order = self._law.selection(logits, self._vector(bias)).clone()
        order[:, self._numbers] = place
        indices: Int[Tensor, "token slot"] = order.topk(self._law.num_chosen).indices
        weights = self._law.weights(logits, indices, self._vector(scale))
        chosen, changed = told.chosen.clone(), told.weights.clone()
        chosen[rows] = indices.to(chosen.dtype)
        changed[rows] = weights.to(changed.dtype)
        return Told(chosen=chosen, weights=changed)

    def _vector(self, name: str | None) -> Tensor | None:
        return None if name is None else named_tensor(self._model, name).flatten()

    def _taken(self) -> Tensor:
        logits, self._logits = self._logits, None
        if logits is None:
            raise MeasureError(
                f"{self._bank.place.path}: its router {self._bank.router.path} gave "
                "nothing before it ran; ablate its experts instead"
            )
        return logits


def _law(laws: Laws, bank: ExpertBank) -> RoutingLaw:
    law = laws.get(bank.place.path)
    if law is None:
        raise FamilyError(
            f"{bank.place.path}: no rule of its router is known, so that experts can "
            "be neither suppressed nor promoted; ablate them instead"
        )
    return law


def _require_others(bank: ExpertBank, law: RoutingLaw, numbers: list[int]) -> None:
    """Enough experts are left in whichever groups the router keeps."""
    size = bank.router.num_rows // law.num_groups
    gone = np.bincount(np.array(numbers) // size, minlength=law.num_groups)
    left = np.sort(size - gone)[: law.num_kept_groups].sum()
    if left < law.num_chosen:
        raise UsageError(
            f"{bank.place.path}: {len(numbers)} experts are suppressed, which leaves a "
            f"token {left} to choose from, and it gets {law.num_chosen}; suppress fewer"
        )
