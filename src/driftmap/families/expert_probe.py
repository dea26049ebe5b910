"""Is what was found of a model's experts true of it?

Tried on the model itself, which is left as it was: a visited expert matters and gets
a gradient, an unvisited one does neither; the router's rows belong to the bank's
slices, since turning both around together changes nothing; one expert's tensors can
be taken out, kept in a file's format and put back to the last bit.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol, cast

import safetensors.torch
import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from driftmap.core.errors import FamilyError
from driftmap.families.expert_names import hub_pieces, hub_views
from driftmap.families.expert_routing import find_law, named_tensor, see_routing
from driftmap.families.expert_spec import ExpertBank
from driftmap.families.expert_tensors import bank_parameter, slice_of, stored_views
from driftmap.families.modules import base_model
from driftmap.families.routing_law import RoutingLaw, SeenRouting

_CLOSE = 1e-4
"""Largest difference of logits, against the largest: sums in another order."""


class _Output(Protocol):
    logits: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundLaws:
    """By which rules the routers of a proved model choose.

    Args:
        laws: By the bank's path, its router's law; banks without one are missing.
        lawless: By the bank's path, why its router has no law that is known.
    """

    laws: Mapping[str, RoutingLaw]
    lawless: Mapping[str, str]


def probe_experts(
    model: nn.Module,
    banks: Sequence[ExpertBank],
    first: Int64[Tensor, "sample token"],
    second: Int64[Tensor, "sample token"],
) -> FoundLaws:
    """Prove what is said of a model's experts: a few forward passes per bank.

    Args:
        model: In float32, on one device.
        banks: What `find_experts` said of it.
        first: Tokens, without padding; the law is fitted on all of them, the rest is
            tried on the first few.
        second: Other tokens, on which the law must hold.

    Raises:
        FamilyError: Names the first bank that is not as it was said to be.
    """
    few = first[:1, :2]
    with _evaluating(model):
        seen = see_routing(model, banks, few)
        with torch.no_grad():
            before = _logits(model, few)
        if not before.isfinite().all():
            raise FamilyError("the model's logits are not finite: nothing can be told")
        _check_gradients(model, banks, seen, few)
        for bank in banks:
            visited = _visited(bank, seen[bank.place.path])
            _check_visits(model, bank, visited, few, before)
            _check_order(model, bank, few, before)
            _check_slices(model, bank, visited[0])
        with torch.no_grad():
            after = _logits(model, few)
        if not torch.equal(after, before):
            raise FamilyError("the logits differ after every expert was put back")
        laws, lawless = _laws(model, banks, first, second)
    return FoundLaws(laws=laws, lawless=lawless)


def _laws(
    model: nn.Module, banks: Sequence[ExpertBank], first: Tensor, second: Tensor
) -> tuple[dict[str, RoutingLaw], dict[str, str]]:
    fitted = see_routing(model, banks, first)
    checked = see_routing(model, banks, second)
    laws: dict[str, RoutingLaw] = {}
    lawless: dict[str, str] = {}
    for bank in banks:
        path = bank.place.path
        try:
            laws[path] = find_law(model, bank, fitted[path], checked[path])
        except FamilyError as refusal:
            lawless[path] = str(refusal)
    return laws, lawless


def _visited(bank: ExpertBank, seen: SeenRouting) -> list[int]:
    """Experts that a token was sent to, those that do nothing left out."""
    taken = seen.chosen[seen.weights != 0]
    count = bank.place.num_experts
    visited = [expert for expert in taken.unique().tolist() if expert < count]
    if not visited:
        raise FamilyError(
            f"{bank.place.path}: none of its experts is used on these tokens; use "
            "other tokens"
        )
    return visited


def _check_visits(
    model: nn.Module,
    bank: ExpertBank,
    visited: Sequence[int],
    tokens: Tensor,
    before: Float[Tensor, "sample token vocabulary"],
) -> None:
    free = [e for e in range(bank.place.num_experts) if e not in visited]
    for expert in (visited[0], *free[:1]):
        used = expert in visited
        views = stored_views(model, bank, expert)
        with _kept(list(views.values())), torch.no_grad():
            for view in views.values():
                view.zero_()
            same = torch.equal(_logits(model, tokens), before)
        if same == used:
            raise FamilyError(
                f"{bank.experts[expert].key}: zeroing it changes "
                + ("no logit, though" if used else "logits, though no")
                + " tokens were sent to it"
            )


def _check_gradients(
    model: nn.Module,
    banks: Sequence[ExpertBank],
    seen: Mapping[str, SeenRouting],
    tokens: Tensor,
) -> None:
    held = dict.fromkeys(
        bank_parameter(model, bank, tensor, expert)
        for bank in banks
        for tensor in bank.tensors
        for expert in range(bank.place.num_experts)
    )
    with _trained(list(held)), torch.enable_grad():
        loss = _logits(model, tokens).float().logsumexp(-1).sum()
        found = torch.autograd.grad(loss, list(held), allow_unused=True)
    gradients = dict(zip(held, found, strict=True))
    for bank in banks:
        visited = _visited(bank, seen[bank.place.path])
        for expert, place in enumerate(bank.experts):
            moved = any(
                (whole := gradients[bank_parameter(model, bank, tensor, expert)])
                is not None
                and bool(slice_of(whole, bank, tensor, expert).any())
                for tensor in bank.tensors
            )
            if moved != (expert in visited):
                raise FamilyError(
                    f"{place.key}: has {'a' if moved else 'no'} gradient, though "
                    f"{'no' if moved else 'some'} tokens were sent to it"
                )


def _check_order(
    model: nn.Module, bank: ExpertBank, tokens: Tensor, before: Tensor
) -> None:
    """Turn the experts around, which keeps neighbours in their groups."""
    count = bank.place.num_experts
    router = bank.router
    names = (*router.parameters, router.selection_bias, router.expert_scale)
    rows = [named_tensor(model, name).data for name in names if name is not None]
    experts = [list(stored_views(model, bank, e).values()) for e in range(count)]
    with _kept([*rows, *(view for one in experts for view in one)]), torch.no_grad():
        for row in rows:
            ordered = row.view(-1) if row.numel() == router.num_rows else row
            ordered[:count] = ordered[:count].flip(0).clone()
        for low, high in zip(experts, reversed(experts), strict=True):
            if low is high or low[0].data_ptr() > high[0].data_ptr():
                continue
            for one, other in zip(low, high, strict=True):
                held = one.clone()
                one.copy_(other)
                other.copy_(held)
        after = _logits(model, tokens)
    error = ((after - before).abs().max() / before.abs().max()).item()
    if not error <= _CLOSE:
        raise FamilyError(
            f"{bank.place.path}: turning its experts and the rows of {router.weight} "
            f"around together changes logits (by {error:.2g} of the largest), so they "
            "do not belong together row by row"
        )


def _check_slices(model: nn.Module, bank: ExpertBank, expert: int) -> None:
    pieces = hub_pieces(model, bank)
    views = hub_views(model, bank, pieces, expert)
    stored = list(stored_views(model, bank, expert).values())
    original = [view.clone() for view in stored]
    written = {name: view.contiguous() for name, view in views.items()}
    kept = safetensors.torch.load(safetensors.torch.save(written))
    with torch.no_grad():
        for view in views.values():
            view.add_(1.0)
        moved = all(
            not bool((view == old).any())
            for view, old in zip(stored, original, strict=True)
        )
        for name, view in views.items():
            view.copy_(kept[name])
    same = all(torch.equal(v, o) for v, o in zip(stored, original, strict=True))
    if not (moved and same):
        raise FamilyError(
            f"{bank.experts[expert].key}: its pieces {', '.join(views)} are not all of "
            "its numbers, once each"
        )


@contextmanager
def _kept(tensors: Sequence[Tensor]) -> Iterator[None]:
    """Put numbers back at the end."""
    copies = [tensor.clone() for tensor in tensors]
    try:
        yield
    finally:
        with torch.no_grad():
            for tensor, copy in zip(tensors, copies, strict=True):
                tensor.copy_(copy)


@contextmanager
def _trained(parameters: Sequence[nn.Parameter]) -> Iterator[None]:
    """Let parameters ask for gradients."""
    asked = [one.requires_grad for one in parameters]
    try:
        for one in parameters:
            one.requires_grad_(True)
        yield
    finally:
        for one, before in zip(parameters, asked, strict=True):
            one.requires_grad_(before)


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


def _logits(model: nn.Module, token_ids: Tensor) -> Tensor:
    output = cast(_Output, base_model(model)(input_ids=token_ids, use_cache=False))
    return output.logits
