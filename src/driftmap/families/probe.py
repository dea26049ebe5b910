"""Is a layout true of its model?

Every named matrix must matter: zeroed, it changes the logits; put back, every byte
is as before. The parts of a fused matrix must take each of its rows exactly once.
Experts, which not every token visits, are left to `expert_probe`.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol, cast

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from driftmap.core.errors import FamilyError
from driftmap.core.places import Site
from driftmap.families.matrices import set_site_weight, site_module, site_weight
from driftmap.families.modules import base_model, map_shape
from driftmap.families.spec import ModelLayout


class _Output(Protocol):
    logits: Tensor


def probe(
    model: nn.Module, layout: ModelLayout, token_ids: Int64[Tensor, "sample token"]
) -> None:
    """Prove a layout on its model: one forward pass per site, model left as found.

    Args:
        model: With or without PEFT adapters, on one device.
        layout: What `find_layout` said of it.
        token_ids: Two or more different tokens per sample: with a single one,
            attention has nothing to choose and queries and keys do not matter.

    Raises:
        FamilyError: Names the first site or path the layout is wrong about.
    """
    _check_paths(model, layout)
    _check_rows(model, layout)
    with _evaluating(model):
        before = _logits(model, token_ids)
        if not before.isfinite().all():
            raise FamilyError("the model's logits are not finite: nothing can be told")
        for site in _outside_banks(layout):
            with _zeroed(model, site):
                same = torch.equal(_logits(model, token_ids), before)
            if same:
                raise FamilyError(
                    f"{site.key}: zeroing it changes no logit, so the model does not "
                    f"use it as {site.part} on these tokens"
                )
        if not torch.equal(_logits(model, token_ids), before):
            raise FamilyError("the logits differ after every site was put back")


def _outside_banks(layout: ModelLayout) -> list[Site]:
    return [site for site in layout.sites if site.expert is None]


def _check_paths(model: nn.Module, layout: ModelLayout) -> None:
    base = base_model(model)
    heads = () if layout.head is None else (layout.head,)
    for path in (*layout.blocks, *layout.norms, layout.embedding, *heads):
        try:
            base.get_submodule(path)
        except AttributeError:
            raise FamilyError(f"{path}: the model has no such module") from None


def _check_rows(model: nn.Module, layout: ModelLayout) -> None:
    """Every row of every module belongs to exactly one site."""
    claims: dict[str, list[Site]] = defaultdict(list)
    for site in _outside_banks(layout):
        if site.tensor is None:
            claims[site.path].append(site)
    for path, sites in claims.items():
        num_rows = map_shape(site_module(model, sites[0]))[0]
        taken = Counter(
            row
            for site in sites
            for row in (range(num_rows) if site.split is None else site.split.rows())
        )
        parts = ", ".join(site.part for site in sites)
        if twice := [row for row, times in taken.items() if times > 1]:
            raise FamilyError(f"{path}: row {min(twice)} belongs twice to {parts}")
        if free := set(range(num_rows)) - set(taken):
            raise FamilyError(f"{path}: row {min(free)} belongs to none of {parts}")


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Without dropout and gradients; every module gets its own mode back."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module in training:
            module.training = True


@contextmanager
def _zeroed(model: nn.Module, site: Site) -> Iterator[None]:
    kept = site_weight(model, site).clone()
    set_site_weight(model, site, torch.zeros_like(kept))
    try:
        yield
    finally:
        set_site_weight(model, site, kept)
        if not torch.equal(_bytes(site_weight(model, site)), _bytes(kept)):
            raise FamilyError(f"{site.key}: its bytes differ after it was put back")


def _bytes(values: Float[Tensor, "row column"]) -> Tensor:
    return values.contiguous().view(torch.uint8)


def _logits(model: nn.Module, token_ids: Tensor) -> Tensor:
    output = cast(_Output, model(input_ids=token_ids, use_cache=False))
    return output.logits
