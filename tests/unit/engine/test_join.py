import itertools
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file

from driftmap.core.errors import EngineError
from driftmap.engine.join import join_arrays

AXES = {"dot": 1, "energy": 0}


def whole(num=7):
    rng = np.random.default_rng(0)
    return {
        "dot": rng.normal(size=(3, num, 2)),
        "energy": rng.normal(size=(num, 2)).astype(np.float32),
        "queries": np.arange(3),
    }


def cut(arrays, edges, folder):
    folders = []
    for start, stop in itertools.pairwise(edges):
        shard = folder / f"shard-{start}"
        shard.mkdir()
        parts = {
            name: np.ascontiguousarray(
                array.take(range(start, stop), AXES[name]) if name in AXES else array
            )
            for name, array in arrays.items()
        }
        save_file(parts, shard / "products.safetensors")
        folders.append(shard)
    return folders


@given(st.sets(st.integers(1, 6)))
def test_what_was_cut_comes_together(tmp_path_factory, cuts):
    folders = cut(whole(), [0, *sorted(cuts), 7], tmp_path_factory.mktemp("cut"))
    joined = join_arrays(folders, "products.safetensors", AXES)
    assert joined.keys() == whole().keys()
    for name, array in whole().items():
        assert joined[name].dtype == array.dtype
        assert np.array_equal(joined[name], array)


def test_other_arrays_must_be_the_same_everywhere(tmp_path):
    folders = cut(whole(), [0, 3, 7], tmp_path)
    with pytest.raises(
        EngineError,
        match=re.escape(
            f"{folders[1]}/products.safetensors: energy does not fit to that of"
        ),
    ):
        join_arrays(folders, "products.safetensors", {"dot": 1})


@pytest.mark.parametrize(
    "change",
    [
        lambda arrays: arrays | {"dot": arrays["dot"][:2]},
        lambda arrays: arrays | {"dot": arrays["dot"].astype(np.float32)},
        lambda arrays: arrays | {"queries": arrays["queries"] + 1},
    ],
)
def test_shards_that_do_not_fit_are_named(tmp_path, change):
    folders = cut(whole(), [0, 3, 7], tmp_path)
    path = folders[1] / "products.safetensors"
    save_file(change({n: np.ascontiguousarray(a) for n, a in whole().items()}), path)
    with pytest.raises(EngineError, match=re.escape(f"{path}: ")):
        join_arrays(folders, "products.safetensors", AXES)


def test_an_array_that_only_some_have_is_named(tmp_path):
    folders = cut(whole(), [0, 3, 7], tmp_path)
    path = folders[1] / "products.safetensors"
    save_file({"dot": whole()["dot"]}, path)
    with pytest.raises(EngineError, match="energy is not in every shard"):
        join_arrays(folders, "products.safetensors", AXES)


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    folders = cut(whole(), [0, 3, 7], tmp_path)
    path = folders[0] / "products.safetensors"
    path.write_bytes(b"x")
    with pytest.raises(EngineError, match=re.escape(f"{path}: cannot be read")):
        join_arrays(folders, "products.safetensors", AXES)
    with pytest.raises(EngineError, match=re.escape("none.npy: cannot be read")):
        join_arrays(folders, "none.npy", {})
