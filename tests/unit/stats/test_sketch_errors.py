from dataclasses import replace

import numpy as np
import pytest

from driftmap.core.errors import MeasureError
from driftmap.core.places import TensorPlace
from driftmap.results.pair_products import NONE
from driftmap.results.sketches import SketchedSamples, SketchSettings
from driftmap.stats.sketch_errors import (
    cosine_error,
    dot_errors,
    full_error,
    sketched_cosines,
    told_error,
    told_errors,
)
from driftmap.stats.sketch_sizes import legacy_weights
from driftmap.stats.sketched_pairs import pair_up, weighed

QK = (
    TensorPlace(name="q", part="q", num_weights=100),
    TensorPlace(name="k", part="k", num_weights=4),
)


def by_hand(ids, rows, energies, **settings):
    return SketchedSamples(
        sample_ids=tuple(ids),
        tensors=QK,
        rows=tuple(np.array(one, np.float32) for one in rows),
        energies=np.array(energies, float),
        settings=SketchSettings(**{"size": 4, **settings}),
    )


def two_and_one():
    """Two queries, an original; the second tensor is kept whole."""
    queries = by_hand(
        ["a", "b"],
        [[[0.5, 0.5, 0.5, 0.5], [1, 0, 0, 0]], [[1, 0, 0, 0], [0, 1, 0, 0]]],
        [[4, 1], [9, 1]],
    )
    originals = by_hand(
        ["o"], [[[0.5, 0.5, 0.5, -0.1]], [[0.6, 0.8, 0, 0]]], [[16, 25]]
    )
    return queries, originals


def drawn(num, cosine, sizes, energies, seed=0):
    """Gaussian sketches of samples whose gradients all have one cosine."""
    draw = np.random.default_rng(seed)
    rows = []
    for size in sizes:
        shared = draw.standard_normal((1, size)) * cosine**0.5
        own = draw.standard_normal((num, size)) * (1 - cosine) ** 0.5
        rows.append(((shared + own) / size**0.5).astype(np.float32))
    return SketchedSamples(
        sample_ids=tuple(f"s{seed}-{i}" for i in range(num)),
        tensors=tuple(
            TensorPlace(name=f"t{i}", part="q", num_weights=10**6)
            for i in range(len(sizes))
        ),
        rows=tuple(rows),
        energies=np.tile(energies, (num, 1)),
        settings=SketchSettings(),
    )


def test_products_by_hand():
    pairs = pair_up(*two_and_one())
    # q of a: halves give 2 * 0.5 and 2 * 0.2, of gradients of lengths 2 and 4.
    np.testing.assert_allclose(pairs.products.dot[0, 0], [8 * 0.7, 5 * 0.6], rtol=1e-6)
    np.testing.assert_allclose(pairs.products.dot[1, 0], [12 * 0.5, 5 * 0.8], rtol=1e-6)
    np.testing.assert_allclose(pairs.difference[0, 0], [8 * 0.6, 0], rtol=1e-6)
    np.testing.assert_allclose(pairs.difference[1, 0], [12 * 1.0, 0], rtol=1e-6)
    np.testing.assert_allclose(pairs.query_length, [[4, 1], [9, 1]], rtol=1e-6)
    np.testing.assert_allclose(pairs.original_length, [[16 * 0.76, 25]], rtol=1e-6)
    assert pairs.is_exact == (False, True)
    assert pairs.products.provenance["projection"] == "fold, 4 numbers a tensor, seed 0"


def test_errors_by_hand():
    pairs = pair_up(*two_and_one())
    np.testing.assert_allclose(
        told_errors(pairs), [((0.3**2 + 0.5**2) / 2) ** 0.5, 0], rtol=1e-6
    )
    cosines = sketched_cosines(pairs)
    a, b = (8 * 0.7 + 3) / (5 * 41) ** 0.5, (12 * 0.5 + 4) / (10 * 41) ** 0.5
    np.testing.assert_allclose(cosines.plain, [[a], [b]], rtol=1e-6)
    length = 16 * 0.76 + 25
    np.testing.assert_allclose(
        cosines.normed[0], (8 * 0.7 + 3) / (5 * length) ** 0.5, rtol=1e-6
    )
    told = [2.4 / (5 * 41) ** 0.5, 6 / (10 * 41) ** 0.5]
    np.testing.assert_allclose(cosines.told_error[:, 0], told, rtol=1e-6)
    assert told_error(pairs) == pytest.approx(np.sqrt(np.mean(np.square(told))))
    shares = (4 / 5 * 16 / 41 / 4) ** 0.5, (9 / 10 * 16 / 41 / 4) ** 0.5
    np.testing.assert_allclose(full_error(pairs)[:, 0], shares, rtol=1e-6)


def test_errors_of_products_pool_the_pairs_of_a_tensor():
    queries, originals = two_and_one()
    pairs = pair_up(queries, originals, np.array([[0, NONE], [0, NONE]]))
    pooled = ((0.3**2 + 0.5**2) / 2) ** 0.5
    np.testing.assert_allclose(
        dot_errors(pairs)[:, 0], [[8 * pooled, 0], [12 * pooled, 0]], rtol=1e-6
    )
    assert not dot_errors(pairs)[:, 1].any()


def test_chosen_tensors_and_weights_are_those_of_exact_products():
    pairs = pair_up(*two_and_one())
    weights = np.array([0.5, 3.0])
    np.testing.assert_allclose(
        sketched_cosines(pairs, [1, 0], weights).plain,
        pairs.products.cosine([1, 0], weights),
    )
    np.testing.assert_allclose(
        sketched_cosines(pairs, [0]).plain, pairs.products.cosine([0])
    )


def test_candidates_are_columns_of_all_pairs():
    queries = drawn(5, 0.3, [64, 8], [1.0, 4.0])
    originals = drawn(7, 0.3, [64, 8], [2.0, 1.0], seed=1)
    candidates = np.array([[3, 1], [0, 6], [2, NONE], [5, 5], [4, NONE]])
    every, some = pair_up(queries, originals), pair_up(queries, originals, candidates)
    for query, chosen in enumerate(candidates):
        for place, original in enumerate(chosen):
            if original == NONE:
                assert not some.products.dot[query, place].any()
                assert np.isnan(sketched_cosines(some).margin[query, place])
                continue
            for name in ("dot", "difference"):
                left = getattr(some.products if name == "dot" else some, name)
                right = getattr(every.products if name == "dot" else every, name)
                np.testing.assert_allclose(
                    left[query, place], right[query, original], rtol=1e-5, atol=1e-7
                )


def test_rows_longer_than_a_float32_sum_should_be_are_summed_in_pieces():
    draw = np.random.default_rng(0)
    rows = draw.random((1, 2**20)).astype(np.float32)
    legacy = SketchedSamples(
        sample_ids=("a",),
        tensors=(TensorPlace(name="t", part="q", num_weights=2**21),),
        rows=(rows,),
        energies=np.ones((1, 1)),
        settings=SketchSettings(kind="legacy", share=0.5),
    )
    truth = np.square(rows.astype(float)).sum()
    assert pair_up(legacy, legacy).products.dot[0, 0, 0] == pytest.approx(
        truth, rel=1e-6
    )


@pytest.mark.parametrize("estimator", ["plain", "normed", "margin"])
@pytest.mark.parametrize("cosine", [0.0, 0.9])
def test_each_estimator_errs_by_what_theory_says(estimator, cosine):
    errors = []
    for seed in range(60):
        queries = drawn(8, cosine, [256], [3.0], seed=seed)
        found = getattr(sketched_cosines(pair_up(queries, queries)), estimator)
        errors.append((found - cosine)[~np.eye(8, dtype=bool)])
    rms = np.sqrt(np.mean(np.square(errors)))
    theory = cosine_error(np.array([cosine]), 256, estimator)
    assert rms == pytest.approx(float(theory[0]), rel=0.12)


def test_the_error_of_the_whole_gradient_is_what_it_errs_by():
    energies = np.array([8.0, 1.0, 1.0])
    errors, told = [], []
    for seed in range(60):
        queries = drawn(8, 0.0, [128, 1024, 16], energies, seed=seed)
        pairs = pair_up(queries, queries)
        apart = ~np.eye(8, dtype=bool)
        errors.append(sketched_cosines(pairs).plain[apart])
        told.append(sketched_cosines(pairs).told_error[apart])
    rms, told = (np.sqrt(np.mean(np.square(values))) for values in (errors, told))
    assert full_error(pairs)[0, 1] == pytest.approx(rms, rel=0.1)
    assert told == pytest.approx(rms, rel=0.1)


def test_legacy_sums_weigh_tensors_by_their_numbers():
    queries, originals = (
        by_hand(s.sample_ids, s.rows, s.energies, kind="legacy", share=0.5)
        for s in two_and_one()
    )
    pairs = pair_up(queries, originals)
    weights = legacy_weights(QK, 0.5)
    np.testing.assert_allclose(
        sketched_cosines(pairs).plain, pairs.products.cosine(weights=weights)
    )
    assert pairs.products.provenance["projection"] == (
        "legacy, 0.5 of all weights, seed 0"
    )


def test_weights_that_are_put_in_leave_tensors_and_change_sums():
    queries, originals = (
        by_hand(s.sample_ids, s.rows, s.energies, kind="legacy", share=0.5)
        for s in two_and_one()
    )
    big = (TensorPlace(name="q", part="q", num_weights=9000), QK[1])
    queries, originals = (replace(s, tensors=big) for s in (queries, originals))
    before, after = (pairs := pair_up(queries, originals)), weighed(pairs)
    weights = legacy_weights(big, 0.5)
    assert weights.tolist() == [9 * 512, 512]
    np.testing.assert_allclose(
        after.products.cosine(), before.products.cosine(weights=weights)
    )
    for tensor in (0, 1):
        np.testing.assert_allclose(
            after.products.cosine([tensor]), before.products.cosine([tensor])
        )
    for name in ("plain", "normed", "margin", "told_error"):
        np.testing.assert_allclose(
            getattr(sketched_cosines(after), name),
            getattr(sketched_cosines(before), name),
        )
    np.testing.assert_allclose(full_error(after), full_error(before))
    fold = pair_up(*two_and_one())
    assert weighed(fold) is fold


def test_sketches_made_in_different_ways_are_refused():
    queries, originals = two_and_one()
    other = by_hand(["o"], originals.rows, originals.energies, seed=3)
    with pytest.raises(MeasureError, match=r"seed=3.*; project both alike"):
        pair_up(queries, other)
    fewer = SketchedSamples(
        sample_ids=("o",),
        tensors=QK[:1],
        rows=originals.rows[:1],
        energies=originals.energies[:, :1],
        settings=originals.settings,
    )
    with pytest.raises(MeasureError, match="queries have 2 tensors, originals 1"):
        pair_up(queries, fewer)
