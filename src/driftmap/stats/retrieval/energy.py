"""Which tensors hold the gradient, and how many does the full cosine listen to?"""

import numpy as np
from jaxtyping import Float64

from driftmap.core.places import PARTS
from driftmap.results.oddities import EnergyShare, EnergyShares
from driftmap.stats.retrieval.pairs import SetPairs
from driftmap.stats.retrieval.units import num_weights


def energy_shares(pairs: SetPairs) -> EnergyShares:
    """Share the energy out over tensors and parts, on both sides.

    A sample counts once, however long its gradient; one without a direction anywhere
    does not count.

    Args:
        pairs: One set.
    """
    tensors = pairs.products.tensors
    queries = _mean_shares(pairs.query_energy)
    originals = _mean_shares(pairs.products.original_energy)
    total = num_weights(tensors)

    def share(name: str, columns: list[int], layer: int | None) -> EnergyShare:
        size = num_weights([tensors[n] for n in columns])
        return EnergyShare(
            name=name,
            part=tensors[columns[0]].part,
            layer=layer,
            queries=float(queries[columns].sum()),
            originals=float(originals[columns].sum()),
            num_weights=size,
            share_of_weights=size / total if size is not None and total else None,
        )

    of_part = {p: [n for n, t in enumerate(tensors) if t.part == p] for p in PARTS}
    return EnergyShares(
        tensors=tuple(share(t.name, [n], t.layer) for n, t in enumerate(tensors)),
        parts=tuple(
            share(p, columns, None) for p, columns in of_part.items() if columns
        ),
        num_heard_queries=num_heard(queries),
        num_heard_originals=num_heard(originals),
    )


def num_heard(shares: Float64[np.ndarray, " tensor"]) -> float:
    """`1 / sum share^2`: as many equal tensors would be as uneven.

    >>> num_heard(np.array([0.5, 0.5, 0.0]))
    2.0
    """
    squares = float(np.square(shares).sum())
    return 1 / squares if squares else 0.0


def _mean_shares(
    energy: Float64[np.ndarray, "sample tensor"],
) -> Float64[np.ndarray, " tensor"]:
    total = energy.sum(axis=1)
    directed = total > 0
    if not directed.any():
        return np.zeros(energy.shape[1])
    return (energy[directed] / total[directed, None]).mean(axis=0)
