"""Products of gradients that are made at random, kept whole beside them for oracles."""

from dataclasses import dataclass, replace

import numpy as np

from driftmap.core.places import TensorPlace
from driftmap.results.pair_products import NONE, PairProducts, Truth

LAYOUT = (
    ("embed", None, None, 6),
    ("q", 0, "attention", 3),
    ("o", 0, "attention", 4),
    ("down", 0, "mlp", 5),
    ("q", 1, "attention", 3),
    ("down", 1, "mlp", 2),
)
"""Part, layer, half and weights of each tensor."""


@dataclass(frozen=True, kw_only=True, eq=False)
class MadePairs:
    """Products, their truth, and the gradients: `[sample weight]` per tensor."""

    products: PairProducts
    truth: Truth
    queries: list[np.ndarray]
    originals: list[np.ndarray]


def places(layout=LAYOUT):
    return tuple(
        TensorPlace(
            name=f"tensor.{number}.{part}",
            part=part,
            layer=layer,
            half=half,
            num_weights=size,
        )
        for number, (part, layer, half, size) in enumerate(layout)
    )


def made_pairs(
    num_originals=7,
    versions=1,
    signal=1.0,
    seed=0,
    layout=LAYOUT,
    sets=("paraphrased",),
):
    """Queries are their original times `signal`, plus noise of size 1, all pairs."""
    rng = np.random.default_rng(seed)
    tensors = places(layout)
    sizes = [tensor.num_weights for tensor in tensors]
    truth = np.tile(np.arange(num_originals), versions * len(sets))
    originals = [rng.normal(size=(num_originals, size)) for size in sizes]
    queries = [
        signal * one[truth] + rng.normal(size=(truth.size, one.shape[1]))
        for one in originals
    ]
    of_sets = np.repeat(np.array(sets), versions * num_originals).tolist()
    return measured(queries, originals, truth, tensors, tuple(of_sets))


def measured(queries, originals, truth, tensors, sets=None):
    """Inner products of gradients that are given, every query with every original."""
    num, num_originals = len(queries[0]), len(originals[0])
    products = PairProducts(
        queries=tuple(f"q{n}" for n in range(num)),
        originals=tuple(f"o{n}" for n in range(num_originals)),
        candidates=np.tile(np.arange(num_originals), (num, 1)),
        tensors=tensors,
        dot=np.stack(
            [q @ o.T for q, o in zip(queries, originals, strict=True)], axis=2
        ),
        query_energy=np.stack([(q**2).sum(axis=1) for q in queries], axis=1),
        original_energy=np.stack([(o**2).sum(axis=1) for o in originals], axis=1),
        provenance={"made": "at random"},
    )
    known = Truth(
        original=np.array(truth),
        same=np.arange(num_originals),
        sets=sets or ("paraphrased",) * num,
    )
    return MadePairs(
        products=products, truth=known, queries=queries, originals=originals
    )


def with_candidates(products, lists):
    """Keep some candidates of each query, in the order given."""
    width = max(len(numbers) for numbers in lists)
    candidates = np.full((len(lists), width), NONE)
    dot = np.zeros((len(lists), width, len(products.tensors)))
    for row, numbers in enumerate(lists):
        candidates[row, : len(numbers)] = numbers
        dot[row, : len(numbers)] = products.dot[row, list(numbers)]
    return replace(products, candidates=candidates, dot=dot)
