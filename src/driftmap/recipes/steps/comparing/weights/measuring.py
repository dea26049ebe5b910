"""How far did every matrix move, every layer, every expert, from one read of each?"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from driftmap.core.places import Part, Site
from driftmap.core.progress import progress
from driftmap.families.expert_spec import ExpertBank
from driftmap.measure.drift import changed_matrix, matrix_moments
from driftmap.results.weight_changes import ChangedBank, ChangedMatrix, LayerPart
from driftmap.signals.changes import MatrixChange

MOST_EXPERTS = 3
"""Experts of each layer whose matrices have their directions looked at."""

WeightOf = Callable[[Site], Tensor]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Measured:
    """What was read of all matrices.

    Args:
        cells: Every part of every layer.
        matrices: Those that moved, in the model's order.
        banks: Experts; empty where there are none.
    """

    cells: tuple[LayerPart, ...]
    matrices: tuple[ChangedMatrix, ...]
    banks: tuple[ChangedBank, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Read:
    """One matrix that was read; `size` is 0 where the base is not known."""

    site: Site
    size: float
    found: ChangedMatrix | None


def measured(
    sites: Sequence[Site],
    changes: Mapping[Site, MatrixChange],
    weight_of: WeightOf | None,
    banks: Sequence[ExpertBank] = (),
) -> Measured:
    """Measure every matrix; one is in memory at a time.

    Args:
        sites: All matrices, in the model's order.
        changes: What training added to those that it tuned.
        weight_of: Gives a matrix under the change; None where the base is not known.
        banks: Experts whose matrices are among them.
    """
    read = []
    with progress("changes of weights", len(sites)) as bar:
        for site in sites:
            read.append(_read(site, changes.get(site), weight_of))
            bar.advance()
    closer = {
        site.key: changed_matrix(site, changes[site], weight_of and weight_of(site))
        for site in _most_moved(read)
    }
    matrices = [one.found for one in read if one.found is not None]
    return Measured(
        cells=_cells(read, is_known=weight_of is not None),
        matrices=tuple(closer.get(one.key) or one for one in matrices),
        banks=tuple(_bank(bank, read, changes, weight_of) for bank in banks),
    )


def _read(site: Site, change: MatrixChange | None, weight_of: WeightOf | None) -> _Read:
    weight = None if weight_of is None else weight_of(site)
    is_expert = site.expert is not None
    found = (
        None
        if change is None
        else changed_matrix(site, change, weight, with_spectrum=not is_expert)
    )
    size = found.size if found is not None else None
    if size is None:
        size = 0.0 if weight is None else _length(weight)
    return _Read(site=site, size=size, found=found)


def _length(weight: Tensor) -> float:
    squares = [float(row.double().square().sum()) for row in weight.detach().split(256)]
    return sum(squares) ** 0.5


def _most_moved(read: Sequence[_Read]) -> list[Site]:
    """Matrices of the experts of each bank that moved most."""
    squares: dict[str, dict[int, float]] = {}
    for one in read:
        if one.site.expert is not None and one.found is not None:
            bank = squares.setdefault(one.site.path, {})
            bank[one.site.expert] = bank.get(one.site.expert, 0.0) + one.found.length**2
    chosen = {
        path: sorted(bank, key=lambda expert: (-bank[expert], expert))[:MOST_EXPERTS]
        for path, bank in squares.items()
    }
    return [
        one.site
        for one in read
        if one.found is not None and one.site.expert in chosen.get(one.site.path, ())
    ]


def _cells(read: Sequence[_Read], *, is_known: bool) -> tuple[LayerPart, ...]:
    held: dict[tuple[int, Part], list[_Read]] = {}
    for one in read:
        part: Part = one.site.part if one.site.expert is None else "expert"
        held.setdefault((one.site.layer, part), []).append(one)
    return tuple(
        LayerPart(
            layer=layer,
            part=part,
            num_matrices=len(here),
            num_moved=sum(one.found is not None for one in here),
            num_weights=sum(one.site.num_weights for one in here),
            length=sum(one.found.length**2 for one in here if one.found) ** 0.5,
            size=sum(one.size**2 for one in here) ** 0.5 if is_known else None,
        )
        for (layer, part), here in held.items()
    )


def _bank(
    bank: ExpertBank,
    read: Sequence[_Read],
    changes: Mapping[Site, MatrixChange],
    weight_of: WeightOf | None,
) -> ChangedBank:
    change, size = np.zeros((2, bank.place.num_experts))
    router: tuple[Float64[np.ndarray, " _"], Float64[np.ndarray, " _"]] | None = None
    for one in read:
        if one.site.path == bank.place.path and one.site.expert is not None:
            moved = 0.0 if one.found is None else one.found.length
            change[one.site.expert] += moved**2
            size[one.site.expert] += one.size**2
        elif one.site.path == bank.router.path and weight_of is not None:
            router = _rows(one.site, changes, weight_of(one.site))
    none = np.empty(0)
    return ChangedBank(
        path=bank.place.path,
        layer=bank.place.layer,
        lengths=np.sqrt(change),
        sizes=none if weight_of is None else np.sqrt(size),
        router_lengths=none if router is None else router[0],
        router_sizes=none if router is None else router[1],
    )


def _rows(
    site: Site, changes: Mapping[Site, MatrixChange], weight: Tensor
) -> tuple[Float64[np.ndarray, " row"], Float64[np.ndarray, " row"]]:
    """|dW| and |W| of the router's rows, one for each expert."""
    sizes = torch.linalg.vector_norm(weight.detach().double(), dim=1).cpu().numpy()
    change = changes.get(site)
    if change is None:
        return np.zeros(len(sizes)), sizes
    return matrix_moments(weight, change).rows.l2, sizes
