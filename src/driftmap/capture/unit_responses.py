"""Which neurons and heads act otherwise under one instruction than under another?

A neuron's activity is what enters the map down, a head's what it hands to the map o.
Of each statement only the difference between the two means over its tokens leaves the
pass, so memory does not grow with the number of statements.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from driftmap.capture.hooks import entering, evaluating, one_attention_kernel
from driftmap.capture.losses import logits_at
from driftmap.core.errors import MeasureError
from driftmap.core.progress import progress
from driftmap.families.discover import find_layout
from driftmap.families.modules import base_model
from driftmap.results.honesty import UnitKind
from driftmap.signals.batch import Batch

TakeDifferences = Callable[
    [UnitKind, int, Float[Tensor, "statement unit number"]], None
]
"""Takes the kind, the layer and the differences honest minus dishonest: of a neuron
one number, of a head as many as it hands on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitSite:
    """A map whose inputs are the activities of units.

    Args:
        kind: What they are.
        layer: The block.
        path: The map, in the base model.
        num: Units of it.
    """

    kind: UnitKind
    layer: int
    path: str
    num: int


def unit_sites(model: nn.Module) -> tuple[UnitSite, ...]:
    """Find neurons and heads; experts are left out, as are blocks without either.

    Raises:
        FamilyError: The model's layout is not known.
        MeasureError: It has neither neurons nor heads that can be read.
    """
    found: list[UnitSite] = []
    for site in find_layout(model).sites:
        if site.expert is not None or site.part not in ("down", "o"):
            continue
        size = 1 if site.part == "down" else site.head_size
        if size is None:
            continue
        found.append(
            UnitSite(
                kind="neuron" if site.part == "down" else "head",
                layer=site.layer,
                path=site.path,
                num=site.num_columns // size,
            )
        )
    if not found:
        raise MeasureError("the model has no map down or o whose inputs can be read")
    return tuple(found)


def unit_differences(
    model: nn.Module,
    sites: Sequence[UnitSite],
    pairs: Sequence[Batch],
    take: TakeDifferences,
) -> None:
    """Run all pairs and hand on how activities differ, statement by statement.

    Args:
        model: A decoder-only language model; left as it was found.
        sites: From `unit_sites`.
        pairs: Batches whose first half of rows is honest and whose second half is
            dishonest, in the same order; means are over observed tokens.
        take: Is given every site's differences for every batch, in order.

    Raises:
        MeasureError: A number is not finite.
    """
    base = base_model(model)
    modules: Mapping[int, nn.Module] = {
        number: base.get_submodule(site.path) for number, site in enumerate(sites)
    }
    with (
        torch.no_grad(),
        evaluating(model),
        one_attention_kernel(model),
        progress("batches of pairs", len(pairs)) as bar,
    ):
        for batch in pairs:
            shares = batch.observed.float()
            shares = shares / shares.sum(1, keepdim=True)

            def read(
                number: int,
                inputs: Tensor,
                shares: Tensor = shares,
                batch: Batch = batch,
            ) -> Tensor:
                _hand_on(sites[number], inputs, shares, batch, take)
                return inputs

            with entering(modules, read):
                last = batch.real.shape[1] - 1
                logits_at(model, batch, torch.tensor([last], device=batch.real.device))
            bar.advance()


def _hand_on(
    site: UnitSite,
    inputs: Tensor,
    shares: Tensor,
    batch: Batch,
    take: TakeDifferences,
) -> None:
    shares = shares.to(inputs.device)
    states = inputs.reshape(*batch.real.shape, -1).float()
    states = states.masked_fill((shares == 0)[..., None], 0)
    means = torch.einsum("st,stw->sw", shares, states)
    half = len(means) // 2
    differences = means[:half] - means[half:]
    if not bool(torch.isfinite(differences).all()):
        raise MeasureError(
            f"{site.path}: an input is not finite; are the weights damaged, or is the "
            "dtype too narrow?"
        )
    take(site.kind, site.layer, differences.reshape(half, site.num, -1).cpu())
