"""Do experts come back from a file as they were, and only onto their own model?"""

import json
import struct

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from driftmap.core.errors import StoreError
from driftmap.results.expert_tuning import KeptSlice, KeptTensor, ModelSlices
from driftmap.store.expert_slices import (
    join_slices,
    load_masters,
    load_slices,
    save_masters,
    save_slices,
)
from driftmap.store.raw_tensors import raw_places
from driftmap.store.whole_models import patched_model

HEAD = "model.layers.0.mlp.experts"


def kept(values, dtype="F32"):
    array = np.asarray(values, dtype="<u2" if dtype == "BF16" else "<f4")
    raw = np.frombuffer(array.tobytes(), dtype=np.uint8)
    return KeptTensor(dtype=dtype, shape=array.shape, values=raw)


def expert(number, **tensors):
    return KeptSlice(path=HEAD, layer=0, expert=number, tensors=tensors)


def whole(*slices, sha="a" * 64):
    return ModelSlices(model="some/model", model_sha256=sha, slices=slices)


def test_slices_come_back_bit_for_bit_and_the_bytes_are_pinned(tmp_path):
    path = tmp_path / "round_1" / "expert_slices.safetensors"
    odd = kept([0x7FC1, 0x0001], "BF16")  # a NaN with a payload, the smallest number
    slices = whole(expert(3, b=kept([[1.0, 2.0]]), a=odd), expert(None, g=kept([4.0])))
    save_slices(path, slices)
    found = load_slices(path)
    assert (found.model, found.model_sha256) == ("some/model", "a" * 64)
    assert [(one.key, one.layer, one.expert) for one in found.slices] == [
        (f"{HEAD}#expert.3", 0, 3), (HEAD, 0, None),
    ]  # fmt: skip
    for name, tensor in slices.tensors.items():
        again = found.tensors[name]
        assert (again.dtype, again.shape) == (tensor.dtype, tensor.shape)
        assert again.values.tobytes() == tensor.values.tobytes()
    content = path.read_bytes()
    assert content[-16:] == struct.pack("<2H", 0x7FC1, 1) + struct.pack("<3f", 1, 2, 4)
    save_slices(path, slices)
    assert path.read_bytes() == content


def test_other_programs_read_the_tensors_by_name(tmp_path):
    path = tmp_path / "x.safetensors"
    save_slices(path, whole(expert(3, weight=kept([[1.0, 2.0]]))))
    with safe_open(path, framework="numpy") as file:
        np.testing.assert_array_equal(file.get_tensor("weight"), [[1.0, 2.0]])
        assert file.metadata()["format"] == "pt"


def test_a_round_s_folder_holds_experts_and_routers(tmp_path):
    save_slices(tmp_path / "expert_slices.safetensors", whole(expert(3, a=kept([1.0]))))
    save_slices(tmp_path / "router.safetensors", whole(expert(None, g=kept([2.0]))))
    assert sorted(load_slices(tmp_path).tensors) == ["a", "g"]
    with pytest.raises(StoreError, match=r"holds neither expert_slices\.safetensors"):
        load_slices(tmp_path / "..")


def test_slices_that_overlap_or_are_of_two_models_are_not_joined():
    one, other = whole(expert(3, a=kept([1.0]))), whole(expert(4, b=kept([1.0])))
    assert sorted(join_slices([one, other], ["x", "y"]).tensors) == ["a", "b"]
    with pytest.raises(StoreError, match=r"^y: holds .*#expert\.3, and so does x"):
        join_slices([one, one], ["x", "y"])
    foreign = whole(expert(4, b=kept([1.0])), sha="b" * 64)
    with pytest.raises(StoreError, match=r"^y: is of some/model \(b{12}\) and x of"):
        join_slices([one, foreign], ["x", "y"])


def test_damaged_and_foreign_files_are_named(tmp_path):
    path = tmp_path / "x.safetensors"
    with pytest.raises(StoreError, match="there is no such file"):
        load_slices(path)
    save_file({"a": np.ones(2, "f4")}, path)
    with pytest.raises(StoreError, match=r"holds no driftmap data, not driftmap\.exp"):
        load_slices(path)
    save_slices(path, whole(expert(3, a=kept([1.0, 2.0]))))
    good = path.read_bytes()
    path.write_bytes(good[:-1])
    with pytest.raises(StoreError, match="a is cut short"):
        load_slices(path)
    path.write_bytes(good[:20])
    with pytest.raises(StoreError, match="is damaged or not safetensors"):
        load_slices(path)
    path.write_bytes(
        good.replace(b'\\"tensors\\":[\\"a\\"]', b'\\"tensors\\":[\\"b\\"]')
    )
    with pytest.raises(StoreError, match="its header is damaged"):
        load_slices(path)


def test_masters_come_back(tmp_path):
    path = tmp_path / "masters.safetensors"
    assert load_masters(path) == {}
    save_masters(path, {"experts.down_proj[3]": kept([[1.5, 2.0]])})
    found = load_masters(path)["experts.down_proj[3]"]
    assert (found.dtype, found.shape) == ("F32", (1, 2))
    assert found.values.view("<f4").tolist() == [1.5, 2.0]
    with pytest.raises(
        StoreError, match=r"holds driftmap\.expert-masters, not driftmap"
    ):
        load_slices(path)


@pytest.fixture
def base(tmp_path):
    """A model in two files, one tensor of which holds all of its experts."""
    folder = tmp_path / "base"
    folder.mkdir()
    one = {"e.0.w": np.zeros((2, 3), "f4"), "other": np.arange(4, dtype="f4")}
    two = {"e.all": np.zeros((4, 2, 3), "f4"), "e.below": np.zeros((8, 3), "f4")}
    save_file(one, folder / "model-1.safetensors")
    save_file(two, folder / "model-2.safetensors")
    places = {**dict.fromkeys(one, "model-1"), **dict.fromkeys(two, "model-2")}
    index = {"weight_map": {name: f"{f}.safetensors" for name, f in places.items()}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "config.json").write_text("{}")
    (folder / "consolidated.safetensors").write_bytes(b"x")
    (folder / "pytorch_model.bin").write_bytes(b"x")
    return folder


def arrays(folder):
    found = {}
    for path in folder.glob("model-*.safetensors"):
        with safe_open(path, framework="numpy") as file:
            found |= {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    return found


def test_experts_are_written_over_and_nothing_else(base, tmp_path):
    values = np.arange(6, dtype="f4").reshape(2, 3) + 1
    tensors = {name: kept(values) for name in ("e.0.w", "e.all[2]", "e.below[3]")}
    with patched_model(base, tensors, tmp_path / "out") as temporary:
        assert not (tmp_path / "out").exists()
        assert temporary.is_dir()
    found, before = arrays(tmp_path / "out"), arrays(base)
    np.testing.assert_array_equal(found["e.0.w"], values)
    np.testing.assert_array_equal(found["e.all"][2], values)
    np.testing.assert_array_equal(found["e.below"][6:], values)
    for name, rows in (("e.all", [0, 1, 3]), ("e.below", list(range(6)))):
        np.testing.assert_array_equal(found[name][rows], before[name][rows])
    np.testing.assert_array_equal(found["other"], before["other"])
    assert not before["e.all"].any()
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "config.json", "model-1.safetensors", "model-2.safetensors",
        "model.safetensors.index.json",
    ]  # fmt: skip


def test_what_does_not_fit_a_model_is_refused_and_leaves_nothing(base, tmp_path):
    fine = np.zeros((2, 3), "f4")
    for name, tensor, message in (
        ("e.9.w", kept(fine), r"its files hold no e\.9\.w"),
        (
            "e.0.w",
            kept(fine.T),
            r"has the shape \[3, 2\] in the slices, which does not",
        ),
        ("e.all[4]", kept(fine), r"does not fit \[4, 2, 3\] there"),
        ("e.0.w", kept(fine, "BF16"), "is F32 there and BF16 in the slices"),
    ):
        with (
            pytest.raises(StoreError, match=message),
            patched_model(base, {name: tensor}, tmp_path / "out"),
        ):
            pass
    with (
        pytest.raises(StoreError, match="is there already"),
        patched_model(base, {}, base),
    ):
        pass
    with (
        pytest.raises(ZeroDivisionError),
        patched_model(base, {"e.0.w": kept(fine)}, tmp_path / "out"),
    ):
        raise ZeroDivisionError
    assert sorted(path.name for path in tmp_path.iterdir()) == ["base"]


def test_a_header_that_lies_is_refused(tmp_path):
    path = tmp_path / "x.safetensors"
    header = {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"\0" * 8)
    with pytest.raises(StoreError, match="shapes and bytes differ"):
        raw_places(path)
