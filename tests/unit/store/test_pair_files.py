import json
from dataclasses import replace

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from driftmap.core.errors import StoreError
from driftmap.store import pair_products
from driftmap.store.pair_products import load_pairs, save_pairs
from stored_pairs import made_pairs


@pytest.mark.parametrize("candidates", [None, 3])
def test_pairs_come_back_as_they_were(tmp_path, candidates):
    products, truth = made_pairs(candidates=candidates)
    save_pairs(tmp_path / "deep" / "pairs.safetensors", products, truth)
    found = load_pairs(tmp_path / "deep" / "pairs.safetensors")
    for name in ("candidates", "dot", "query_energy", "original_energy"):
        np.testing.assert_array_equal(
            getattr(found.products, name), getattr(products, name)
        )
    for name in ("queries", "originals", "tensors", "provenance"):
        assert getattr(found.products, name) == getattr(products, name)
    np.testing.assert_array_equal(found.truth.original, truth.original)
    np.testing.assert_array_equal(found.truth.same, truth.same)
    assert found.truth.sets == truth.sets
    np.testing.assert_array_equal(found.products.cosine(), products.cosine())


def test_products_stay_on_disk_until_looked_at(tmp_path):
    products, truth = made_pairs()
    save_pairs(tmp_path / "p", products, truth)
    found = load_pairs(tmp_path / "p")
    assert isinstance(found.products.dot, np.memmap)
    save_pairs(tmp_path / "again", found.products, found.truth)
    assert (tmp_path / "again").read_bytes() == (tmp_path / "p").read_bytes()


def test_the_bytes_do_not_depend_on_how_much_is_written_at_a_time(
    tmp_path, monkeypatch
):
    products, truth = made_pairs()
    save_pairs(tmp_path / "whole", products, truth)
    monkeypatch.setattr(pair_products, "_ROOM", 1)
    save_pairs(tmp_path / "rows", products, truth)
    assert (tmp_path / "whole").read_bytes() == (tmp_path / "rows").read_bytes()


def test_other_programs_read_the_file(tmp_path):
    products, truth = made_pairs(candidates=2)
    save_pairs(tmp_path / "p", products, truth)
    arrays = load_file(tmp_path / "p")
    np.testing.assert_array_equal(arrays["dot"], products.dot)
    np.testing.assert_array_equal(arrays["candidates"], products.candidates)


def test_a_single_query_without_any_candidate_is_kept(tmp_path):
    products, truth = made_pairs(queries=1)
    bare = replace(
        products,
        candidates=np.empty((1, 0), dtype=np.int64),
        dot=np.empty((1, 0, len(products.tensors))),
    )
    save_pairs(tmp_path / "p", bare, truth)
    assert load_pairs(tmp_path / "p").products.dot.shape == bare.dot.shape


WRONG = {
    "candidates": lambda array: array + 9,
    "truth_original": lambda array: array - 1,
    "truth_same": lambda array: array[:2],
    "query_energy": lambda array: array[:2],
    "original_energy": lambda array: array[:, :2],
    "dot": lambda array: array[:2],
}


@pytest.mark.parametrize("name", WRONG)
def test_what_does_not_fit_together_is_refused(tmp_path, name):
    save_pairs(tmp_path / "p", *made_pairs())
    arrays = load_file(tmp_path / "p")
    with safe_open(tmp_path / "p", framework="numpy") as file:
        metadata = file.metadata()
    arrays[name] = np.ascontiguousarray(WRONG[name](arrays[name]))
    save_file(arrays, tmp_path / "p", metadata=metadata)
    with pytest.raises(StoreError, match=rf"p: `{name}`.* is damaged; measure the"):
        load_pairs(tmp_path / "p")


def test_a_cut_file_is_refused(tmp_path):
    save_pairs(tmp_path / "p", *made_pairs())
    whole = (tmp_path / "p").read_bytes()
    (tmp_path / "p").write_bytes(whole[:-8])
    with pytest.raises(StoreError, match="is damaged or not safetensors"):
        load_pairs(tmp_path / "p")


def test_a_damaged_header_is_refused(tmp_path):
    save_pairs(tmp_path / "p", *made_pairs())
    whole = (tmp_path / "p").read_bytes()
    for was, now, what in (
        (b'\\"embed\\"', b'\\"ebbed\\"', "its list of tensors"),
        (b'[\\"paraphrased\\",', b"[           111 ,", "its list of sets"),
    ):
        assert was in whole
        (tmp_path / "p").write_bytes(whole.replace(was, now))
        with pytest.raises(StoreError, match=f"{what} is damaged"):
            load_pairs(tmp_path / "p")


def test_a_file_of_another_kind_is_refused(tmp_path):
    (tmp_path / "p").write_text(json.dumps({}))
    with pytest.raises(StoreError, match="is damaged or not safetensors"):
        load_pairs(tmp_path / "p")
    with pytest.raises(StoreError, match="there is no such file"):
        load_pairs(tmp_path / "q")
