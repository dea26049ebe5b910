"""A folder with a tiny mixture of experts that any command can be run on."""

from pathlib import Path

import torch
from transformers import AutoModelForCausalLM

from tiny_experts import moe_config
from tokenizers_made import CHATML, byte_level


def save_tiny_mixture(folder: Path, family: str = "olmoe", *, seed: int = 0) -> Path:
    """A random model of a family with a chat template, saved as any model is."""
    tokenizer = byte_level(template=CHATML)
    torch.manual_seed(seed)
    config = moe_config(family)
    config.vocab_size = len(tokenizer)
    config.max_position_embeddings = 128
    config.bos_token_id = tokenizer.bos_token_id
    config.eos_token_id = tokenizer.eos_token_id
    config.pad_token_id = tokenizer.pad_token_id
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
