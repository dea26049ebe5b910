"""Which experts does a loss pull at: no gradient kept, against all of them and AdamW.

The published way forms the gradient of every parameter, takes the mean of its absolute
values per expert, sets it to zero outside the chosen experts and lets AdamW step over
all of the model. Here a pass shows rows, and one gradient of one expert exists at a
time. A random model of 6 x 64 experts, 150 million weights, 1,024 tokens a step. Run
with `python benchmarks/bench_experts.py`; ends with 1 below half of a target.
"""

import sys
from functools import partial

import numpy as np
import torch
from measuring import paired_ratio, peak_memory, verdict
from torch.nn.functional import cross_entropy
from transformers import OlmoeConfig, OlmoeForCausalLM

from driftmap.capture.expert_rows import show_experts
from driftmap.core.units import format_bytes
from driftmap.families.experts import find_experts
from driftmap.measure.experts.gradients import ExpertScoreFold
from driftmap.signals.batch import Batch, observed_tokens

TARGETS = {"eager": 8.0, "grouped_mm": 1.3}
MEMORY_TARGET = 3.0
TURNS = {"eager": 1, "grouped_mm": 3}
LAYERS, EXPERTS, CHOSEN = 6, 64, 8
HIDDEN, NEURONS, VOCABULARY = 512, 256, 2048
SAMPLES, TOKENS, COUNTED = 2, 512, 16
GROUP = 38


def prepare(implementation="grouped_mm"):
    torch.manual_seed(0)
    config = OlmoeConfig(
        vocab_size=VOCABULARY,
        hidden_size=HIDDEN,
        intermediate_size=NEURONS,
        num_hidden_layers=LAYERS,
        num_attention_heads=8,
        num_key_value_heads=8,
        num_experts=EXPERTS,
        num_experts_per_tok=CHOSEN,
        max_position_embeddings=TOKENS,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    model = OlmoeForCausalLM(config).eval()
    model.set_experts_implementation(implementation)
    return model, torch.randint(3, VOCABULARY, (SAMPLES, TOKENS))


class Published:
    """One step: a gradient of everything, a mean per expert, a masked step of AdamW."""

    def __init__(self, prepared):
        self.model, self.token_ids = prepared
        self.model.requires_grad_(True)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=0.0)

    def step(self):
        """Scores of this step's gradients."""
        logits = self.model(input_ids=self.token_ids, use_cache=False).logits
        first = TOKENS - COUNTED
        cross_entropy(
            logits[:, first - 1 : -1].flatten(0, 1), self.token_ids[:, first:].flatten()
        ).backward()
        scores = self._scores()
        self._mask(scores)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return scores

    def _scores(self):
        scores = torch.zeros(LAYERS, EXPERTS)
        for layer, bank in enumerate(self._banks()):
            size = sum(parameter[0].numel() for parameter in bank.parameters())
            for parameter in bank.parameters():
                scores[layer] += parameter.grad.abs().sum(dim=(1, 2)) / size
        return scores.numpy()

    def _mask(self, scores):
        chosen = np.argsort(-scores.flatten())[:GROUP]
        keep = torch.zeros(LAYERS * EXPERTS, dtype=torch.bool)
        keep[chosen.tolist()] = True
        for layer, bank in enumerate(self._banks()):
            others = ~keep.view(LAYERS, EXPERTS)[layer]
            for parameter in bank.parameters():
                parameter.grad[others] = 0

    def _banks(self):
        return [layer.mlp.experts for layer in self.model.model.layers]


def published(prepared):
    return Published(prepared).step()


def streamed(prepared, statistics=("mean_batch_abs",)):
    model, token_ids = prepared
    model.requires_grad_(False)
    banks = find_experts(model)
    fold = ExpertScoreFold(banks, statistics)
    show_experts(model, banks, [as_batch(token_ids)], fold.take)
    return fold.result().scores.scores[statistics[0]]


def streamed_by_sample(prepared):
    return streamed(prepared, ("mean_example_abs", "mean_batch_abs"))


def as_batch(token_ids):
    numbers = range(len(token_ids))
    counted = torch.zeros_like(token_ids, dtype=torch.bool)
    counted[:, TOKENS - COUNTED :] = True
    real = torch.ones_like(counted)
    return Batch(
        sample_ids=tuple(map(str, numbers)),
        sample_index=tuple(numbers),
        token_ids=token_ids,
        real=real,
        counted=counted,
        observed=observed_tokens(real, counted, "response"),
    )


def times():
    """Ratio to the published way, by its experts backend."""
    print("| published way | its step | here | ratio | range | by sample, too |")
    print("|---|---|---|---|---|---|")
    ratios = {}
    for implementation, turns in TURNS.items():
        prepared = prepare(implementation)
        here = partial(streamed, prepared)
        way = Published(prepared)
        way.step()  # AdamW makes its moments once
        found = paired_ratio(partial(unfrozen, way), here, turns)
        by_sample = paired_ratio(
            partial(streamed_by_sample, prepared), here, turns
        ).median
        ratios[implementation] = found.median
        print(
            f"| {implementation} | {found.slow_seconds:.2f} s | "
            f"{found.fast_seconds:.2f} s | {found.median:.1f}x | {found.low:.1f} - "
            f"{found.high:.1f} | +{by_sample - 1:.0%} |",
            flush=True,
        )
    return ratios


def unfrozen(way):
    way.model.requires_grad_(True)
    return way.step()


def memory():
    """Peak memory of the published way, over that of this one."""
    lifted = {}
    print("\n| way | peak memory above the model |")
    print("|---|---|")
    for name, way, implementation in (
        ("published, eager", published, "eager"),
        ("published, grouped_mm", published, "grouped_mm"),
        ("here", streamed, "grouped_mm"),
        ("here, by sample too", streamed_by_sample, "grouped_mm"),
    ):
        lifted[name] = peak_memory(prepare, way, implementation)
        print(f"| {name} | {format_bytes(lifted[name])} |", flush=True)
    return lifted["published, grouped_mm"] / lifted["here"]


def worst_difference():
    prepared = prepare()
    wanted = published(prepared)
    return np.abs(streamed(prepared) - wanted).max() / wanted.max()


def main():
    torch.set_num_threads(1)
    found = times()
    ratio = memory()
    print(f"\nlargest difference: {worst_difference():.1e} of the largest score")
    codes = [verdict(found[name], target) for name, target in TARGETS.items()]
    return max(*codes, verdict(ratio, MEMORY_TARGET))


if __name__ == "__main__":
    sys.exit(main())
