"""Tiny random mixture-of-experts models: two layers, milliseconds."""

from collections.abc import Callable, Mapping

import torch
from transformers import AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

VOCAB = 40

_EVERY: Mapping[str, object] = {
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
_LATENT: Mapping[str, object] = {
    "kv_lora_rank": 8,
    "q_lora_rank": 8,
    "qk_rope_head_dim": 4,
    "qk_nope_head_dim": 4,
    "v_head_dim": 4,
    "num_key_value_heads": 4,
}

_OWN: Mapping[str, Mapping[str, object]] = {
    "olmoe": {"num_experts": 6},
    "mixtral": {"num_local_experts": 6},
    "qwen3_moe": {"num_experts": 6},
    "gpt_oss": {
        "num_local_experts": 6,
        "layer_types": ["sliding_attention", "full_attention"],
    },
    "deepseek_v3": {
        **_LATENT,
        "n_routed_experts": 8,
        "n_group": 4,
        "topk_group": 2,
        "n_shared_experts": 1,
        "first_k_dense_replace": 1,
    },
}
"""What a family needs beside the sizes that all have."""

MOE_NAMES = tuple(_OWN)
"""Families that are supported, by their `model_type`."""


def moe_config(family: str) -> PreTrainedConfig:
    """A tiny configuration of a family."""
    made: Callable[..., PreTrainedConfig] = CONFIG_MAPPING[family]
    return made(**{**_EVERY, **_OWN[family]})


def tiny_moe(family: str, seed: int = 0) -> PreTrainedModel:
    """A random model of a family, float32, in eval mode.

    Biases, norms and selection biases are random too: left as fresh models have them,
    they would hide a part that is put in the wrong place.
    """
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(moe_config(family)).float().eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 1 or "bias" in name:
                parameter += 0.1 * torch.randn_like(parameter)
        for name, tensor in model.named_buffers():
            if "bias" in name:
                tensor += 0.2 * torch.randn_like(tensor)
    return model


def moe_tokens(*, samples: int = 2, tokens: int = 7, seed: int = 0) -> torch.Tensor:
    """Random token ids `[sample token]` that every tiny model takes."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(3, VOCAB, (samples, tokens), generator=generator)
