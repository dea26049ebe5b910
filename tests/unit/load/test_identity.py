import hashlib
import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM

from driftmap.core.errors import ModelError
from driftmap.load.identity import weights_sha256
from tiny import tiny_llama


def saved(model, folder, **options):
    model.save_pretrained(folder, **options)
    return folder


def test_golden_by_hand(tmp_path):
    save_file(
        {"b": torch.zeros(2), "a": torch.ones(1, 1)}, tmp_path / "model.safetensors"
    )
    expected = hashlib.sha256(
        json.dumps(["a", "F32", [1, 1]]).encode()
        + b"\n\x00\x00\x80\x3f"
        + json.dumps(["b", "F32", [2]]).encode()
        + b"\n"
        + bytes(8)
    ).hexdigest()
    assert weights_sha256(tmp_path) == expected


def test_sharding_changes_nothing(tmp_path):
    model = tiny_llama()
    whole = saved(model, tmp_path / "whole")
    shards = saved(model, tmp_path / "shards", max_shard_size="5KB")
    assert len(list(shards.glob("*.safetensors"))) > 1
    assert weights_sha256(whole) == weights_sha256(shards)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_model_in_memory_has_its_folders_hash(tmp_path, tied, dtype):
    config = LlamaConfig(
        vocab_size=8, hidden_size=8, intermediate_size=8, num_hidden_layers=1,
        num_attention_heads=2, tie_word_embeddings=tied,
    )  # fmt: skip
    model = LlamaForCausalLM(config).to(dtype)
    assert weights_sha256(model) == weights_sha256(saved(model, tmp_path))


def test_any_change_shows():
    weights = {"a": torch.tensor([[1.0, 2.0]])}
    seen = set()
    for changed in (
        weights,
        {"b": weights["a"]},
        {"a": weights["a"].T},
        {"a": weights["a"].bfloat16()},
        {"a": torch.tensor([[1.0, 2.0000002]])},
        {"a": torch.tensor([[2.0, 1.0]])},
    ):
        module = torch.nn.Module()
        for name, tensor in changed.items():
            module.register_buffer(name, tensor)
        seen.add(weights_sha256(module))
    assert len(seen) == 6


def test_a_second_copy_in_another_layout_is_left_out(tmp_path):
    folder = saved(tiny_llama(), tmp_path)
    before = weights_sha256(folder)
    save_file({"x": torch.ones(1)}, folder / "consolidated.safetensors")
    assert weights_sha256(folder) == before


@pytest.mark.parametrize("keep", [0, 4, 60, -1])
def test_a_cut_file_is_named(tmp_path, keep):
    folder = saved(tiny_llama(), tmp_path)
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(ModelError, match=f"{file}: it is not a whole safetensors file"):
        weights_sha256(folder)


def test_a_missing_shard_is_named(tmp_path):
    folder = saved(tiny_llama(), tmp_path, max_shard_size="5KB")
    min(folder.glob("*.safetensors")).unlink()
    with pytest.raises(
        ModelError, match=r"model-00001-of-0000\d.safetensors is missing"
    ):
        weights_sha256(folder)


def test_a_broken_index_is_named(tmp_path):
    (tmp_path / "model.safetensors.index.json").write_text("{}")
    with pytest.raises(ModelError, match="it is no index of safetensors files"):
        weights_sha256(tmp_path)


def test_one_name_in_two_files_is_refused(tmp_path):
    folder = saved(tiny_llama(), tmp_path, max_shard_size="5KB")
    first, second, *_ = sorted(folder.glob("*.safetensors"))
    tensors = load_file(first)
    save_file({**load_file(second), **tensors}, second)
    with pytest.raises(ModelError, match=f"is in both {first.name} and {second.name}"):
        weights_sha256(folder)


def test_pickles_are_refused_with_the_way_out(tmp_path):
    (tmp_path / "pytorch_model.bin").write_bytes(b"x")
    with pytest.raises(
        ModelError, match=r"pickle \(pytorch_model.bin\).*use_safetensors"
    ):
        weights_sha256(tmp_path)


def test_a_folder_without_weights_is_named(tmp_path):
    with pytest.raises(ModelError, match="it holds no safetensors weights"):
        weights_sha256(tmp_path)
