"""What do slices of one parameter say together?"""

from dataclasses import replace

import numpy as np

from driftmap.core.places import TensorPlace
from driftmap.results.pair_products import PairProducts
from driftmap.stats.retrieval.units import num_weights


def joined(products: PairProducts) -> PairProducts:
    """Sum the slices of each parameter: D, A and B of slices add up to its own.

    A parameter stands where its first slice stood. It keeps a part, layer or half that
    all its slices share; a fused parameter of several parts is called by that of its
    first slice, one that holds experts is of part `expert`.

    Args:
        products: Of tensors and slices.

    >>> from driftmap.core.places import TensorPlace
    >>> one = np.ones((1, 1, 2))
    >>> names = ["qkv.weight#q", "qkv.weight#k"]
    >>> joined(PairProducts(
    ...     queries=("a",), originals=("b",), candidates=np.zeros((1, 1), dtype=int),
    ...     tensors=tuple(TensorPlace(name=n, part="q") for n in names),
    ...     dot=one, query_energy=one[0], original_energy=one[0],
    ... )).dot
    array([[[2.]]])
    """
    slices: dict[str, list[int]] = {}
    for number, tensor in enumerate(products.tensors):
        slices.setdefault(tensor.parameter, []).append(number)
    groups = list(slices.values())
    dot = np.empty((*products.candidates.shape, len(groups)))
    for row in range(len(dot)):
        dots = np.asarray(products.dot[row])
        for column, group in enumerate(groups):
            dot[row, :, column] = dots[:, group].sum(axis=1)
    asked, found = products.query_energy, products.original_energy
    return replace(
        products,
        tensors=tuple(
            _whole(name, [products.tensors[n] for n in group])
            for name, group in slices.items()
        ),
        dot=dot,
        query_energy=np.stack([asked[:, g].sum(axis=1) for g in groups], axis=1),
        original_energy=np.stack([found[:, g].sum(axis=1) for g in groups], axis=1),
    )


def _whole(name: str, slices: list[TensorPlace]) -> TensorPlace:
    if len(slices) == 1:
        return slices[0]
    first = slices[0]
    return TensorPlace(
        name=name,
        part=first.part if first.expert is None else "expert",
        layer=first.layer if len({t.layer for t in slices}) == 1 else None,
        half=first.half if len({t.half for t in slices}) == 1 else None,
        num_weights=num_weights(slices),
    )
