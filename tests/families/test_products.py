"""Are products of gradients those of autograd, on every proved family?"""

import numpy as np
import pytest

from driftmap.capture.gradients import show_gradients
from driftmap.families.tensors import find_tensors
from driftmap.measure.products import (
    PairFold,
    Pairs,
    QueryKeeper,
    Workload,
    all_pairs,
)
from gradient_oracles import autograd_gradients
from tiny_batches import batched, tiny_samples
from tiny_families import FAMILY_NAMES, tiny_family

FAST = ("llama", "gpt2", "gemma3", "opt")
"""Untied with grouped heads; fused and tied; tied and scaled; biases without effect."""

NAMES = [
    name if name in FAST else pytest.param(name, marks=pytest.mark.slow)
    for name in FAMILY_NAMES
]
QUERIES = tiny_samples(7, 4, 6, seed=1)
ORIGINALS = tiny_samples(5, 9, 2, 6, seed=2)
PROMISE = 2e-6
"""Of products; the pass in float32 errs too, more than that where sums cancel."""


NOTHING = 1e-20
"""Energy, beside the largest, of a gradient that is zero but for rounding."""


@pytest.mark.parametrize("name", NAMES)
def test_products_are_those_of_autograd_in_float64(name):
    bound = PROMISE if name in FAST else 2 * PROMISE
    model = tiny_family(name)
    rules = find_tensors(model)
    found = {way: products(model, rules, way) for way in ("ghost", "materialise")}
    model.double()
    queries = cut(rules, autograd_gradients(model, QUERIES))
    originals = cut(rules, autograd_gradients(model, ORIGINALS))
    for at, (left, right) in enumerate(zip(queries, originals, strict=True)):
        truth = left @ right.T, (left**2).sum(axis=1), (right**2).sum(axis=1)
        for dot, asked, energies in found.values():
            assert_agree((dot[:, :, at], asked[:, at], energies[:, at]), truth, bound)


def assert_agree(found, truth, bound):
    """D and cosines to a bound, norms to twice it; energies of nothing are zero."""
    for energies, true in zip(found[1:], truth[1:], strict=True):
        np.testing.assert_array_equal(energies == 0, true < NOTHING)
        some = energies > 0
        norms = np.sqrt(energies[some]), np.sqrt(true[some])
        assert norms[0] == pytest.approx(norms[1], 2 * bound)
    size = np.sqrt(np.outer(truth[1], truth[2]))
    some = np.outer(found[1], found[2]) > 0
    assert not found[0][~some].any()
    assert (np.abs(found[0] - truth[0]) < bound * size)[some].all()
    norms = np.where(some, np.sqrt(np.outer(found[1], found[2])), 1)
    size = np.where(some, size, 1)
    error = np.abs(found[0] / norms - truth[0] / size)
    assert (error[some] < bound).all()


def products(model, rules, way):
    tensors = places(rules)
    asked = np.zeros((len(QUERIES), len(tensors)))
    energies = np.zeros((len(ORIGINALS), len(tensors)))
    dot = np.zeros((len(QUERIES), len(ORIGINALS), len(tensors)))
    keeper = QueryKeeper(
        tensors=tensors,
        energies=asked,
        workload=Workload(paired=4, query_tokens=6, original_tokens=6),
        products=way,
    )
    show_gradients(model, rules, batched(QUERIES, 2), keeper.take)
    fold = PairFold(
        keeper=keeper,
        pairs=Pairs(candidates=all_pairs(3, 4), num_originals=4),
        dot=dot,
        energies=energies,
        query_ids=tuple(sample.id for sample in QUERIES),
    )
    show_gradients(model, rules, batched(ORIGINALS, 2), fold.take)
    return dot, asked, energies


def places(rules):
    return tuple(place for rule in rules for place in rule.places)


def cut(rules, gradients):
    """Slices of autograd's gradients, flat, in the order of the places."""
    for rule in rules:
        whole = gradients[rule.name]
        whole = whole.transpose(1, 2) if rule.transposed else whole
        for one in rule.slices:
            part = whole if one.rows is None else whole[:, one.rows.rows()]
            yield part.flatten(1).numpy()
