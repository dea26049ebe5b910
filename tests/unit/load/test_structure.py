"""Two models side by side from headers alone, and an adapter without its base."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from adapters_made import make_adapter
from driftmap.core.errors import ModelError
from driftmap.load.structure import compare_structure
from driftmap.load.tuned import find_tuned
from driftmap.stats.claims.structure import structure_claims
from tiny import tiny_llama
from tiny_experts import tiny_moe
from tiny_families import tiny_family
from tokenizers_made import byte_level, merging


def saved(model, folder):
    model.save_pretrained(folder)
    return folder


def compared(base, tuned):
    return compare_structure(str(base), find_tuned([str(tuned)]))


def row_of(found, name):
    (row,) = [row for row in found.rows if row.name == name]
    return row


def says(found):
    return " ".join(claim.says for claim in structure_claims(found))


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    return saved(tiny_llama(layers=3), tmp_path_factory.mktemp("llama"))


@pytest.mark.parametrize("family", ["gpt2", "llama", "opt", "falcon"])
def test_equal_models_have_no_difference_and_folded_blocks(family, tmp_path):
    folder = saved(tiny_family(family), tmp_path / "one")
    other = saved(tiny_family(family, seed=1), tmp_path / "other")
    found = compared(folder, other)
    assert found.has_same_shape
    assert not found.settings
    assert {row.change for row in found.rows} == {"same"}
    assert [row.name for row in found.rows if row.times == 2] == ["0-1"]
    model = tiny_family(family)
    assert found.base is not None
    assert found.base.num_parameters == model.num_parameters()
    assert found.rows[0].base == found.rows[0].tuned


def test_folded_rows_add_up_to_the_model(llama):
    found = compared(llama, llama)
    block = row_of(found, "0-2")
    parts = [row_of(found, name) for name in ("embed_tokens", "norm", "lm_head")]
    total = 3 * block.base.num_parameters + sum(p.base.num_parameters for p in parts)
    assert total == tiny_llama(layers=3).num_parameters()


def test_no_weight_is_read(llama, tmp_path):
    """Weights that no memory could hold are no matter."""
    other = saved(tiny_llama(layers=3), tmp_path / "other")
    num = 2**34
    entry = {"dtype": "F32", "shape": [num], "data_offsets": [0, 4 * num]}
    header = json.dumps({"huge.weight": entry}).encode()
    with (other / "model.safetensors").open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(8 + len(header) + 4 * num)  # a hole on the disk
    found = compared(llama, other)
    assert [one.shape for one in found.only_tuned] == [(num,)]
    assert found.tuned is not None
    assert found.tuned.num_bytes == 2**36


def test_an_extra_a_missing_and_a_resized_tensor_are_named(llama, tmp_path):
    other = saved(tiny_llama(layers=3), tmp_path / "other")
    file = other / "model.safetensors"
    tensors = load_file(file)
    del tensors["model.layers.1.mlp.up_proj.weight"]
    tensors["value_head.weight"] = torch.zeros(1, 16)
    tensors["lm_head.weight"] = torch.zeros(48, 16)
    for layer in (0, 2):
        name = f"model.layers.{layer}.input_layernorm.weight"
        tensors[name] = tensors[name].bfloat16()
    save_file(tensors, file, metadata={"format": "pt"})
    found = compared(llama, other)
    (gone,), (new,) = found.only_base, found.only_tuned
    assert (gone.name, gone.times) == ("model.layers.1.mlp.up_proj.weight", 1)
    assert (new.name, new.shape) == ("value_head.weight", (1, 16))
    pairs = {one.name: one for one in found.differing}
    norms = pairs["model.layers.0,2.input_layernorm.weight"]
    assert (norms.times, norms.base_dtype, norms.tuned_dtype) == (2, "F32", "BF16")
    assert pairs["lm_head.weight"].tuned_shape == (48, 16)
    assert says(found) == (
        "The two are built differently: the tuned model lacks 1 tensor of the base "
        "(`model.layers.1.mlp.up_proj.weight`), it has 1 tensor more "
        "(`value_head.weight`), 1 tensor has another shape (`lm_head.weight`) and 2 "
        "tensors have another number type (`model.layers.0,2.input_layernorm.weight`)."
    )


def test_models_of_other_depths_share_what_they_share(llama, tmp_path):
    found = compared(llama, saved(tiny_llama(layers=4, vocab=44), tmp_path / "deep"))
    assert [(row.name, row.change) for row in found.rows if row.times > 1] == [
        ("0-2", "same")
    ]
    assert row_of(found, "3").change == "tuned-only"
    assert row_of(found, "embed_tokens").change == "changed"
    assert {one.name for one in found.settings} == {"num_hidden_layers", "vocab_size"}
    assert {one.name.partition(".3.")[0] for one in found.only_tuned} == {
        "model.layers"
    }


def test_a_tied_head_is_no_missing_tensor(tmp_path):
    tied = saved(tiny_family("gpt2"), tmp_path / "tied")
    loose = saved(tiny_family("gpt2"), tmp_path / "loose")
    file = loose / "model.safetensors"
    tensors = load_file(file)
    # As many files on the hub are: without what wraps the blocks, head written out.
    named = {n.removeprefix("transformer."): t for n, t in tensors.items()}
    named["lm_head.weight"] = tensors["transformer.wte.weight"].clone()
    save_file(named, file, metadata={"format": "pt"})
    assert compared(tied, loose).has_same_shape
    assert compared(loose, tied).has_same_shape


def test_a_model_without_code_here_is_read_from_its_names(llama, tmp_path):
    other = saved(tiny_llama(layers=3), tmp_path / "other")
    config = other / "config.json"
    config.write_text(json.dumps({"model_type": "never-heard-of-it"}))
    found = compared(llama, other)
    assert found.tuned is not None
    assert found.tuned.tree_from == "tensor names"
    assert found.tuned.num_parameters == tiny_llama(layers=3).num_parameters()
    assert row_of(found, "0-2").times == 3
    assert found.has_same_shape


def test_banks_of_experts_are_one_line(tmp_path):
    folder = saved(tiny_moe("olmoe"), tmp_path / "moe")
    found = compared(folder, folder)
    assert found.has_same_shape
    assert len([row for row in found.rows if row.name == "experts"]) == 1


def test_an_adapter_stands_on_its_base(tmp_path):
    wrapped = make_adapter(
        tmp_path / "adapter",
        base=tmp_path / "base",
        layers_to_transform=[1],
        modules_to_save=["lm_head"],
        target_modules=["q_proj", "embed_tokens"],
    )
    found = compared(tmp_path / "base", tmp_path / "adapter")
    trained, everything = wrapped.get_nb_trainable_parameters()
    assert found.adapter is not None
    assert found.adapter.num_trained == trained
    assert found.rows[0].tuned.num_parameters == everything
    kinds = {one.name: one.wrap.kind for one in found.adapter.wrapped}
    assert kinds["lm_head"] == "saved"
    assert kinds["model.layers.1.self_attn.q_proj"] == "lora"
    wraps = {row.name: row.change for row in found.rows if row.change != "same"}
    assert set(wraps) == {"q_proj", "lm_head"} | (wraps.keys() & {"embed_tokens"})
    assert found.only_tuned == found.differing == ()


@pytest.mark.parametrize(
    ("family", "settings"),
    [
        ("gpt2", {"target_modules": ["c_attn", "wte"], "fan_in_fan_out": True}),
        ("qwen2", {"target_modules": "all-linear", "bias": "all"}),
        ("llama", {"use_dora": True, "rank_pattern": {"q_proj": 5}}),
        ("llama", {"trainable_token_indices": [1, 2]}),
    ],
)
def test_trained_weights_are_those_that_peft_counts(family, settings, tmp_path):
    wrapped = make_adapter(tmp_path / "a", family, base=tmp_path / "b", **settings)
    found = compared(tmp_path / "b", tmp_path / "a")
    alone = compared("./no-such-base", tmp_path / "a")
    assert found.adapter is not None
    assert found.adapter == alone.adapter
    assert found.adapter.num_trained == wrapped.get_nb_trainable_parameters()[0]
    assert found.only_tuned == found.differing == ()


def test_an_adapter_is_shown_without_its_base(tmp_path):
    make_adapter(tmp_path / "adapter", base=tmp_path / "base")
    found = compared("./no-such-base", tmp_path / "adapter")
    assert found.base is None
    assert found.why_no_base.startswith("./no-such-base: there is no such folder")
    assert all(row.base is None for row in found.rows)
    assert row_of(found, "0-1").times == 2
    assert row_of(found, "down_proj").tuned.shape == (16, 40)
    assert says(found) == (
        "The adapter puts low-rank factors (LoRA) of rank 2 on 4 modules on the base: "
        "352 trained weights. It is shown by itself, since its base is not at hand."
    )


def test_an_adapter_of_another_model_is_told(llama, tmp_path):
    make_adapter(tmp_path / "gpt2", "gpt2", target_modules=["c_attn"])
    found = compared(llama, tmp_path / "gpt2")
    assert [one.name for one in found.only_tuned] == ["transformer.h.0-1.attn.c_attn"]
    assert "was made for another model" in says(found)
    make_adapter(tmp_path / "wide", "llama")
    (misfit,) = compared(llama, tmp_path / "wide").differing
    assert misfit.name == "model.layers.0-1.mlp.down_proj"
    assert (misfit.base_shape, misfit.tuned_shape) == ((16, 32), (16, 40))


def test_tokenizers_are_compared_token_by_token(llama, tmp_path):
    one = saved(tiny_llama(layers=3), tmp_path / "one")
    other = saved(tiny_llama(layers=3), tmp_path / "other")
    byte_level().save_pretrained(one)
    longer = byte_level(template="{{ messages }}", end="</s>")
    longer.add_tokens(["<new>"])
    longer.save_pretrained(other)
    same, found = compared(one, one).tokenizer, compared(one, other).tokenizer
    assert same is not None
    assert same.is_same
    assert found is not None
    assert (found.only_tuned, found.num_moved, found.num_only_base) == (
        ("<new>",),
        0,
        0,
    )
    assert found.template_differs
    assert [(s.name, s.base, s.tuned) for s in found.settings] == [
        ("eos_token", "<|im_end|>", "</s>")
    ]
    merging().save_pretrained(other)
    moved = compared(one, other).tokenizer
    assert moved is not None
    assert moved.num_moved > 0
    assert {"merges", "pre_tokenizer"} <= set(moved.other_rules)
    assert compared(llama, other).tokenizer is None


def test_a_whole_model_needs_its_base(llama):
    with pytest.raises(ModelError, match="no such folder; check the path"):
        compared("./no-such-base", llama)


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("config.json", "{", "it is no configuration"),
        ("config.json", None, "config.json is missing"),
        ("tokenizer.json", "[1", "it is no tokenizer"),
    ],
)
def test_broken_files_are_named(file, text, message, tmp_path):
    base = saved(tiny_llama(), tmp_path / "base")
    byte_level().save_pretrained(base)
    tuned = saved(tiny_llama(), tmp_path / "tuned")
    byte_level().save_pretrained(tuned)
    (base / file).unlink() if text is None else (base / file).write_text(text)
    with pytest.raises(ModelError, match=message):
        compared(base, tuned)


def test_a_configuration_without_weights_is_enough_for_a_base(llama, tmp_path):
    base = tmp_path / "base"
    base.mkdir()
    (base / "config.json").write_text((llama / "config.json").read_text())
    found = compared(base, llama)
    assert found.base is not None
    assert found.base.num_bytes is None
    assert found.has_same_shape
