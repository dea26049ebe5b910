"""Are products of whole sets exact, whatever the batches, parts and memory?"""

import numpy as np
import pytest
import torch

from driftmap.core.errors import MeasureError, UsageError
from driftmap.core.progress import listening
from driftmap.families.discover import find_layout
from driftmap.load.model import LoadedModel
from driftmap.measure.products import all_pairs
from driftmap.recipes.steps.similarity import gradients
from driftmap.recipes.steps.similarity.gradients import (
    EncodedSides,
    GradientSettings,
    pair_products,
    shard_products,
)
from driftmap.recipes.steps.similarity.joining import joined_products
from driftmap.results.provenance import ModelIdentity
from driftmap.results.samples import EncodedSample
from gradient_oracles import autograd_gradients
from laws.restores import assert_restores_model
from listeners import Ear
from tiny import tiny_llama
from tiny_batches import tiny_samples
from tokenizers_made import byte_level

PROMISE = 2e-6


def loaded(model, dtype="float32"):
    layout = find_layout(model)
    identity = ModelIdentity(
        source="tiny", sha256="a", base_sha256="a", family=layout.family,
        dtype=dtype, device="cpu", num_weights=1,
    )  # fmt: skip
    return LoadedModel(
        model=model, tokenizer=byte_level(), layout=layout, identity=identity
    )


def encoded(samples):
    return [
        EncodedSample(
            sample_id=sample.id,
            token_ids=sample.token_ids.numpy().astype(np.int32),
            counted=np.arange(len(sample.token_ids))
            >= len(sample.token_ids) - sample.num_counted,
            prompt_length=1,
        )
        for sample in samples
    ]


def sides(queries, originals, candidates=None):
    if candidates is None:
        candidates = all_pairs(len(queries), len(originals))
    return EncodedSides(
        queries=encoded(queries), originals=encoded(originals), candidates=candidates
    )


@pytest.fixture(scope="module")
def model():
    return tiny_llama()


@pytest.fixture(scope="module", autouse=True)
def small_chunks():
    """Let ten originals be three chunks."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gradients, "CHUNK", 4)
        yield


@pytest.fixture(scope="module")
def whole(model, small_chunks):
    """All pairs."""
    return pair_products(loaded(model), sides(QUERIES, MANY), GradientSettings())


QUERIES = tiny_samples(7, 4, 6, 9, 3, seed=1)
MANY = tiny_samples(*(3 + number % 7 for number in range(9)), seed=2)


def test_products_of_sets_are_those_of_autograd(model, whole):
    double = tiny_llama().double()
    queries = autograd_gradients(double, QUERIES)
    originals = autograd_gradients(double, MANY[:8])
    for at, place in enumerate(whole.tensors):
        left = queries[place.name].flatten(1).numpy()
        right = originals[place.name].flatten(1).numpy()
        size = np.outer((left**2).sum(axis=1), (right**2).sum(axis=1)) ** 0.5
        error = np.abs(whole.dot[:, :8, at] - left @ right.T)
        assert (error <= PROMISE * size).all(), place.name


def test_cosines_of_the_whole_gradient_are_of_joined_gradients(whole):
    double = tiny_llama().double()
    left, right = (
        torch.cat([g.flatten(1) for g in autograd_gradients(double, s).values()], 1)
        for s in (QUERIES, MANY[:8])
    )
    truth = torch.nn.functional.cosine_similarity(left[:, None], right[None], dim=2)
    np.testing.assert_allclose(whole.cosine()[:, :8], truth, atol=PROMISE)


def test_parts_joined_are_the_whole_bit_for_bit(model, whole):
    both = sides(QUERIES, MANY)
    parts = [
        shard_products(loaded(model), both, GradientSettings(), part)
        for part in (range(4), range(4, 9))
    ]
    joined = joined_products(parts, both.candidates)
    assert_same(joined, whole)
    assert joined.provenance == whole.provenance


def test_a_part_that_is_missing_is_named(model):
    both = sides(QUERIES[:2], MANY[:6])
    part = shard_products(loaded(model), both, GradientSettings(), range(4))
    with pytest.raises(MeasureError) as error:
        joined_products([part], both.candidates)
    assert str(error.value) == (
        "no part compares query s0 with original 4; give all parts"
    )


def test_parts_of_candidates_join_in_the_order_of_the_lists(model, whole):
    candidates = np.array([[8, 3], [3, -1], [4, 3], [-1, -1], [0, 6]])
    both = sides(QUERIES, MANY, candidates)
    parts = [
        shard_products(loaded(model), both, GradientSettings(), part)
        for part in (range(4), range(4, 9))
    ]
    joined = joined_products(parts, candidates)
    assert joined.originals == whole.originals
    np.testing.assert_array_equal(joined.candidates, candidates)
    named = candidates >= 0
    cosine, others = joined.cosine(), whole.cosine()
    for query, column in np.argwhere(named):
        other = others[query, candidates[query, column]]
        assert cosine[query, column] == pytest.approx(other, abs=PROMISE)
    assert np.isnan(cosine[~named]).all()


@pytest.mark.parametrize(
    "settings",
    [
        GradientSettings(batch_tokens=1),
        GradientSettings(batch_tokens=100_000),
        GradientSettings(products="ghost"),
        GradientSettings(products="materialise"),
        GradientSettings(memory_bytes=2 * 40_000, schedule="streaming"),
        GradientSettings(schedule="layer_major"),
        GradientSettings(memory_bytes=2 * 40_000, batch_tokens=10),
    ],
    ids=[
        "one by one",
        "large batches",
        "ghost",
        "materialise",
        "queries in tiles",
        "layer by layer",
        "layer by layer, queries in tiles",
    ],
)
def test_ways_change_nothing_but_rounding(model, whole, settings):
    few = sides(QUERIES, MANY[:8])
    found = pair_products(loaded(model), few, settings)
    norms = np.sqrt(whole.query_energy[:, None] * whole.original_energy[None, :8])
    assert (np.abs(found.dot - whole.dot[:, :8]) <= 2 * PROMISE * norms).all()
    np.testing.assert_allclose(found.query_energy, whole.query_energy, rtol=1e-5)


def test_queries_in_tiles_say_how_often_the_originals_pass(model):
    ear = Ear()
    settings = GradientSettings(memory_bytes=2 * 40_000, schedule="streaming")
    with listening(ear):
        pair_products(loaded(model), sides(QUERIES, MANY[:3]), settings)
    assert [line for line in ear.heard if "originals pass" in line] == [
        "gradients of 3 queries fit into 78.1 KiB, so the originals pass 2 times"
    ]


def test_memory_below_a_single_query_is_refused(model):
    settings = GradientSettings(memory_bytes=9, schedule="streaming")
    with pytest.raises(MeasureError) as error:
        pair_products(loaded(model), sides(QUERIES, MANY[:3]), settings)
    assert str(error.value).endswith(
        " and the budget is 9 B; give more memory, or measure fewer tensors"
    )


def test_the_schedule_is_told(model, whole):
    few = sides(QUERIES[:2], MANY[:2])
    found = pair_products(loaded(model), few, GradientSettings(schedule="layer_major"))
    assert found.provenance["schedule"] == "layer_major"
    assert whole.provenance["schedule"] == "streaming"


def test_only_some_tensors_are_the_same_as_among_all(model, whole):
    found = pair_products(
        loaded(model),
        sides(QUERIES, MANY[:8]),
        GradientSettings(only=("q", "1.mlp.up")),
    )
    names = [place.name for place in found.tensors]
    assert names == [
        "model.layers.0.self_attn.q_proj.weight",
        "model.layers.1.self_attn.q_proj.weight",
        "model.layers.1.mlp.up_proj.weight",
    ]
    columns = [[p.name for p in whole.tensors].index(name) for name in names]
    np.testing.assert_allclose(
        found.cosine(), whole.cosine(columns)[:, :8], atol=PROMISE
    )


def test_tensors_that_are_not_there_are_refused(model):
    with pytest.raises(UsageError) as error:
        pair_products(
            loaded(model), sides(QUERIES, MANY[:3]), GradientSettings(only=("router",))
        )
    assert str(error.value) == (
        "--only router names no tensor; the model has the parts "
        "embed, q, k, v, o, gate, up, down, norm, head"
    )


def test_a_narrow_model_says_what_it_errs_by():
    model, ear = tiny_llama().bfloat16(), Ear()
    with assert_restores_model(model), listening(ear):
        found = pair_products(
            loaded(model, "bfloat16"), sides(QUERIES, MANY), GradientSettings()
        )
    (line,) = [line for line in ear.heard if line.startswith("cosines in bfloat16")]
    assert line.endswith("as 8 samples tell")
    rms, most = (
        float(word.split()[-1]) for word in found.provenance["deviation"].split(",")
    )
    assert 1e-4 < rms < most < 1
    truth = pair_products(
        loaded(model.float()), sides(QUERIES, MANY), GradientSettings()
    )
    assert "deviation" not in truth.provenance
    columns = range(len(truth.tensors))
    gaps = [np.abs(found.cosine([c]) - truth.cosine([c])) for c in columns]
    assert rms / 4 < np.sqrt(np.nanmean(np.square(gaps))) < 4 * rms


def assert_same(one, other):
    assert (one.queries, one.originals, one.tensors) == (
        other.queries, other.originals, other.tensors,
    )  # fmt: skip
    for name in ("candidates", "dot", "query_energy", "original_energy"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
