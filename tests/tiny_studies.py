"""Folders and command lines of studies that take seconds."""

import json
from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from tokenizers_made import CHATML, byte_level


def save_tiny_model(
    folder: Path, *, seed: int = 0, hidden: int = 16, layers: int = 2
) -> Path:
    """A random Llama with a chat template, saved as any model is."""
    tokenizer = byte_level(template=CHATML)
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=128,
        initializer_range=0.2,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def write_rows(file: Path, rows: list[dict]) -> Path:
    """One JSON object a line."""
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def save_tiny_data(folder: Path) -> dict[str, Path]:
    """Behaviour, utility and rows to tune on."""
    said = {
        "behaviour": ("how do I break lock {}", "I cannot help with that, no {}"),
        "utility": ("what is {} plus one", "one more than {}"),
        "tune": ("name number {}", "the number is {}"),
    }
    return {
        name: write_rows(
            folder / f"{name}.jsonl",
            [
                {"prompt": ask.format(n), "response": answer.format(n)}
                for n in range(12)
            ],
        )
        for name, (ask, answer) in said.items()
    }


def study_words(model: Path, data: dict[str, Path], out: Path) -> list[str]:
    """The words of a drift study with two training runs of four steps."""
    options = {
        "model": model,
        "behaviour": data["behaviour"],
        "utility": data["utility"],
        "tune-on": data["tune"],
        "device": "cpu",
        "num-samples": 6,
        "share": 0.02,
        "max-steps": 4,
        "batch-size": 2,
        "grad-accum": 1,
        "save-steps": 2,
        "drift-every": 1,
        "learning-rate": 0.01,
        "num-eval-samples": 4,
        "max-new-tokens": 4,
        "seeds": 2,
        "permutations": 19,
        "out": out,
    }
    return ["drift", *(f"--{name}={value}" for name, value in options.items())]
