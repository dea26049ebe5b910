"""Attention of the last position: rows beside the model's own, or eager's whole maps.

The naive way asks transformers for `output_attentions`, which forms the maps of all
layers and heads at once and needs the eager implementation. Run with
`python benchmarks/bench_attention.py [tokens]`; ends with 1 where reading the last row
costs more than 1.5 plain forward passes, or more than an eighth of the naive memory
(that of four times as many tokens).
"""

import sys
from functools import partial

import torch
from measuring import paired_ratio, peak_memory
from transformers import LlamaConfig, LlamaForCausalLM

from driftmap.capture.attention import observing
from driftmap.families.attention import find_attention
from driftmap.measure.attention import AttentionFold
from driftmap.results.attention import AttentionQuery

MOST = 1.5
"""Plain forward passes that reading the last row may cost."""

REPEATS = 5

LEAST_SAVED = 8
"""Times that the naive way's memory must be larger."""


def make_model(tokens, implementation):
    """A Llama of 44 million weights with shared key heads, and a text."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=8000, hidden_size=512, intermediate_size=1376,
        num_hidden_layers=12, num_attention_heads=8, num_key_value_heads=4,
        max_position_embeddings=4096, attn_implementation=implementation,
    )  # fmt: skip
    model = LlamaForCausalLM(config).eval().requires_grad_(False)
    text = torch.randint(3, 8000, (1, tokens))
    return model, text, find_attention(model)


def warmed_up(tokens, implementation):
    """The same after a short pass of each kind, so that no import is counted."""
    model, text, places = make_model(tokens, implementation)
    torch.set_grad_enabled(False)
    for way in (last_row, every_row):
        way((model, text[:, :8], places))
    return model, text, places


def plain(study):
    """One forward pass and nothing else."""
    model, text, _ = study
    return model(text, use_cache=False).logits


def last_row(study):
    """The same, with the last row of every layer and head kept."""
    return _read(study, is_whole=False)


def every_row(study):
    """The same, with every row formed for received weight and rollout, and dropped."""
    return _read(study, is_whole=True)


def whole_maps(study):
    """Eager's maps of all layers, of which the last row is taken."""
    model, text, _ = study
    maps = model(text, use_cache=False, output_attentions=True).attentions
    return torch.stack([layer[0, :, -1] for layer in maps]).numpy()


def _read(study, *, is_whole):
    model, text, places = study
    length = text.shape[1]
    query = AttentionQuery(kind="produces", answer_token=0, position=length - 1)
    fold = AttentionFold("text", [query], length, {}, is_whole=is_whole)
    rows = None if is_whole else torch.tensor([[length - 1]])
    with observing(model, places, rows, fold.take):
        model(text, use_cache=False)
    return fold.result()[0].weights


def main(tokens):
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    present, eager = make_model(tokens, "sdpa"), make_model(tokens, "eager")
    weights = sum(p.numel() for p in present[0].parameters())
    print(f"{weights / 1e6:.0f} million weights, 12 layers, {tokens} tokens, float32\n")
    worst = abs(last_row(present) - whole_maps(eager)).max()
    print(f"| way | cost in plain passes | peak memory at {4 * tokens} tokens |")
    print("|---|---|---|")
    costs, taken = {}, {}
    for way in (plain, last_row, every_row, whole_maps):
        study, name = (eager, "eager") if way is whole_maps else (present, "sdpa")
        ratio = paired_ratio(partial(way, study), partial(plain, present), REPEATS)
        taken[way] = peak_memory(warmed_up, way, 4 * tokens, name)
        costs[way] = ratio.median
        spread = f"{ratio.median:.2f} ({ratio.low:.2f} to {ratio.high:.2f})"
        print(f"| {way.__name__} | {spread} | {taken[way] / 2**20:.1f} MiB |")
    kept = max(taken[last_row] - taken[plain], 2**20)
    saved = (taken[whole_maps] - taken[plain]) / kept
    print(f"\nrows differ from eager's by {worst:.1e}; ", end="")
    print(f"beyond a plain pass the maps take {saved:.0f} times the memory of the row")
    return int(costs[last_row] > MOST or saved < LEAST_SAVED)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 256))
