"""Are products of gradients exact, however they are formed and split?"""

import numpy as np
import pytest
import torch

from driftmap.measure.products import (
    PairFold,
    Pairs,
    QueryKeeper,
    Workload,
    all_pairs,
)
from made_gradients import (
    TENSORS,
    batches_of,
    made_samples,
    signals_of,
    true_products,
)

WAYS = ("auto", "ghost", "materialise")
WORK = Workload(paired=5, query_tokens=4, original_tokens=4)


def products(queries, originals, *, way="auto", candidates=None, sizes=(3, 2), **how):
    """D, A, B of all made tensors."""
    if candidates is None:
        candidates = all_pairs(len(queries), len(originals))
    tensors = how.get("tensors", TENSORS)
    asked = np.zeros((len(queries), len(tensors)))
    found = np.zeros((len(originals), len(tensors)))
    dot = np.zeros((*candidates.shape, len(tensors)))
    keeper = QueryKeeper(
        tensors=[t.place for t in tensors], energies=asked, workload=WORK, products=way
    )
    for index in batches_of(len(queries), sizes[0]):
        for signal in signals_of(queries, index, **how):
            keeper.take(signal)
    fold = PairFold(
        keeper=keeper,
        pairs=Pairs(candidates=candidates, num_originals=len(originals)),
        dot=dot,
        energies=found,
        query_ids=tuple(s.id for s in queries),
    )
    for index in batches_of(len(originals), sizes[1]):
        for signal in signals_of(originals, index, **how):
            fold.take(signal)
    return dot, asked, found, keeper


def worst(found, queries, originals, **how):
    """Largest error of D, A and B, as errors of a cosine."""
    dot, asked, energies, _ = found
    errors = []
    for at, tensor in enumerate(TENSORS):
        d, a, b = true_products(queries, originals, tensor, **how)
        errors.append((np.abs(dot[:, :, at] - d) / np.sqrt(np.outer(a, b))).max())
        errors.append(np.abs(asked[:, at] / a - 1).max())
        errors.append(np.abs(energies[:, at] / b - 1).max())
    return max(errors)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("dtype", "bound"), [(torch.float32, 2e-6), (torch.float64, 1e-12)]
)
def test_products_are_those_of_the_gradients_themselves(way, dtype, bound):
    queries = made_samples(7, seed=1, dtype=dtype)
    originals = made_samples(5, seed=2, prefix="o", dtype=dtype)
    how = {"scale": 2.5, "unread": 3}
    found = products(queries, originals, way=way, **how)
    assert worst(found, queries, originals, **how) < bound


@pytest.mark.parametrize("way", WAYS)
def test_only_candidates_are_compared(way):
    queries, originals = made_samples(6, seed=1), made_samples(5, seed=2)
    candidates = np.array([[4, 0], [1, 4], [2, -1], [-1, -1], [0, 3], [3, 4]])
    dot, asked, energies, _ = products(
        queries, originals, way=way, candidates=candidates
    )
    whole = products(queries, originals, way=way)[0]
    named = candidates >= 0
    rows = np.arange(6)[:, None]
    np.testing.assert_allclose(
        dot[named], whole[rows, candidates][named], rtol=1e-4, atol=1e-4
    )
    assert not dot[~named].any()
    assert asked.all()
    assert energies.all()
