import numpy as np
import pytest

from driftmap.core.errors import UsageError
from driftmap.core.progress import listening
from driftmap.families.tensors import choose_tensors, find_tensors
from driftmap.recipes.similarity_options import ProductOptions
from driftmap.recipes.steps.similarity.sketches import (
    error_line,
    pair_estimates,
    sketch_samples,
)
from driftmap.results.pair_products import NONE
from driftmap.results.sketches import SketchSettings
from driftmap.stats.sketch_errors import sketched_cosines, told_errors
from driftmap.stats.sketch_sizes import LEGACY_WARNING, legacy_weights
from gradient_oracles import autograd_gradients
from listeners import Ear
from tiny import tiny_llama
from tiny_batches import batched, tiny_samples
from tiny_families import tiny_family

QUERIES = tiny_samples(7, 4, 9, 5, seed=1)
ORIGINALS = tiny_samples(6, 8, 5)
EVERY = np.tile(np.arange(3), (4, 1))


def some_tensors(model):
    """An embedding, a map and a norm."""
    wanted = ("embed_tokens.weight", "0.mlp.up_proj.weight", "model.norm.weight")
    return choose_tensors(
        find_tensors(model), lambda place: place.name.endswith(wanted)
    )


def estimates(model, settings, candidates=EVERY, rules=None):
    return pair_estimates(
        model,
        rules or some_tensors(model),
        batched(QUERIES, 2),
        batched(ORIGINALS, 2),
        candidates,
        settings,
    )


def exact(model, samples):
    """Per tensor `[sample weight]` in float64, as autograd makes them."""
    gradients = autograd_gradients(model.double(), samples)
    model.float()
    return {name: one.flatten(1).numpy() for name, one in gradients.items()}


@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma2"])
def test_energies_are_exact_and_tensors_that_fit_are_too(name):
    model = tiny_family(name)
    settings = SketchSettings(size=2**14)
    found = estimates(model, settings, rules=find_tensors(model)).products
    queries, originals = exact(model, QUERIES), exact(model, ORIGINALS)
    for parameter in queries:
        columns = [
            number
            for number, tensor in enumerate(found.tensors)
            if tensor.parameter == parameter
        ]
        dot = queries[parameter] @ originals[parameter].T
        a = np.square(queries[parameter]).sum(1)
        b = np.square(originals[parameter]).sum(1)
        scale = np.sqrt(np.outer(a, b)) + 1e-30
        np.testing.assert_allclose(
            found.dot[:, :, columns].sum(2) / scale, dot / scale, atol=2e-6
        )
        np.testing.assert_allclose(
            found.query_energy[:, columns].sum(1), a, rtol=1e-5, atol=1e-12
        )


@pytest.mark.slow
def test_estimates_lie_around_the_exact_products_as_far_as_they_say():
    model = tiny_llama(hidden=32)
    queries, originals = exact(model, QUERIES), exact(model, ORIGINALS)
    off = []
    for seed in range(4):
        settings = SketchSettings(size=64, seed=seed)
        found = estimates(model, settings, rules=find_tensors(model))
        told = told_errors(found)
        for number, tensor in enumerate(found.products.tensors):
            a, b = queries[tensor.name], originals[tensor.name]
            a = a / np.linalg.norm(a, axis=1, keepdims=True)
            b = b / np.linalg.norm(b, axis=1, keepdims=True)
            error = found.products.cosine([number]) - a @ b.T
            if found.is_exact[number]:
                np.testing.assert_allclose(error, 0, atol=2e-6)
            else:
                off.append(np.sqrt(np.mean(error**2)) / told[number])
    assert np.sqrt(np.mean(np.square(off))) == pytest.approx(1, rel=0.25)


def test_a_sample_has_cosine_one_with_itself():
    model = tiny_llama()
    rules, batches = some_tensors(model), batched(QUERIES)
    one = np.arange(4)[:, None]
    settings = SketchSettings(size=16)
    found = pair_estimates(model, rules, batches, batches, one, settings)
    np.testing.assert_allclose(sketched_cosines(found).margin, 1, rtol=1e-6)
    # While the plain estimate is off.
    assert np.abs(sketched_cosines(found).plain - 1).max() > 0.01


def test_candidates_that_are_not_there_give_no_cosine():
    candidates = np.array([[2, 0], [1, NONE], [0, 1], [2, NONE]])
    found = sketched_cosines(estimates(tiny_llama(), SketchSettings(), candidates))
    assert np.isnan(found.margin[[1, 3], 1]).all()
    assert np.isfinite(found.margin).sum() == 6


def test_the_error_is_said_as_the_halves_tell_it():
    ear = Ear()
    with listening(ear):
        found = estimates(tiny_llama(hidden=32), SketchSettings(size=64))
    assert ear.heard[-1] == error_line(found)
    told = told_errors(found)[~np.array(found.is_exact)]
    assert "fold, 64 numbers a tensor, seed 0" in error_line(found)
    assert f"{np.median(told):.2g} (median of {len(told)} tensors" in error_line(found)


def test_small_models_are_kept_whole_and_that_is_said():
    found = estimates(tiny_llama(), SketchSettings(size=2**14))
    assert error_line(found).endswith(
        "every tensor is kept whole, so cosines are exact"
    )


def test_legacy_warns_and_weighs_tensors_by_their_size():
    ear, model = Ear(), tiny_llama(hidden=32)
    with listening(ear):
        found = estimates(model, SketchSettings(kind="legacy", share=0.5))
    assert LEGACY_WARNING in ear.heard
    places = found.products.tensors
    weights = legacy_weights(places, 0.5)
    assert len(set(weights)) > 1
    for energies, samples in (
        (found.products.query_energy, QUERIES),
        (found.products.original_energy, ORIGINALS),
    ):
        gradients = exact(model, samples)
        squares = [np.square(gradients[t.name]).sum(1) for t in places]
        np.testing.assert_allclose(energies, np.stack(squares, 1) * weights, rtol=1e-5)
    # What is kept whole has no error that would hide a missing weight.
    (whole,) = {n for n, t in enumerate(places) if t.name == "model.norm.weight"}
    one, other = (exact(model, s)["model.norm.weight"] for s in (QUERIES, ORIGINALS))
    np.testing.assert_allclose(
        found.products.dot[:, :, whole], weights[whole] * one @ other.T, rtol=1e-4
    )


def test_a_share_that_keeps_nothing_or_all_is_refused():
    assert ProductOptions(projection="legacy", projection_share=0.05)
    for share in (0.0, 1.0):
        with pytest.raises(UsageError, match=f"--projection-share is {share}; give a"):
            ProductOptions(projection="legacy", projection_share=share)


def test_batches_change_no_sketch():
    model = tiny_llama()
    rules = some_tensors(model)
    one, two = (
        sketch_samples(model, rules, batched(QUERIES, size), SketchSettings(size=64))
        for size in (1, 3)
    )
    assert one.sample_ids == two.sample_ids
    for left, right in zip(one.rows, two.rows, strict=True):
        np.testing.assert_allclose(left, right, atol=1e-5)
