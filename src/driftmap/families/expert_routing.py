"""What do a model's routers decide for some tokens, and by which rule?"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import cast

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from driftmap.core.errors import FamilyError
from driftmap.families.bank_calls import Told, telling
from driftmap.families.expert_spec import ExpertBank, Router
from driftmap.families.modules import base_model, base_module
from driftmap.families.routing_law import RoutingLaw, SeenRouting, fit_law


def see_routing(
    model: nn.Module,
    banks: Sequence[ExpertBank],
    token_ids: Int64[Tensor, "sample token"],
) -> Mapping[str, SeenRouting]:
    """Run tokens through a model and note what its routers give.

    Args:
        model: In eval mode.
        banks: From `find_experts`.
        token_ids: Samples without padding.

    Returns:
        By the bank's path. Where a bank is not told what was chosen, the K largest
        logits stand for it, with no weights (NaN).

    Raises:
        FamilyError: A bank or a router was never called.
    """
    logits: dict[str, Tensor] = {}
    told: dict[str, Told] = {}

    def note_choice(bank: ExpertBank, given: Told) -> None:
        told[bank.place.path] = given

    with ExitStack() as hooks:
        for bank in banks:
            hooks.enter_context(_noting_logits(model, bank, logits))
        asked = [bank for bank in banks if bank.told_choice]
        hooks.enter_context(telling(model, asked, note_choice))
        with torch.no_grad():
            model(input_ids=token_ids, use_cache=False)
    seen = {}
    for bank in banks:
        path = bank.place.path
        if path not in logits or (bank.told_choice and path not in told):
            raise FamilyError(
                f"{path}: the model ran without calling it or its router "
                f"{bank.router.path}, so it cannot be measured"
            )
        seen[path] = _seen(model, bank, logits[path], told.get(path))
    return seen


def find_law(
    model: nn.Module,
    bank: ExpertBank,
    first: SeenRouting,
    second: SeenRouting,
) -> RoutingLaw:
    """The law of a bank's router, fitted on one batch and accepted on another.

    Args:
        model: In eval mode.
        bank: Which bank.
        first: From `see_routing`.
        second: The same of other tokens.

    Raises:
        FamilyError: The bank is not told a choice, or no law fits.
    """
    if not bank.told_choice:
        raise FamilyError(
            f"{bank.place.path}: its module is not told which experts were chosen, so "
            "that experts cannot be routed around; change their weights instead"
        )
    groups = (bank.router.num_groups, bank.router.num_kept_groups)
    return fit_law(bank.place.path, first, second, groups)


def router_logits(router: Router, output: object) -> Float[Tensor, "token expert"]:
    """The logits among what a router's module gave.

    Args:
        router: Which router.
        output: What its forward returned.
    """
    if isinstance(output, Tensor):
        found = output
    else:
        found = cast(Sequence[Tensor], output)[router.logits_output]
    return found.reshape(-1, found.shape[-1])


def named_tensor(model: nn.Module, name: str) -> Tensor:
    """A parameter or buffer of the base model by its name."""
    path, _, leaf = name.rpartition(".")
    return cast(
        Tensor, getattr(base_module(base_model(model).get_submodule(path)), leaf)
    )


@contextmanager
def _noting_logits(
    model: nn.Module, bank: ExpertBank, logits: dict[str, Tensor]
) -> Iterator[None]:
    def note(_: nn.Module, __: object, output: object) -> None:
        logits[bank.place.path] = router_logits(bank.router, output).detach()

    router = base_model(model).get_submodule(bank.router.path)
    handle = router.register_forward_hook(note)
    try:
        yield
    finally:
        handle.remove()


def _seen(
    model: nn.Module, bank: ExpertBank, logits: Tensor, told: Told | None
) -> SeenRouting:
    if told is None:
        chosen = logits.topk(bank.place.num_chosen, dim=-1).indices
        weights = torch.full(chosen.shape, torch.nan, device=chosen.device)
    else:
        chosen = told.chosen.detach().flatten(0, -2)
        weights = told.weights.detach().flatten(0, -2)
    bias, scale = bank.router.selection_bias, bank.router.expert_scale
    return SeenRouting(
        logits=logits,
        chosen=chosen,
        weights=weights,
        bias=None if bias is None else named_tensor(model, bias).detach().flatten(),
        expert_scale=None if scale is None else named_tensor(model, scale).detach(),
    )
