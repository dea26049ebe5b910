import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM

from driftmap.core.errors import ModelError
from driftmap.core.places import Site
from driftmap.families.discover import find_layout
from driftmap.families.quantised import four_bit
from driftmap.load.attach import attach_adapter
from driftmap.load.merged import merged_tensors
from four_bit import needs_bitsandbytes, wide_llama
from laws.restores import assert_restores_model
from tiny_families import FAMILY_NAMES, ROW_NAMES, tiny_family, tiny_tokens

PART = "model.layers.0.self_attn.q_proj"


def saved_adapter(folder, base, paths, **settings):
    """A saved adapter in which every trained number is random, and its logits."""
    torch.manual_seed(1)
    settings = {"r": 3, "lora_alpha": 4, "target_modules": sorted(paths), **settings}
    model = get_peft_model(base, LoraConfig(task_type="CAUSAL_LM", **settings))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.normal_(std=0.2)
        logits = model.eval()(tiny_tokens()).logits
    model.save_pretrained(folder, save_embedding_layers=False)
    return logits


def loaded(model, tensors):
    """A model like this one that holds other tensors."""
    again = type(model)(model.config).to(model.dtype).eval()
    again.load_state_dict(tensors)
    with torch.no_grad():
        return again(tiny_tokens()).logits


@pytest.mark.parametrize("name", [*FAMILY_NAMES, *ROW_NAMES])
def test_every_family_says_the_same_without_the_adapter(name, tmp_path):
    model = tiny_family(name)
    sites = find_layout(model).sites
    is_turned = all(site.transposed for site in sites)
    worn = saved_adapter(
        tmp_path, tiny_family(name), {s.path for s in sites}, fan_in_fan_out=is_turned
    )
    with assert_restores_model(model):
        tensors = merged_tensors(model, sites, tmp_path)
    assert torch.allclose(loaded(model, tensors), worn, atol=1e-4, rtol=1e-4)
    changed = {
        n for n, t in model.state_dict().items() if not torch.equal(t, tensors[n])
    }
    assert changed == {f"{site.path}.weight" for site in sites}


@pytest.mark.parametrize(
    "settings", [{"use_dora": True}, {"modules_to_save": ["o_proj"]}], ids=str
)
@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_dora_and_whole_matrices_say_the_same(name, settings, tmp_path):
    model = tiny_family(name)
    sites = find_layout(model).sites
    paths = {site.path for site in sites if not site.path.endswith("o_proj")}
    worn = saved_adapter(
        tmp_path, tiny_family(name), paths,
        fan_in_fan_out=all(site.transposed for site in sites),
        **(settings if name == "llama" else {"use_dora": True}),
    )  # fmt: skip
    tensors = merged_tensors(model, sites, tmp_path)
    assert torch.allclose(loaded(model, tensors), worn, atol=1e-4, rtol=1e-4)


def test_what_was_not_tuned_is_the_models_own_memory(tmp_path):
    model = tiny_family("llama")
    saved_adapter(tmp_path, tiny_family("llama"), {PART})
    tensors = merged_tensors(model, find_layout(model).sites, tmp_path)
    copied = [
        name
        for name, tensor in model.state_dict().items()
        if tensors[name].data_ptr() != tensor.data_ptr()
    ]
    assert copied == [f"{PART}.weight"]


def test_golden_by_hand(tmp_path):
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=8, hidden_size=2, intermediate_size=2, num_hidden_layers=1,
            num_attention_heads=1, num_key_value_heads=1,
        )
    )  # fmt: skip
    base = model.get_submodule(PART)
    base.weight.data = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    get_peft_model(
        model, LoraConfig(r=1, lora_alpha=2, target_modules=["q_proj"])
    ).save_pretrained(tmp_path)
    file = tmp_path / "adapter_model.safetensors"
    factors = {
        name: torch.tensor([[1.0, -1.0]])
        if "lora_A" in name
        else torch.tensor([[0.5], [1.0]])
        for name in load_file(file)
    }
    save_file(factors, file)
    model.set_submodule(PART, base)
    site = Site(path=PART, layer=0, part="q", num_rows=2, num_columns=2)
    merged = merged_tensors(model, [site], tmp_path)
    # 2 / 1 * [[0.5], [1]] @ [[1, -1]] = [[1, -1], [2, -2]]
    assert merged[f"{PART}.weight"].tolist() == [[2.0, 1.0], [5.0, 2.0]]


def test_the_sum_is_rounded_once(tmp_path):
    model = tiny_family("llama").bfloat16()
    saved_adapter(tmp_path, tiny_family("llama"), {PART})
    name = f"{PART}.weight"
    found = merged_tensors(model, find_layout(model).sites, tmp_path)[name]
    factors = load_file(tmp_path / "adapter_model.safetensors")
    down, up = (
        factors[f"base_model.model.{PART}.lora_{side}.weight"].double() for side in "AB"
    )
    exact = model.state_dict()[name].double() + up @ down * (4 / 3)
    assert found.dtype == torch.bfloat16
    assert torch.equal(found, exact.bfloat16())


def test_ranks_and_scales_of_single_matrices_are_kept(tmp_path):
    base, model = tiny_family("qwen2"), tiny_family("qwen2")
    settings = {"use_rslora": True, "rank_pattern": {"q_proj": 2}}
    worn = saved_adapter(tmp_path, base, {PART}, **settings)
    tensors = merged_tensors(model, find_layout(model).sites, tmp_path)
    assert torch.allclose(loaded(model, tensors), worn, atol=1e-4, rtol=1e-4)


# peft takes the bias of a factor for a broken factor
@pytest.mark.filterwarnings("ignore:Adapter 'default'. 1 LoRA tensor")
@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"target_modules": ["q_proj", "embed_tokens"]}, r"embedding_A` cannot"),
        ({"target_modules": ["q_proj", "lm_head"]}, r"lm_head\.lora_A\.weight` can"),
        ({"lora_bias": True}, r"lora_B\.bias` cannot be merged here"),
        ({"bias": "all"}, r"bias` cannot be merged here, where only the blocks"),
        ({"modules_to_save": ["lm_head"]}, r"`lm_head.weight` cannot be merged"),
        ({"init_lora_weights": "pissa"}, "its start `pissa` rewrote the base model"),
    ],
)  # fmt: skip
def test_what_cannot_be_merged_is_named(settings, told, tmp_path):
    model = tiny_family("qwen2")
    saved_adapter(tmp_path, tiny_family("qwen2"), {PART}, **settings)
    with pytest.raises(ModelError, match=told):
        merged_tensors(model, find_layout(model).sites, tmp_path)


def test_a_weight_that_is_not_in_memory_is_named(tmp_path):
    model = tiny_family("llama")
    sites = find_layout(model).sites
    saved_adapter(tmp_path, tiny_family("llama"), {PART})
    with pytest.raises(ModelError, match=r"q_proj.weight: the weight is not in memory"):
        merged_tensors(model.to("meta"), sites, tmp_path)


@needs_bitsandbytes
@pytest.mark.parametrize("settings", [{}, {"use_dora": True}], ids=str)
def test_four_bit_models_are_merged_without_rounding_again(settings, tmp_path):
    model = wide_llama(vocab=100).requires_grad_(False)
    sites = find_layout(model).sites
    some = {site.path for site in sites if site.part in "qo"}
    saved_adapter(tmp_path, wide_llama(vocab=100), some, **settings)
    with four_bit(model):
        tensors = merged_tensors(model, sites, tmp_path)
        worn = attach_adapter(model, tmp_path, base_name="", base_sha256="")
        logits = worn(tiny_tokens()).logits
    assert torch.allclose(loaded(wide_llama(vocab=100), tensors), logits, atol=1e-4)
