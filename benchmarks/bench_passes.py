"""Scoring two data sets in little memory: with and without a disk where scores wait.

The scores of the first data set wait for those of the second. On a disk they leave the
memory to the sums, so that a pass covers twice as many matrices. Run with
`python benchmarks/bench_passes.py`; ends with 1 below half of the target.
"""

import sys
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import torch
from measuring import paired_ratio, seconds, verdict
from transformers import LlamaConfig, LlamaForCausalLM

from driftmap.core.progress import Listener, listening
from driftmap.core.scratch import disk_for_scratch
from driftmap.load.model import load_model
from driftmap.load.source import ModelSource
from driftmap.recipes.options import ScoringOptions
from driftmap.recipes.steps.scoring import halves as scoring
from driftmap.recipes.steps.scoring.kinds import bare_measure
from driftmap.recipes.steps.scoring.passes import GIB, Spill
from driftmap.results.samples import EncodedSample
from driftmap.worlds.tokenizer import make_tokenizer, save_tokenizer
from driftmap.worlds.words import all_words

TARGET = 1.5
HIDDEN, LAYERS, TOKENS, COUNTED, SAMPLES = 512, 4, 128, 32, 4
BYTES_A_WEIGHT = 4
TURNS = 3


class Notes(Listener):
    """Keeps what is said."""

    def __init__(self):
        self.lines = []

    def said(self, message):
        """Keep a line."""
        self.lines.append(message)


def make_model(folder):
    torch.manual_seed(0)
    tokenizer = make_tokenizer(all_words())
    config = LlamaConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=HIDDEN,
        intermediate_size=3 * HIDDEN,
        num_hidden_layers=LAYERS,
        num_attention_heads=8,
        num_key_value_heads=8,
        max_position_embeddings=TOKENS,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    save_tokenizer(tokenizer, folder)
    return load_model(ModelSource(model=str(folder), device="cpu"))


def make_samples(seed):
    draw = np.random.default_rng(seed)
    return [
        EncodedSample(
            sample_id=str(number),
            token_ids=draw.integers(3, 300, TOKENS, dtype=np.int32),
            counted=np.arange(TOKENS) >= TOKENS - COUNTED,
            prompt_length=TOKENS - COUNTED,
        )
        for number in range(SAMPLES)
    ]


def score(loaded, data, options, spill=None):
    for _site, sets in scoring.score_halves(
        loaded, data, options, bare_measure(loaded, options, 0), spill
    ):
        for halves in sets:
            halves.even.max()


def main():
    torch.set_num_threads(1)
    place = disk_for_scratch(None)
    if place is None:
        print("the system's temporary folder is memory: nothing to compare")
        return 0
    with tempfile.TemporaryDirectory() as folder:
        loaded = make_model(Path(folder) / "model")
        data = [make_samples(0), make_samples(1)]
        sites = loaded.layout.sites
        total = sum(site.num_weights for site in sites)
        beside = 16 * max(site.num_weights for site in sites)
        memory = (BYTES_A_WEIGHT * total + beside) / GIB
        options = ScoringOptions(memory=memory)
        spill = Spill(run=Path(folder) / "run")
        ways = {
            "waiting in memory": partial(score, loaded, data, options),
            "waiting on a disk": partial(score, loaded, data, options, spill),
            "memory for all": partial(score, loaded, data, ScoringOptions()),
        }
        print(f"{total:,} weights, --memory {memory:.3f} (GiB)\n")
        for name, way in ways.items():
            notes = Notes()
            with listening(notes):
                way()
            print(f"{name}: {'; '.join(notes.lines) or 'one pass'}", flush=True)
        found = paired_ratio(*list(ways.values())[:2], TURNS)
        best = seconds(ways["memory for all"])
    print(
        f"\nin memory {found.slow_seconds:.2f} s, on a disk "
        f"{found.fast_seconds:.2f} s, {found.median:.2f}x ({found.low:.2f} to "
        f"{found.high:.2f}); memory for all {best:.2f} s"
    )
    return verdict(found.median, TARGET)


if __name__ == "__main__":
    sys.exit(main())
