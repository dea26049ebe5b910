"""Made products of pairs: random gradients of a few tensors, multiplied out."""

import numpy as np

from driftmap.core.places import TensorPlace
from driftmap.results.pair_products import NONE, PairProducts, Truth

TENSORS = (
    TensorPlace(name="model.embed_tokens.weight", part="embed", num_weights=640),
    TensorPlace(
        name="model.layers.0.self_attn.q_proj.weight",
        part="q", layer=0, half="attention", num_weights=256,
    ),
    TensorPlace(
        name="model.layers.0.mlp.up_proj.weight",
        part="up", layer=0, half="mlp", num_weights=640,
    ),
    TensorPlace(name="model.norm.weight", part="norm"),
)  # fmt: skip


def made_pairs(
    *,
    queries: int = 4,
    originals: int = 5,
    candidates: int | None = None,
    seed: int = 0,
) -> tuple[PairProducts, Truth]:
    """Query i is original i with noise; `candidates` keeps so many, None all."""
    rng = np.random.default_rng(seed)
    width = 6
    known = rng.normal(size=(originals, len(TENSORS), width))
    asked = known[:queries] + 0.5 * rng.normal(size=(queries, len(TENSORS), width))
    chosen = np.tile(np.arange(originals), (queries, 1))
    if candidates is not None:
        chosen = np.stack(
            [rng.permutation(originals)[:candidates] for _ in range(queries)]
        )
    dot = np.einsum("qtw,qctw->qct", asked, known[chosen])
    if candidates is not None and queries > 1:
        chosen[1, -1], dot[1, -1] = NONE, 0.0
    products = PairProducts(
        queries=tuple(f"s{n}_v" for n in range(queries)),
        originals=tuple(f"s{n}" for n in range(originals)),
        candidates=chosen,
        tensors=TENSORS,
        dot=dot,
        query_energy=(asked**2).sum(axis=2),
        original_energy=(known**2).sum(axis=2),
        provenance={"model": "made", "candidates": "all"},
    )
    truth = Truth(
        original=np.arange(queries),
        same=np.arange(originals),
        sets=("paraphrased",) * queries,
    )
    return products, truth
