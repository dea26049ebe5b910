"""Causal traces: all cells of a token as one batch against one forward per cell.

The naive way is the published one: for every cell the clean row and all draws of noise
run from the embedding, with hooks, and make logits of every token. It is timed on a
few cells before and after driftmap's way and extrapolated by their count; the same
cells are compared. Run with `python benchmarks/bench_traces.py`, or with names of jobs
to measure those alone; ends with 1 below half of a target.
"""

import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from measuring import peak_memory, verdict
from transformers import LlamaConfig, LlamaForCausalLM

from driftmap.capture.patching.tracing import trace_prompt
from driftmap.core.units import format_bytes
from driftmap.results.facts import EncodedFact, Fact
from driftmap.signals.traces import Corruption, Restoring

LAYERS, HIDDEN, WIDE, VOCABULARY, DRAWS = 12, 512, 1408, 8000, 10
HIDDEN_GRID = Restoring()


@dataclass(frozen=True, kw_only=True)
class Job:
    """One grid, and how many times faster it should be had."""

    tokens: int
    first: int
    restoring: Restoring
    target: float


JOBS = {
    "hidden, T 12": Job(tokens=12, first=1, restoring=HIDDEN_GRID, target=5),
    "hidden, T 20": Job(tokens=20, first=1, restoring=HIDDEN_GRID, target=5),
    "hidden, T 30": Job(tokens=30, first=1, restoring=HIDDEN_GRID, target=5),
    "hidden, T 20, subject from the middle": Job(
        tokens=20, first=10, restoring=HIDDEN_GRID, target=10
    ),
    "mlp, windows of 10, T 20": Job(
        tokens=20, first=1, restoring=Restoring(kind="mlp", window=10), target=4
    ),
    "attn, windows of 10, T 20": Job(
        tokens=20, first=1, restoring=Restoring(kind="attn", window=10), target=4
    ),
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Prepared:
    """A model, a prompt, and noise on its subject."""

    model: torch.nn.Module
    prompt: EncodedFact
    corruption: Corruption
    restoring: Restoring

    @property
    def cells(self):
        """A cell near each corner of what is computed, and one in between."""
        first, last = self.corruption.start, self.prompt.num_prompt - 1
        middle = (first + last) // 2
        return [(first, 0), (last, 1), (middle, LAYERS // 2), (last, LAYERS - 2)]


def prepare(name):
    torch.set_num_threads(1)
    torch.manual_seed(0)
    job = JOBS[name]
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=HIDDEN,
        intermediate_size=WIDE,
        num_hidden_layers=LAYERS,
        num_attention_heads=8,
        num_key_value_heads=8,
        max_position_embeddings=64,
        pad_token_id=0,
    )
    model = LlamaForCausalLM(config).eval()
    ids = np.random.RandomState(0).randint(3, VOCABULARY, job.tokens + 1)
    prompt = EncodedFact(
        fact=Fact(id="made", subject="X", prompt="X is"),
        token_ids=ids[:-1].astype(np.int32),
        num_prompt=job.tokens,
        subject=(job.first, job.first + 3),
        answer_ids=(int(ids[-1]),),
        foil_ids=(),
        tokens=("",) * job.tokens,
        offsets=((0, 0),) * job.tokens,
    )
    draws = torch.randn(DRAWS, 3, HIDDEN, dtype=torch.float64)
    corruption = Corruption(start=job.first, values=0.06 * draws, replaces=False)
    return Prepared(
        model=model, prompt=prompt, corruption=corruption, restoring=job.restoring
    )


def traced(prepared):
    """The whole grid, by driftmap."""
    (cells,) = trace_prompt(
        prepared.model, prepared.prompt, prepared.corruption, [prepared.restoring]
    )
    return cells


def naive(prepared):
    """A few cells as published: a whole forward of a clean row and all draws each."""
    return torch.stack([naive_cell(prepared, *cell) for cell in prepared.cells])


def naive_cell(prepared, token, layer):
    prompt, corruption = prepared.prompt, prepared.corruption
    decoder = prepared.model.model
    ids = torch.as_tensor(prompt.token_ids).long().expand(1 + DRAWS, -1)

    def corrupt(_module, _inputs, states):
        states = states.clone()
        span = slice(corruption.start, corruption.start + 3)
        states[1:, span] += corruption.values.float()
        return states

    def restore(_module, _inputs, output):
        states = output[0] if isinstance(output, tuple) else output
        states[1:, token] = states[0, token]
        return output

    with ExitStack() as stack, torch.no_grad():
        for module, hook in (
            (decoder.embed_tokens, corrupt),
            *((module, restore) for module in restored(prepared, layer)),
        ):
            stack.callback(module.register_forward_hook(hook).remove)
        logits = prepared.model(input_ids=ids, use_cache=False).logits
    return logits[1:, -1].softmax(-1)[:, prompt.answer_ids[0]]


def restored(prepared, layer):
    """Modules whose outputs one cell puts back."""
    kind, window = prepared.restoring.kind, prepared.restoring.window
    layers = prepared.model.model.layers
    if kind == "hidden":
        return [layers[layer]]
    name = "mlp" if kind == "mlp" else "self_attn"
    half = window // 2
    near = layers[max(0, layer - half) : min(LAYERS, layer + window - half)]
    return [getattr(block, name) for block in near]


def processor_seconds(way):
    start = time.process_time()
    found = way()
    return time.process_time() - start, found


def measure(name):
    """Time both ways in turns, and compare the cells that both had."""
    prepared = prepare(name)
    few = partial(naive, prepared)
    few()
    before, exact = processor_seconds(few)
    fast, cells = processor_seconds(partial(traced, prepared))
    after, _ = processor_seconds(few)
    count = prepared.prompt.num_prompt * LAYERS / len(prepared.cells)
    slow = count * (before + after) / 2
    found = torch.stack([cells.scores[cell] for cell in prepared.cells])
    error = float((found - exact).abs().max() / exact.abs().max())
    print(
        f"| {name} | {slow:.1f} s | {fast:.1f} s | {slow / fast:.1f}x "
        f"| {cells.method} | {error:.0e} |",
        flush=True,
    )
    return slow / fast


def main(names):
    torch.set_num_threads(1)
    print(f"Llama {LAYERS} x {HIDDEN}, {DRAWS} draws, processor time of one thread:\n")
    print(
        "| grid | naive, extrapolated | driftmap | ratio | how | largest difference |\n"
        "|---|---|---|---|---|---|"
    )
    ratios = {name: measure(name) for name in names}
    print("\n| grid | peak memory above the model |\n|---|---|")
    for name in names[:1]:
        for way in (traced, naive):
            print(
                f"| {name}, {way.__name__} "
                f"| {format_bytes(peak_memory(prepare, way, name))} |",
                flush=True,
            )
    return max(verdict(ratio, JOBS[name].target) for name, ratio in ratios.items())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or list(JOBS)))
