"""How does training leave chosen weights exactly as they were?

A masked gradient is not enough: weight decay moves a weight without one, and so does
momentum from before. So the gradient is masked before it is clipped, or frozen weights
would count in its norm, and after every step the weights are copied back.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import cast

import numpy as np
import torch
from jaxtyping import Int64
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from driftmap.core.places import Site
from driftmap.families.masked import Entries, mask_adapter, module_entries
from driftmap.families.matrices import (
    parameter_entries,
    site_module,
    site_parameter,
)
from driftmap.families.modules import base_module
from driftmap.results.freezing import FreezingWay
from driftmap.results.groups import FlatIndex
from driftmap.tune.adapter import ADAPTER


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Frozen:
    """Weights that tuning may not move, and how they are kept.

    Args:
        members: Flat indices per site, ascending; matrices that are not tuned count
            for nothing.
        way: How they are kept.
    """

    members: Mapping[Site, FlatIndex]
    way: FreezingWay


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Hold:
    """Entries of one parameter, with the values that they keep.

    Args:
        parameter: What the optimiser moves.
        index: Flat indices in the parameter's own layout.
        values: What is there, in the parameter's type.
    """

    parameter: Tensor
    index: Int64[Tensor, " entry"]
    values: Tensor

    def mask_gradient(self) -> None:
        """Take the entries out of the gradient."""
        if self.parameter.grad is not None:
            self.parameter.grad.view(-1)[self.index] = 0

    def put_back(self) -> None:
        """Undo what the optimiser did to the entries."""
        with torch.no_grad():
            self.parameter.view(-1)[self.index] = self.values


def hold_weights(
    model: nn.Module, members: Mapping[Site, FlatIndex]
) -> tuple[Hold, ...]:
    """Hold entries of the weights themselves, for full tuning.

    Args:
        model: In the type it is trained in: what is copied back is what is there now.
        members: Flat indices per site.

    Returns:
        One hold per parameter, whichever of its names the group uses.
    """
    found: dict[int, tuple[Tensor, list[Tensor]]] = {}
    turned = {site.path for site in members if site.transposed}
    for path, index in module_entries(members).items():
        weight = _stored_weight(model.get_submodule(path))
        flat = torch.from_numpy(_in_layout(index, weight, turned=path in turned))
        found.setdefault(id(weight), (weight, []))[1].append(flat)
    for site, index in members.items():
        if site.tensor is not None and index.size:
            weight = site_parameter(site_module(model, site), site)
            flat = torch.from_numpy(parameter_entries(site, index)).to(weight.device)
            found.setdefault(id(weight), (weight, []))[1].append(flat)
    return tuple(
        _hold(weight, torch.cat(flats).unique()) for weight, flats in found.values()
    )


def hold_rows(model: PeftModel, members: Mapping[Site, FlatIndex]) -> tuple[Hold, ...]:
    """Hold whole rows of B at their 0, and under DoRA the rows' magnitudes."""
    holds: list[Hold] = []
    for layer, index in _layers(model, members):
        up = cast(nn.Linear, layer.lora_B[ADAPTER]).weight
        rows = torch.from_numpy(np.unique(index // layer.in_features))
        inside = torch.arange(up.shape[1])
        holds.append(_hold(up, (rows[:, None] * up.shape[1] + inside).reshape(-1)))
        if ADAPTER in layer.lora_magnitude_vector:
            lengths = cast(nn.Linear, layer.lora_magnitude_vector[ADAPTER])
            holds.append(_hold(lengths.weight, rows))
    return tuple(holds)


def hold_columns(
    model: PeftModel, members: Mapping[Site, FlatIndex]
) -> tuple[Hold, ...]:
    """Put 0 into whole columns of A, and hold it there."""
    holds: list[Hold] = []
    for layer, index in _layers(model, members):
        down = cast(nn.Linear, layer.lora_A[ADAPTER]).weight
        columns = torch.from_numpy(np.unique(index % layer.in_features))
        ranks = torch.arange(down.shape[0])[:, None]
        flat = (ranks * down.shape[1] + columns).reshape(-1).to(down.device)
        zeros = torch.zeros(flat.numel(), dtype=down.dtype, device=down.device)
        hold = Hold(parameter=down, index=flat, values=zeros)
        hold.put_back()
        holds.append(hold)
    return tuple(holds)


def adapter_entries(
    model: PeftModel, members: Mapping[Site, FlatIndex]
) -> dict[str, Entries]:
    """Frozen entries of every adapted module that has any.

    Args:
        model: With its adapter.
        members: Flat indices per site.

    Returns:
        Per module path: flat indices in its matrix `[out in]`, ascending and unique.
        Modules that share a weight share its frozen entries, whichever is named.
    """
    base = model.get_base_model()
    of_weight: dict[int, list[Entries]] = {}
    for path, index in module_entries(members).items():
        weight = _stored_weight(base.get_submodule(path))
        of_weight.setdefault(id(weight), []).append(index)
    adapted = [(n, m) for n, m in base.named_modules() if isinstance(m, LoraLayer)]
    found = {n: of_weight.get(id(_stored_weight(m)), []) for n, m in adapted}
    return {n: np.unique(np.concatenate(each)) for n, each in found.items() if each}


def mask_adapters(model: PeftModel, entries: Mapping[str, Entries]) -> None:
    """Let adapters leave single weights alone.

    Args:
        model: With plain LoRA adapters.
        entries: What `adapter_entries` gives.
    """
    base = model.get_base_model()
    for path, index in entries.items():
        mask_adapter(base.get_submodule(path), ADAPTER, index)


def unmoved(frozen: Frozen, sites: Sequence[Site]) -> Mapping[Site, FlatIndex]:
    """Every weight of tuned matrices that cannot move, blocked ones included.

    Args:
        frozen: What is frozen, and how.
        sites: Matrices that are tuned.

    Returns:
        Flat indices per site that has any, ascending and unique. They are listed when
        a site is asked for: blocked rows can be half of a large model.

    >>> site = Site(path="a", layer=0, part="q", num_rows=2, num_columns=3)
    >>> unmoved(Frozen(members={site: np.array([4])}, way="rows"), [site])[site]
    array([3, 4, 5])
    """
    own = {s: frozen.members[s] for s in sites if s in frozen.members}
    if frozen.way == "rows":
        return _Unmoved(
            {
                s: partial(_whole_rows, np.unique(index // s.num_columns), s)
                for s, index in own.items()
                if index.size
            }
        )
    if frozen.way == "columns":
        # Parts of one fused module share its columns of A.
        columns: dict[str, list[Entries]] = {}
        for site, index in own.items():
            if index.size:
                columns.setdefault(site.path, []).append(index % site.num_columns)
        found = {path: np.unique(np.concatenate(c)) for path, c in columns.items()}
        shared = [site for site in sites if site.path in found]
        return _Unmoved({s: partial(_whole_columns, found[s.path], s) for s in shared})
    return {site: index for site, index in own.items() if index.size}


class _Unmoved(Mapping[Site, FlatIndex]):
    """Whole rows or columns, listed weight by weight when they are asked for."""

    def __init__(self, listed: Mapping[Site, Callable[[], Entries]]) -> None:
        self.listed = listed

    def __getitem__(self, site: Site) -> FlatIndex:
        return self.listed[site]()

    def __iter__(self) -> Iterator[Site]:
        return iter(self.listed)

    def __len__(self) -> int:
        return len(self.listed)


def _whole_rows(rows: Entries, site: Site) -> Entries:
    return (rows[:, None] * site.num_columns + np.arange(site.num_columns)).reshape(-1)


def _whole_columns(columns: Entries, site: Site) -> Entries:
    rows = np.arange(site.num_rows, dtype=np.int64)[:, None]
    return (rows * site.num_columns + columns).reshape(-1)


def _hold(parameter: Tensor, index: Tensor) -> Hold:
    index = index.to(parameter.device)
    values = parameter.detach().view(-1)[index].clone()
    return Hold(parameter=parameter, index=index, values=values)


def _in_layout(index: Entries, weight: Tensor, *, turned: bool) -> Entries:
    """Flat indices of `[out in]` as those of the stored matrix."""
    if not turned:
        return index
    num_columns, num_rows = weight.shape
    rows, columns = np.divmod(index, num_columns)
    return columns * num_rows + rows


def _layers(
    model: PeftModel, members: Mapping[Site, FlatIndex]
) -> Iterator[tuple[LoraLayer, Entries]]:
    for path, index in adapter_entries(model, members).items():
        layer = model.get_base_model().get_submodule(path)
        assert isinstance(layer, LoraLayer), path
        yield layer, index


def _stored_weight(module: object) -> Tensor:
    return cast(Tensor, base_module(cast(nn.Module, module)).weight)
