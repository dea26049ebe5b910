"""Tiny random mixture-of-experts models: two layers, milliseconds."""

from collections.abc import Callable, Mapping

import torch
from transformers import AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

VOCAB = 40

Settings = Mapping[str, object]

_EVERY: Settings = {
    "vocab_size": VOCAB,
    "hidden_size": 16,
    "intermediate_size": 12,
    "moe_intermediate_size": 12,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 4,
    "num_experts_per_tok": 2,
    "max_position_embeddings": 64,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
    "initializer_range": 0.2,
}
_LATENT: Settings = {
    "kv_lora_rank": 8,
    "q_lora_rank": 8,
    "qk_rope_head_dim": 4,
    "qk_nope_head_dim": 4,
    "v_head_dim": 4,
    "num_key_value_heads": 4,
}
_GROUPS: Settings = {"n_routed_experts": 8, "n_group": 4, "topk_group": 2}
_SIX: Settings = {"num_experts": 6}
_SIX_LOCAL: Settings = {"num_local_experts": 6}
_SPARSE_LATER: Settings = {"mlp_layer_types": ["dense", "sparse"]}
_RECURRENT: Settings = {
    **_SIX,
    "layer_types": ["linear_attention", "full_attention"],
    "linear_num_value_heads": 4,
    "linear_num_key_heads": 2,
    "linear_key_head_dim": 4,
    "linear_value_head_dim": 4,
    "shared_expert_intermediate_size": 12,
}

_OWN: Mapping[str, Settings] = {
    "afmoe": _SIX,
    "aria_text": {"moe_num_experts": 6, "moe_topk": 2},
    "axk1": {**_LATENT, **_GROUPS, "first_k_dense_replace": 1},
    "bailing_hybrid": {
        **_LATENT,
        **_GROUPS,
        **_SPARSE_LATER,
        "num_local_experts": 8,
        "layer_types": ["linear_attention", "full_attention"],
    },
    "beam": {**_GROUPS, **_SPARSE_LATER, "num_experts": 8},
    "cohere2_moe": _SIX,
    "dbrx": {
        "d_model": 16,
        "n_heads": 4,
        "n_layers": 2,
        "max_seq_len": 64,
        "attn_config": {"kv_n_heads": 2, "clip_qkv": 8, "rope_theta": 10000.0},
        "ffn_config": {
            "hidden_size": 16,
            "ffn_hidden_size": 12,
            "moe_num_experts": 6,
            "moe_top_k": 2,
        },
    },
    "deepseek_v2": {
        **_LATENT,
        "n_routed_experts": 8,
        "n_group": 2,
        "topk_group": 1,
        "topk_method": "group_limited_greedy",
        "first_k_dense_replace": 1,
    },
    "deepseek_v3": {
        **_LATENT,
        **_GROUPS,
        "n_shared_experts": 1,
        "first_k_dense_replace": 1,
    },
    "deepseek_v4": {
        "n_routed_experts": 6,
        "head_dim": 8,
        "num_key_value_heads": 1,
        "partial_rotary_factor": 0.5,
        "mlp_layer_types": ["moe", "moe"],
        "layer_types": ["sliding_attention"] * 2,
        "o_groups": 2,
        "o_lora_rank": 4,
        "q_lora_rank": 8,
    },
    "dots1": {**_GROUPS, "n_shared_experts": 1, "first_k_dense_replace": 1},
    "ernie4_5_moe": {"moe_num_experts": 6, "moe_k": 2},
    "exaone_moe": _SIX,
    "flex_olmo": _SIX,
    "flint": {**_SIX, "shared_expert_intermediate_size": 12, "mlp_only_layers": [0]},
    "gemma4_text": {
        **_SIX,
        "enable_moe_block": True,
        "top_k_experts": 2,
        "hidden_size_per_layer_input": 0,
        "vocab_size_per_layer_input": VOCAB,
        "global_head_dim": 4,
    },
    "glm4_moe": _GROUPS,
    "glm4_moe_lite": {**_LATENT, **_GROUPS},
    "glm_moe_dsa": {
        **_LATENT,
        **_GROUPS,
        **_SPARSE_LATER,
        "index_n_heads": 2,
        "index_head_dim": 8,
        "index_topk": 4,
    },
    "gpt_oss": {
        **_SIX_LOCAL,
        "layer_types": ["sliding_attention", "full_attention"],
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
    },
    "granitemoe": _SIX_LOCAL,
    "granitemoehybrid": {
        **_SIX_LOCAL,
        "layer_types": ["attention", "mamba"],
        "mamba_n_heads": 4,
        "mamba_d_state": 8,
        "mamba_chunk_size": 8,
        "shared_intermediate_size": 8,
    },
    "granitemoeshared": {**_SIX_LOCAL, "shared_intermediate_size": 8},
    "hunyuan_v1_moe": _SIX,
    "hy_v3": _SIX,
    "inkling_text": {"n_routed_experts": 6},
    "jamba": {
        **_SIX,
        "attn_layer_period": 2,
        "attn_layer_offset": 1,
        "use_mamba_kernels": False,
        "mamba_d_state": 4,
    },
    "kolibri1": _SIX,
    "laguna": _SIX,
    "lfm2_moe": {
        **_SIX,
        "num_dense_layers": 1,
        "layer_types": ["full_attention", "full_attention"],
    },
    "llama4_text": {
        **_SIX_LOCAL,
        "num_experts_per_tok": 1,
        "intermediate_size_mlp": 12,
        "moe_layers": [0, 1],
    },
    "longcat_flash": {
        **_LATENT,
        "n_routed_experts": 6,
        "zero_expert_num": 2,
        "moe_topk": 2,
        "expert_ffn_hidden_size": 12,
        "ffn_hidden_size": 12,
        "num_layers": 2,
    },
    "mellum": _SIX,
    "mimo_v2_flash": {
        "n_routed_experts": 8,
        "v_head_dim": 4,
        "swa_num_attention_heads": 4,
        "swa_num_key_value_heads": 2,
        "swa_head_dim": 4,
        "swa_v_head_dim": 4,
    },
    "minimax": _SIX_LOCAL,
    "minimax_m2": _SIX_LOCAL,
    "mixtral": _SIX_LOCAL,
    "nemotron_h": {
        "n_routed_experts": 6,
        "layers_block_type": ["attention", "moe"],
        "mamba_num_heads": 4,
        "mamba_head_dim": 4,
        "ssm_state_size": 8,
        "n_groups": 2,
        "moe_shared_expert_intermediate_size": 12,
    },
    "olmoe": _SIX,
    "phimoe": _SIX_LOCAL,
    "qwen2_moe": {**_SIX, "shared_expert_intermediate_size": 12},
    "qwen3_5_moe_text": _RECURRENT,
    "qwen3_moe": _SIX,
    "qwen3_next": _RECURRENT,
    "solar_open": _GROUPS,
    "zaya": {**_SIX, "num_experts_per_tok": 1, "router_hidden_size": 8},
}
"""What a family needs beside the sizes that all have."""

MOE_NAMES = tuple(_OWN)
"""Families that are supported, by their `model_type`."""

LAWLESS_NAMES = ("inkling_text", "llama4_text", "phimoe")
"""Those among them whose routers follow no law that is known."""


def moe_config(family: str) -> PreTrainedConfig:
    """A tiny configuration of a family."""
    made: Callable[..., PreTrainedConfig] = CONFIG_MAPPING[family]
    return made(**{**_EVERY, **_OWN.get(family, {})})


def tiny_moe(family: str, seed: int = 0) -> PreTrainedModel:
    """A random model of a family, float32, in eval mode.

    Biases, norms and selection biases are random too: left as fresh models have them,
    they would hide a part that is put in the wrong place.
    """
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(moe_config(family)).float().eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 1 or "bias" in name or not parameter.any():
                parameter += 0.1 * torch.randn_like(parameter)
        for name, tensor in model.named_buffers():
            if "bias" in name:
                tensor += 0.2 * torch.randn_like(tensor)
    return model


def moe_tokens(*, samples: int = 2, tokens: int = 7, seed: int = 0) -> torch.Tensor:
    """Random token ids `[sample token]` that every tiny model takes."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(3, VOCAB, (samples, tokens), generator=generator)
