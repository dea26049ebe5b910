import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from driftmap.core.errors import StoreError
from driftmap.core.places import Site
from driftmap.store.scores import open_scores, save_scores
from pinned_files import safetensors_bytes

Q = Site(path="m.0.q", layer=0, part="q", num_rows=2, num_columns=3)
O = Site(path="m.0.o", layer=0, part="o", num_rows=3, num_columns=2)  # noqa: E741
SETTINGS = {"score": "snip", "model_sha256": "ab", "num_samples": 4}


def matrices():
    values = np.arange(6, dtype=np.float32)
    return {O: values.reshape(2, 3).T, Q: values.reshape(2, 3)}


def test_scores_round_trip_with_their_settings(tmp_path):
    save_scores(tmp_path / "s", matrices(), SETTINGS)
    with open_scores(tmp_path / "s") as saved:
        assert saved.settings == SETTINGS
        assert saved.sites == (Q, O)
        for site, matrix in matrices().items():
            np.testing.assert_array_equal(saved.at(site), matrix)


def test_one_float32_matrix_stands_under_each_path(tmp_path):
    save_scores(tmp_path / "s", matrices(), SETTINGS)
    arrays = load_file(tmp_path / "s")
    assert {name: (a.dtype.name, a.shape) for name, a in arrays.items()} == {
        "m.0.q": ("float32", (2, 3)),
        "m.0.o": ("float32", (3, 2)),
    }


def test_the_bytes_are_pinned(tmp_path):
    site = Site(path="a.0", layer=0, part="q", num_rows=1, num_columns=1)
    save_scores(tmp_path / "s", {site: np.ones((1, 1), dtype=np.float32)}, {"n": 1})
    header = (
        b'{"__metadata__":{"driftmap":"{\\"kind\\":\\"driftmap.scores\\",'
        b'\\"settings\\":{\\"n\\":1},\\"sites\\":[{\\"head_size\\":null,\\"layer\\":0,'
        b'\\"part\\":\\"q\\",\\"path\\":\\"a.0\\",\\"shape\\":[1,1],\\"split\\":null,'
        b'\\"transposed\\":false}],\\"version\\":1}"},'
        b'"a.0":{"dtype":"F32","shape":[1,1],"data_offsets":[0,4]}}'
    )
    whole = safetensors_bytes(header, bytes.fromhex("0000803f"))
    assert (tmp_path / "s").read_bytes() == whole


def test_one_matrix_is_read_alone(tmp_path):
    save_scores(tmp_path / "s", matrices(), SETTINGS)
    with open_scores(tmp_path / "s") as scores:
        assert scores.sites == (Q, O)
        assert scores.at(Q).tolist() == [[0, 1, 2], [3, 4, 5]]


def test_another_shape_is_named(tmp_path):
    save_scores(tmp_path / "s", matrices(), SETTINGS)
    larger = Site(path="m.0.q", layer=0, part="q", num_rows=4, num_columns=3)
    missing = Site(path="m.7.q", layer=7, part="q", num_rows=4, num_columns=3)
    with open_scores(tmp_path / "s") as scores:
        with pytest.raises(StoreError) as caught:
            scores.at(larger)
        assert str(caught.value) == (
            f"{tmp_path / 's'}: m.0.q is 2 x 3, not 4 x 3; score this model again"
        )
        with pytest.raises(StoreError, match=r"m\.7\.q is missing; write the file"):
            scores.at(missing)


def test_wrong_shapes_are_not_written(tmp_path):
    with pytest.raises(AssertionError, match=r"m\.0\.q: another shape"):
        save_scores(tmp_path / "s", {Q: np.zeros((1, 1), dtype=np.float32)}, {})


def test_missing_settings_are_named(tmp_path):
    header = '{"kind": "driftmap.scores", "version": 1, "sites": []}'
    save_file({}, tmp_path / "s", metadata={"driftmap": header})
    damaged = pytest.raises(StoreError, match="its settings are damaged; score again")
    with damaged, open_scores(tmp_path / "s"):
        pass
