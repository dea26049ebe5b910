"""Factors without a base: what peft adds when it merges, on any kind of module."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from adapters_made import make_adapter, merged_change
from driftmap.core.errors import ModelError
from driftmap.load.factors_alone import layer_of, parts_of, read_factors_alone
from driftmap.signals.factors import LoraFactors

ADAPTERS = {
    "any targets": ("llama", {"target_modules": "all-linear"}),
    "a pattern": ("qwen2", {"target_modules": r".*\.1\.mlp\.(up|down)_proj"}),
    "embeddings": ("llama", {"target_modules": ["embed_tokens", "q_proj"]}),
    "own ranks": (
        "llama",
        {"rank_pattern": {"q_proj": 3}, "alpha_pattern": {"down_proj": 7}},
    ),
    "rank-scaled": ("llama", {"use_rslora": True}),
    "in and out swapped": (
        "gpt2",
        {"target_modules": ["c_attn", "c_proj", "wte"], "fan_in_fan_out": True},
    ),
}


@pytest.mark.parametrize("name", ADAPTERS)
def test_the_change_is_what_peft_merges(name, tmp_path):
    family, settings = ADAPTERS[name]
    wrapped = make_adapter(tmp_path, family, **settings)
    found = read_factors_alone(tmp_path)
    merged = merged_change(wrapped)
    assert {f"{path}.weight" for path in found.changes} <= merged.keys()
    for module in found.modules:
        change = module.change
        assert isinstance(change, LoraFactors)
        dense = change.scale * change.up @ change.down
        expected = merged.pop(f"{module.path}.weight")
        if family == "gpt2" and "embed" not in module.parts:
            expected = expected.T
        assert module.shape == tuple(expected.shape)
        torch.testing.assert_close(dense, expected, rtol=1e-9, atol=1e-12)
    tied = {"lm_head.weight"}
    assert not any(m.any() for name, m in merged.items() if name not in tied)


def test_what_a_base_is_needed_for_is_named(tmp_path):
    make_adapter(tmp_path, modules_to_save=["lm_head"], use_dora=True)
    found = read_factors_alone(tmp_path)
    assert found.left_out == ("lm_head.weight",)
    assert {module.layer for module in found.modules} == {0, 1}
    assert {module.parts for module in found.modules} == {("q",), ("down",)}


def test_an_adapter_of_embeddings_alone_is_read(tmp_path):
    make_adapter(tmp_path, target_modules=["embed_tokens"])
    (module,) = read_factors_alone(tmp_path).modules
    assert module.path == "model.embed_tokens"
    assert module.layer is None
    assert module.shape == (40, 16)


def test_an_adapter_without_factors_is_refused(tmp_path):
    make_adapter(tmp_path)
    file = tmp_path / "adapter_model.safetensors"
    save_file({"base_model.model.lm_head.weight": torch.zeros(2, 2)}, file)
    with pytest.raises(ModelError, match=r"no factors \(only lm_head.weight\)"):
        read_factors_alone(tmp_path)


def test_a_single_factor_is_refused(tmp_path):
    make_adapter(tmp_path)
    file = tmp_path / "adapter_model.safetensors"
    tensors = load_file(file)
    del tensors["base_model.model.model.layers.0.mlp.down_proj.lora_B.weight"]
    save_file(tensors, file)
    with pytest.raises(ModelError, match=r"down_proj are .* and nothing"):
        read_factors_alone(tmp_path)


def test_ranks_of_embeddings_are_checked(tmp_path):
    make_adapter(tmp_path, target_modules=["embed_tokens"])
    file = tmp_path / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"r": 5}))
    with pytest.raises(ModelError, match="with rank 5 in"):
        read_factors_alone(tmp_path)


def test_numbers_that_are_not_finite_are_refused(tmp_path):
    make_adapter(tmp_path, target_modules=["embed_tokens"])
    file = tmp_path / "adapter_model.safetensors"
    tensors = load_file(file)
    name = "base_model.model.model.embed_tokens.lora_embedding_A"
    tensors[name][0, 0] = torch.nan
    save_file(tensors, file)
    with pytest.raises(ModelError, match="holds NaN or infinity"):
        read_factors_alone(tmp_path)


@pytest.mark.parametrize(
    ("path", "layer", "parts"),
    [
        ("model.layers.3.self_attn.out_proj", 3, ("o",)),
        ("gpt_neox.layers.10.attention.query_key_value", 10, ("q", "k", "v")),
        ("transformer.h.2.mlp.dense", 2, ("down",)),
        ("lm_head", None, ("head",)),
        ("model.layers.0.something_new", 0, ()),
    ],
)
def test_places_are_read_from_paths(path, layer, parts):
    assert (layer_of(path), parts_of(path)) == (layer, parts)
