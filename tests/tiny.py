"""Tiny models for tests: a real architecture, random weights, milliseconds."""

import torch
from transformers import LlamaConfig, LlamaForCausalLM


def tiny_llama(*, seed: int = 0, layers: int = 2, hidden: int = 16, vocab: int = 40):
    """A random Llama with grouped-query attention, in eval mode."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=vocab,
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=64,
        initializer_range=0.2,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
    )
    return LlamaForCausalLM(config).eval()
