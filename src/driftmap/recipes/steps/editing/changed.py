"""Which tensors did training move, and how far?"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from driftmap.core.errors import DataError
from driftmap.core.places import TensorPlace
from driftmap.families.matrices import site_weight
from driftmap.families.tensor_names import place_of_name
from driftmap.load.adapters import read_adapter
from driftmap.measure.drift.change import inner_product
from driftmap.recipes.steps.comparing.pair import Pair
from driftmap.results.edit_study import TensorChange
from driftmap.signals.factors import LoraFactors


def changed_tensors(
    pair: Pair, within: Sequence[str] = ()
) -> tuple[int, tuple[TensorChange, ...]]:
    """Read what training moved from what it left, whatever the run was called.

    Args:
        pair: Base and tuned model.
        within: Paths of modules outside of which nothing could move; empty where
            nothing is ruled out.

    Returns:
        Tensors that could move (count), and those that did, the most moved first. Of an
        adapter they are the matrices that it sits on; the base of `qlora` is the
        rounded one.
    """
    found = list(_whole(pair, within) if pair.run.is_full else _adapted(pair))
    moved = sorted((one for one in found if one.relative), key=lambda t: -t.relative)
    return len(found), tuple(moved)


def _adapted(pair: Pair) -> Iterator[TensorChange]:
    sites = pair.base.layout.sites
    for site, factors in read_adapter(pair.run.last, sites).factors.items():
        assert isinstance(factors, LoraFactors), site.key
        weight = site_weight(pair.base.model, site)
        yield TensorChange(
            name=site.key,
            layer=site.layer,
            part=site.part,
            relative=inner_product(factors, factors) ** 0.5 / _norm(weight),
        )


def _whole(pair: Pair, within: Sequence[str]) -> Iterator[TensorChange]:
    after = dict(pair.tuned.model.named_parameters())
    for name, weight in pair.base.model.named_parameters():
        now, then = after[name].detach(), weight.detach()
        could = not within or any(name.startswith(f"{path}.") for path in within)
        if not could and torch.equal(now, then):
            continue
        place = _place(name)
        yield TensorChange(
            name=name,
            layer=place.layer,
            part=place.part,
            relative=float((now.double() - then.double()).norm()) / _norm(then),
        )


def _place(name: str) -> TensorPlace:
    try:
        return place_of_name(name)
    except DataError:
        return TensorPlace(name=name, part="block")


def _norm(tensor: Tensor) -> float:
    # A tensor of zeros: the change itself then.
    return float(tensor.detach().double().norm()) or 1.0
