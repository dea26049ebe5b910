"""Tiny random models of every proved family: two layers, four heads, milliseconds."""

from collections.abc import Callable

import torch
from transformers import (
    AutoModelForCausalLM,
    BloomConfig,
    CohereConfig,
    FalconConfig,
    Gemma2Config,
    Gemma3TextConfig,
    Glm4Config,
    GlmConfig,
    GPT2Config,
    GPTBigCodeConfig,
    GPTNeoXConfig,
    GraniteConfig,
    LlamaConfig,
    MistralConfig,
    MptConfig,
    Olmo2Config,
    OlmoConfig,
    OPTConfig,
    PersimmonConfig,
    Phi3Config,
    PreTrainedConfig,
    PreTrainedModel,
    Qwen2Config,
    Qwen3Config,
    StableLmConfig,
    Starcoder2Config,
)

VOCAB = 40

_EVERY = {
    "vocab_size": VOCAB,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
    "initializer_range": 0.2,
}
_MODERN = _EVERY | {
    "intermediate_size": 40,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
}
_GEMMA = _MODERN | {"head_dim": 8, "query_pre_attn_scalar": 8, "sliding_window": 8}
_GPT2 = {
    "vocab_size": VOCAB,
    "n_positions": 64,
    "n_embd": 16,
    "n_layer": 2,
    "n_head": 4,
    "initializer_range": 0.2,
    "bos_token_id": 1,
    "eos_token_id": 2,
}

_CONFIGS: dict[str, Callable[[], PreTrainedConfig]] = {
    "llama": lambda: LlamaConfig(**_MODERN),
    "mistral": lambda: MistralConfig(**_MODERN),
    "qwen2": lambda: Qwen2Config(**_MODERN),
    "qwen3": lambda: Qwen3Config(**_MODERN | {"head_dim": 8}),
    "gemma2": lambda: Gemma2Config(**_GEMMA),
    "gemma3": lambda: Gemma3TextConfig(**_GEMMA),
    "phi3": lambda: Phi3Config(**_MODERN),
    "olmo": lambda: OlmoConfig(**_MODERN),
    "olmo2": lambda: Olmo2Config(**_MODERN),
    "gpt2": lambda: GPT2Config(**_GPT2),
    "gpt_neox": lambda: GPTNeoXConfig(
        **_EVERY, intermediate_size=40, max_position_embeddings=64
    ),
    "opt": lambda: OPTConfig(
        **_EVERY, ffn_dim=40, max_position_embeddings=64, word_embed_proj_dim=16
    ),
    "falcon": lambda: FalconConfig(**_EVERY, multi_query=True),
    "falcon_grouped": lambda: FalconConfig(
        **_EVERY, new_decoder_architecture=True, num_kv_heads=2
    ),
    "falcon_by_head": lambda: FalconConfig(
        **_EVERY, multi_query=False, alibi=True, parallel_attn=False
    ),
    "bloom": lambda: BloomConfig(**_EVERY),
    "stablelm": lambda: StableLmConfig(**_MODERN),
    "starcoder2": lambda: Starcoder2Config(**_MODERN),
    "cohere": lambda: CohereConfig(**_MODERN),
    "granite": lambda: GraniteConfig(**_MODERN),
}

_MORE_CONFIGS: dict[str, Callable[[], PreTrainedConfig]] = {
    "glm": lambda: GlmConfig(**_MODERN | {"head_dim": 8}),
    "glm4": lambda: Glm4Config(**_MODERN | {"head_dim": 8}),
    "gpt_bigcode": lambda: GPTBigCodeConfig(**_GPT2, multi_query=True),
    "gpt_bigcode_by_head": lambda: GPTBigCodeConfig(**_GPT2, multi_query=False),
    "mpt": lambda: MptConfig(
        vocab_size=VOCAB, d_model=16, n_heads=4, n_layers=2, max_seq_len=64
    ),
    "persimmon": lambda: PersimmonConfig(
        **_EVERY, intermediate_size=40, max_position_embeddings=64, qk_layernorm=False
    ),
}

FAMILY_NAMES = tuple(_CONFIGS)
"""What every part of the product is tried on."""

ROW_NAMES = tuple(_MORE_CONFIGS)
"""Further rows of the family table, for the tests of the table itself."""


def tiny_family(name: str, seed: int = 0) -> PreTrainedModel:
    """A random model of a family, float32, in eval mode.

    Biases and norms are random too: left at zero and one, as fresh models have
    them, they would hide a part that is put in the wrong place.
    """
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config((_CONFIGS | _MORE_CONFIGS)[name]())
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter += 0.1 * torch.randn_like(parameter)
    return model.float().eval()


def tiny_tokens(*, samples: int = 2, tokens: int = 7, seed: int = 0) -> torch.Tensor:
    """Random token ids `[sample token]` that every tiny family takes."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(3, VOCAB, (samples, tokens), generator=generator)
