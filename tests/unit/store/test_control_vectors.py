import struct
import sys

import numpy as np
import pytest

from driftmap.core.errors import StoreError
from driftmap.results.honesty import ReadingVector
from driftmap.store.control_vectors import load_control_vector, save_control_vector

pytest.importorskip("gguf", reason="needs the extra gguf")


def vector(*layers, width=5):
    rng = np.random.default_rng(0)
    directions = rng.standard_normal((len(layers), width))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    return ReadingVector(
        method="mean_difference",
        layers=layers,
        direction=directions.astype("f4"),
        midpoint=np.zeros((len(layers), width), "f4"),
        pooled_sd=np.arange(1.0, len(layers) + 1),
        agreement=np.ones(len(layers)),
    )


def test_what_is_written_is_read(tmp_path):
    one = vector(1, 2, 3)
    save_control_vector(tmp_path / "v.gguf", one, "llama")
    found = load_control_vector(tmp_path / "v.gguf")
    assert (found.family, found.layers) == ("llama", (1, 2, 3))
    np.testing.assert_allclose(
        found.step, one.direction * np.array([[1], [2], [3]]), rtol=1e-6
    )
    np.testing.assert_allclose(np.linalg.norm(found.step, axis=1), [1, 2, 3])


def test_the_same_vector_gives_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        save_control_vector(tmp_path / name, vector(1, 2), "llama")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_the_first_bytes_are_those_of_the_layout(tmp_path):
    """Read by the format's own description, without the library."""
    save_control_vector(tmp_path / "v.gguf", vector(2), "gpt2")
    magic, version, tensors, fields = struct.unpack_from(
        "<4sIQQ", (tmp_path / "v.gguf").read_bytes()
    )
    assert (magic, version, tensors) == (b"GGUF", 3, 1)
    assert fields == 3
    data = (tmp_path / "v.gguf").read_bytes()
    size, key = struct.unpack_from("<Q20s", data, 24)
    assert key[:size] == b"general.architecture"
    kind, size = struct.unpack_from("<IQ", data, 24 + 8 + 20)
    assert (kind, data[64 : 64 + size]) == (8, b"controlvector")
    assert b"controlvector.layer_count" in data
    assert b"direction.2" in data


def test_block_0_has_no_place(tmp_path):
    save_control_vector(tmp_path / "v.gguf", vector(0, 1), "llama")
    assert load_control_vector(tmp_path / "v.gguf").layers == (1,)
    with pytest.raises(StoreError, match="no place for block 0; read a later one"):
        save_control_vector(tmp_path / "w.gguf", vector(0), "llama")


def test_other_files_are_refused(tmp_path):
    import gguf

    with pytest.raises(StoreError, match="there is no such file"):
        load_control_vector(tmp_path / "none.gguf")
    (tmp_path / "text.gguf").write_text("not a model at all, only a line of text")
    with pytest.raises(StoreError, match="is damaged or not GGUF"):
        load_control_vector(tmp_path / "text.gguf")
    for name, architecture, tensor, said in (
        ("m.gguf", "llama", "direction.1", "holds llama, not a control vector"),
        ("t.gguf", "controlvector", "direction.0", "'direction.0' is no direction"),
    ):
        writer = gguf.GGUFWriter(tmp_path / name, architecture)
        writer.add_tensor(tensor, np.ones(4, "f4"))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        with pytest.raises(StoreError, match=said):
            load_control_vector(tmp_path / name)


def test_without_the_package_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(StoreError, match=r"pip install driftmap\[gguf\]"):
        save_control_vector(tmp_path / "v.gguf", vector(1), "llama")
