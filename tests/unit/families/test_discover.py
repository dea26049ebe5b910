import time

import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM as Auto
from transformers import (
    BambaConfig,
    DeepseekV3Config,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    LlamaModel,
    Qwen2MoeConfig,
    T5Config,
    T5ForConditionalGeneration,
)

from driftmap.core.errors import FamilyError
from driftmap.families.dense import FAMILIES
from driftmap.families.discover import find_layout
from driftmap.families.probe import probe
from tiny import tiny_llama
from tiny_families import tiny_family, tiny_tokens


def on_meta(config, build=Auto.from_config):
    with torch.device("meta"):
        return build(config)


def test_golden_layout_of_a_llama():
    layout = find_layout(tiny_llama())
    assert layout.family == "llama"
    assert layout.blocks == ("model.layers.0", "model.layers.1")
    assert [site.path for site in layout.sites][:7] == [
        f"model.layers.0.{path}"
        for path in (
            "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj",
            "self_attn.o_proj", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj",
        )
    ]  # fmt: skip
    assert layout.norms == (
        "model.layers.0.input_layernorm",
        "model.layers.0.post_attention_layernorm",
        "model.layers.1.input_layernorm",
        "model.layers.1.post_attention_layernorm",
        "model.norm",
    )
    assert (layout.embedding, layout.head) == ("model.embed_tokens", "lm_head")
    assert not layout.tied
    assert layout.uncovered == ()


def test_keys_of_fused_sites_and_turned_matrices():
    sites = find_layout(tiny_family("gpt2")).sites
    assert sites[0].key == "transformer.h.0.attn.c_attn#q"
    assert sites[4].key == "transformer.h.0.mlp.c_fc"
    assert all(site.transposed for site in sites)
    assert not any(site.transposed for site in find_layout(tiny_family("phi3")).sites)


def test_a_model_without_a_head_has_none():
    config = LlamaConfig(
        vocab_size=20, hidden_size=8, intermediate_size=12,
        num_hidden_layers=1, num_attention_heads=2,
    )  # fmt: skip
    layout = find_layout(LlamaModel(config))
    assert (layout.head, layout.tied) == (None, False)
    assert layout.blocks == ("layers.0",)


def test_tied_weights_are_noticed_by_the_tensor():
    model = tiny_llama()
    assert not find_layout(model).tied
    model.lm_head.weight = model.model.embed_tokens.weight
    assert find_layout(model).tied


def test_a_big_model_on_the_meta_device_is_read_in_no_time():
    config = LlamaConfig(
        hidden_size=8192, intermediate_size=28672, num_hidden_layers=80,
        num_attention_heads=64, num_key_value_heads=8,
    )  # fmt: skip
    model = on_meta(config)
    start = time.perf_counter()
    layout = find_layout(model)
    seconds = time.perf_counter() - start
    assert len(layout.sites) == 560
    assert layout.sites[1].shape == (1024, 8192)
    assert seconds < 5  # 0.1 s on an idle machine


def test_a_block_parameter_that_is_no_site_is_named():
    model = tiny_llama()
    block = model.model.layers[1]
    block.self_attn.extra = nn.Linear(16, 3)
    block.mixing = nn.Parameter(torch.zeros(2, 2))
    block.scale = nn.Parameter(torch.zeros(2))
    assert find_layout(model).uncovered == (
        "model.layers.1.mixing",
        "model.layers.1.self_attn.extra.weight",
    )


def test_a_block_used_twice_has_its_sites_once():
    model = tiny_llama()
    model.model.layers[1] = model.model.layers[0]
    layout = find_layout(model)
    assert layout.blocks == ("model.layers.0", "model.layers.1")
    assert [site.layer for site in layout.sites] == 7 * [0]
    probe(model, layout, tiny_tokens())


def test_an_unknown_type_with_plain_names_needs_no_row():
    model = tiny_llama()
    model.config.model_type = "llama_of_tomorrow"
    layout = find_layout(model, families=())
    assert layout.family == "llama_of_tomorrow"
    assert len(layout.sites) == 14


def test_an_unknown_layout_is_refused_with_the_nearest_family_and_the_way_out():
    config = GPTNeoXConfig(
        vocab_size=20, hidden_size=8, intermediate_size=12,
        num_hidden_layers=2, num_attention_heads=2,
    )  # fmt: skip
    model = on_meta(config)
    model.config.model_type = "gpt_neox_next"
    with pytest.raises(FamilyError) as refusal:
        find_layout(model)
    assert str(refusal.value) == (
        "model type 'gpt_neox_next': gpt_neox.layers.0 holds the linear maps "
        "attention.query_key_value, attention.dense, mlp.dense_h_to_4h, "
        "mlp.dense_4h_to_h, and it is not known which part each of them is. "
        "The nearest family is 'gpt_neox', which knows query_key_value. "
        "Add a row for 'gpt_neox_next' to FAMILIES in driftmap/families/dense.py, "
        "as docs/how-to/add-a-model-family.md shows. "
        "What is unclear: no map for q k v o."
    )


@pytest.mark.parametrize("family", ["gpt2", "bloom", "falcon", "phi3", "mpt"])
def test_the_nearest_of_a_like_named_type_is_the_family(family):
    model = tiny_family(family)
    model.config.model_type = f"{family}x"
    with pytest.raises(FamilyError, match=f"nearest family is '{family}'"):
        find_layout(model)


def test_around_the_banks_of_a_mixture_all_that_is_clear_is_read():
    config = Qwen2MoeConfig(
        vocab_size=20, hidden_size=8, intermediate_size=12, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=1, num_experts=2,
        moe_intermediate_size=6, shared_expert_intermediate_size=10,
        mlp_only_layers=[0],
    )  # fmt: skip
    layout = find_layout(on_meta(config))
    dense = [site for site in layout.sites if site.layer == 0]
    assert [s.part for s in dense] == ["q", "k", "v", "o", "gate", "up", "down"]
    shared = [site for site in layout.sites if "shared" in site.path]
    assert [(site.path, site.part) for site in shared] == [
        ("model.layers.1.mlp.shared_expert.gate_proj", "gate"),
        ("model.layers.1.mlp.shared_expert.up_proj", "up"),
        ("model.layers.1.mlp.shared_expert.down_proj", "down"),
        ("model.layers.1.mlp.shared_expert_gate", "router"),
    ]


def test_maps_of_a_mixture_that_are_not_known_are_uncovered():
    config = DeepseekV3Config(
        vocab_size=20, hidden_size=8, intermediate_size=12, num_hidden_layers=1,
        num_attention_heads=2, num_key_value_heads=2, n_routed_experts=2, n_group=1,
        topk_group=1, moe_intermediate_size=6, first_k_dense_replace=0,
        q_lora_rank=4, kv_lora_rank=4, qk_rope_head_dim=2, qk_nope_head_dim=2,
        v_head_dim=2, num_experts_per_tok=1,
    )  # fmt: skip
    layout = find_layout(on_meta(config))
    assert [site.path.partition(".mlp.")[2] for site in layout.sites][:3] == [
        f"shared_experts.{name}_proj" for name in ("gate", "up", "down")
    ]
    assert layout.uncovered[:5] == tuple(
        f"model.layers.0.self_attn.{name}.weight"
        for name in ("q_a_proj", "q_b_proj", "kv_a_proj_with_mqa", "kv_b_proj",
                     "o_proj")
    )  # fmt: skip


def test_a_hybrid_whose_block_has_no_attention_is_refused():
    config = BambaConfig(
        vocab_size=20, hidden_size=16, intermediate_size=12, num_hidden_layers=1,
        num_attention_heads=2, num_key_value_heads=1, mamba_n_heads=2,
        mamba_d_head=16, mamba_d_state=4, attn_layer_indices=[],
    )  # fmt: skip
    with pytest.raises(FamilyError, match="no map for q k v o"):
        find_layout(on_meta(config))


def test_other_models_are_refused_in_words():
    with pytest.raises(FamilyError, match=r"^Linear is no Hugging Face language model"):
        find_layout(nn.Linear(2, 2))
    config = T5Config(
        vocab_size=20, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2
    )
    with pytest.raises(FamilyError, match=r"^T5ForConditionalGeneration is an encoder"):
        find_layout(on_meta(config, T5ForConditionalGeneration))


def test_blocks_must_be_as_many_as_the_config_says():
    model = tiny_llama(layers=3)
    model.model.layers = model.model.layers[:2]
    message = (
        r"^model type 'llama': needs one `nn.ModuleList` of 3 blocks "
        r"\(`num_hidden_layers`\), each with linear maps inside; "
        r"found model.layers \(2\)$"
    )
    with pytest.raises(FamilyError, match=message):
        find_layout(model)


def test_unknown_head_counts_are_refused():
    model = tiny_llama()
    object.__setattr__(model.config, "num_attention_heads", None)
    with pytest.raises(FamilyError, match="`num_attention_heads` is None, so heads"):
        find_layout(model)


def test_rows_can_be_handed_in():
    model = on_meta(GPT2Config(vocab_size=20, n_embd=8, n_layer=1, n_head=2))
    with pytest.raises(FamilyError, match="no map for q k v"):
        find_layout(model, families=())
    assert find_layout(model, families=FAMILIES) == find_layout(model)
