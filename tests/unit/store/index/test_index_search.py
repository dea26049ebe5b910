import numpy as np
import pytest

from driftmap.core.errors import UsageError
from driftmap.results.index_search import NOBODY
from driftmap.store.index.folder import Index
from driftmap.store.index.rows import rounded, widened
from driftmap.store.index.search import (
    Query,
    chosen_weights,
    nearest,
    tensor_errors,
)
from made_index import SIZE, TENSORS, made_header, made_sketches, make_index

KEEP = ["fp16", "int8"]


def query(numbers, tensors=(0, 1, 2), weights=None):
    weights = np.ones(len(tensors)) if weights is None else np.array(weights, float)
    sketched = made_sketches(numbers)
    return Query(sketched=sketched, tensors=tuple(tensors), weights=weights)


def by_hand(asked, num_samples, keep):
    """Every cosine, sample by sample and tensor by tensor, in float64."""
    there = made_sketches(range(num_samples))
    found = np.zeros((len(asked.sketched.sample_ids), num_samples))
    for q in range(found.shape[0]):
        for o in range(num_samples):
            product = asked_length = length = 0.0
            for weight, number in zip(asked.weights, asked.tensors, strict=True):
                row = asked.sketched.rows[number][q].astype(float)
                kept, scale = rounded(there.rows[number][o : o + 1], keep)
                other = kept[0].astype(float) * scale[0]
                a = asked.sketched.energies[q, number]
                b = there.energies[o, number]
                product += weight * np.sqrt(a * b) * (row @ other)
                asked_length += weight * a * (row @ row)
                length += weight * b * (other @ other)
            found[q, o] = product / np.sqrt(asked_length * length)
    return found


@pytest.mark.parametrize("keep", KEEP)
@pytest.mark.parametrize(
    ("tensors", "weights"), [((0, 1, 2), (1, 1, 1)), ((1,), (1,)), ((0, 2), (0.2, 3))]
)
def test_search_finds_what_every_product_by_hand_finds(
    tmp_path, keep, tensors, weights
):
    index = Index(make_index(tmp_path / "index", num_samples=23, keep=keep))
    asked = query([3, 40, 41], tensors, weights)
    found = nearest(index, asked, 6)
    truth = by_hand(asked, 23, keep)
    order = np.argsort(-truth, axis=1)[:, :6]
    assert np.array_equal(found.samples, order)
    best = np.take_along_axis(truth, order, 1)
    assert np.allclose(found.score, best, atol=2e-6)
    assert found.samples[0, 0] == 3
    assert abs(found.score[0, 0] - 1) < (1e-5 if keep == "fp16" else 1e-3)


def test_one_tensor_is_found_by_the_file_of_its_rows_alone(tmp_path):
    folder = make_index(tmp_path / "index", num_samples=8)
    before = nearest(Index(folder), query([1, 30], (0,)), 3)
    for path in folder.rglob("sketch.safetensors"):
        content = bytearray(path.read_bytes())
        content[-4 * (SIZE + 6) * 2 :] = b"\xff" * (4 * (SIZE + 6) * 2)
        path.write_bytes(content)
    after = nearest(Index(folder), query([1, 30], (0,)), 3)
    assert np.array_equal(before.samples, after.samples)
    assert np.array_equal(before.score, after.score)


def test_equal_scores_come_in_index_order_whatever_the_shards(tmp_path):
    for size in (1, 8):
        header = made_header(8, shard_size=size)
        folder = make_index(tmp_path / str(size), header, all_equal=True)
        found = nearest(Index(folder), query([5], (1,)), 5)
        assert found.samples.tolist() == [[0, 1, 2, 3, 4]]


def test_samples_without_direction_are_never_found(tmp_path):
    folder = make_index(tmp_path / "index", num_samples=4, silent=(0, 2))
    found = nearest(Index(folder), query([9]), 6)
    assert set(found.samples[0].tolist()) == {1, 3, NOBODY}
    assert np.isnan(found.score[0, 2:]).all()
    assert np.isnan(found.error[0, 2:]).all()


def test_a_query_without_direction_is_refused(tmp_path):
    index = Index(make_index(tmp_path / "index", num_samples=4))
    asked = query([9, 8], (1,))
    asked.sketched.energies[1] = 0
    with pytest.raises(UsageError, match=r"\['s8'\] is zero in the chosen tensors"):
        nearest(index, asked, 2)


def test_errors_follow_the_shares_of_energy(tmp_path):
    index = Index(make_index(tmp_path / "index", num_samples=10))
    asked = query([30, 31], (1,))
    (error,) = tensor_errors(index, asked)
    there = widened(next(index.shards()).kept(1)[0])
    half = SIZE // 2
    x1 = there[:, :half] @ asked.sketched.rows[1][:, :half].T
    x2 = there[:, half:] @ asked.sketched.rows[1][:, half:].T
    assert error == pytest.approx(
        max(SIZE**-0.5, np.sqrt(((x1 - x2) ** 2).mean())), rel=1e-4
    )
    found = nearest(index, asked, 3)
    assert np.allclose(found.error, error)
    (exact,) = tensor_errors(index, query([30], (2,)))
    assert exact < 1e-3
    both = nearest(index, query([30], (1, 2)), 3)
    # Both tensors have equal energies here: e = 1/2 on both sides.
    assert np.allclose(both.error, error_of_half(index), rtol=1e-3)


def error_of_half(index):
    (error,) = tensor_errors(index, query([30], (1,)))
    return error / 2


def test_weights_of_tensors(tmp_path):
    index = Index(make_index(tmp_path / "index", num_samples=10))
    sketched = made_sketches([30, 31])
    sketched.energies[:, 1] *= 4
    assert chosen_weights(index, sketched, [0, 2], "plain").tolist() == [1, 1]
    by_size = chosen_weights(index, sketched, [0, 2], "per_weight")
    assert by_size.tolist() == [1 / 64, 1 / 6]
    there = made_sketches(range(10)).energies.mean(0)
    equal = chosen_weights(index, sketched, [0, 1], "equal")
    asked = sketched.energies.mean(0)
    assert np.allclose(equal, 1 / np.sqrt(asked[:2] * there[:2]))
    assert equal[0] == pytest.approx(2 * equal[1])


def test_names_of_tensors_stand_in_the_header(tmp_path):
    index = Index(make_index(tmp_path / "index", num_samples=4))
    assert index.header.tensors == TENSORS
