"""Experts that a loss pulls at, found and tuned: theirs alone, or all of the model.

The published way does both in one step: it forms the gradient of every parameter,
takes the mean of its absolute values per expert, sets it to zero outside the chosen
experts and lets AdamW step over all of the model. Here a pass shows rows, and one
gradient of one expert exists at a time; tuning forms gradients of chosen experts alone,
and AdamW owns nothing else. Each half is compared with the whole step, as that is what
the published way pays for either. A random model of 6 x 64 experts, 150 million
weights, 1,024 tokens a step, every tenth expert tuned. Run with
`python benchmarks/bench_experts.py`; ends with 1 below half of a target.
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
from driftmap.results.samples import EncodedSample
from driftmap.signals.batch import Batch, observed_tokens
from driftmap.tune.expert_settings import ExpertTuningSettings
from driftmap.tune.experts import ExpertTask, tune_experts

IDENTIFY_TARGETS = {"eager": 8.0, "grouped_mm": 1.3}
IDENTIFY_MEMORY_TARGET = 3.0
TUNE_TARGET, TUNE_MEMORY_TARGET = 1.5, 2.5
TURNS = {"eager": 1, "grouped_mm": 3}
LAYERS, EXPERTS, CHOSEN = 6, 64, 8
HIDDEN, NEURONS, VOCABULARY = 512, 256, 2048
SAMPLES, TOKENS, COUNTED = 2, 512, 16
TUNED = range(0, LAYERS * EXPERTS, 10)


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
    """Steps of the published way."""

    def __init__(self, prepared):
        self.model, self.token_ids = prepared
        self.model.requires_grad_(True)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-6)

    def step(self):
        """Score every expert, mask the others, step."""
        self.model.requires_grad_(True)
        logits = self.model(input_ids=self.token_ids, use_cache=False).logits
        first = TOKENS - COUNTED
        cross_entropy(
            logits[:, first - 1 : -1].flatten(0, 1), self.token_ids[:, first:].flatten()
        ).backward()
        scores = self._scores()
        self._mask()
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

    def _mask(self):
        others = torch.ones(LAYERS * EXPERTS, dtype=torch.bool)
        others[list(TUNED)] = False
        for layer, bank in enumerate(self._banks()):
            for parameter in bank.parameters():
                parameter.grad[others.view(LAYERS, EXPERTS)[layer]] = 0

    def _banks(self):
        return [layer.mlp.experts for layer in self.model.model.layers]


def published(prepared):
    return Published(prepared).step()


def identify(prepared, statistics=("mean_batch_abs",)):
    model, token_ids = prepared
    model.requires_grad_(False)
    banks = find_experts(model)
    fold = ExpertScoreFold(banks, statistics)
    show_experts(model, banks, [as_batch(token_ids)], fold.take)
    return fold.result().scores.scores[statistics[-1]]


def identify_by_sample(prepared):
    return identify(prepared, ("mean_example_abs", "mean_batch_abs"))


def tune(prepared):
    model, token_ids = prepared
    banks = find_experts(model)
    every = [expert for bank in banks for expert in bank.experts]
    task = ExpertTask(
        banks=banks,
        experts=[every[number] for number in TUNED],
        samples=[as_sample(str(n), row) for n, row in enumerate(token_ids)],
        settings=ExpertTuningSettings(learning_rate=1e-6, batch_size=SAMPLES),
        seed=0,
    )
    return tune_experts(model, task).log.num_weights


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


def as_sample(sample_id, token_ids):
    return EncodedSample(
        sample_id=sample_id,
        token_ids=token_ids.numpy().astype(np.int32),
        counted=np.arange(TOKENS) >= TOKENS - COUNTED,
        prompt_length=TOKENS - COUNTED,
    )


def times():
    """Ratios of the published step to each half, by its experts backend."""
    print("| published way | its step | what here | time | ratio | range |")
    print("|---|---|---|---|---|---|")
    ratios = {}
    for implementation, turns in TURNS.items():
        prepared = prepare(implementation)
        way = Published(prepared)
        way.step()  # AdamW makes its moments once
        for name, half in (("identify", identify), ("tune", tune)):
            found = paired_ratio(way.step, partial(half, prepared), turns)
            ratios[name, implementation] = found.median
            print(
                f"| {implementation} | {found.slow_seconds:.2f} s | {name} | "
                f"{found.fast_seconds:.2f} s | {found.median:.1f}x | {found.low:.1f} - "
                f"{found.high:.1f} |",
                flush=True,
            )
    more = paired_ratio(
        partial(identify_by_sample, prepared), partial(identify, prepared), 3
    )
    print(f"\nscores of each sample on top: {more.median - 1:+.0%} time")
    return ratios


def memory():
    """Peak memory of the published way over that of each half."""
    lifted = {}
    print("\n| way | peak memory above the model |")
    print("|---|---|")
    for name, way, implementation in (
        ("published, eager", published, "eager"),
        ("published, grouped_mm", published, "grouped_mm"),
        ("identify", identify, "grouped_mm"),
        ("identify, each sample too", identify_by_sample, "grouped_mm"),
        ("tune", tune, "grouped_mm"),
    ):
        lifted[name] = peak_memory(prepare, way, implementation)
        print(f"| {name} | {format_bytes(lifted[name])} |", flush=True)
    whole = lifted["published, grouped_mm"]
    return whole / lifted["identify"], whole / lifted["tune"]


def sizes():
    """What a checkpoint of the tuned experts takes, and one of all of the model."""
    prepared = prepare()
    slices = 4 * tune(prepared)
    whole = sum(4 * parameter.numel() for parameter in prepared[0].parameters())
    print(
        f"\ncheckpoint: {format_bytes(slices)} of {format_bytes(whole)}, "
        f"{whole / slices:.1f} times smaller"
    )


def worst_difference():
    prepared = prepare()
    wanted = published(prepared)
    return np.abs(identify(prepare()) - wanted).max() / wanted.max()


def main():
    torch.set_num_threads(1)
    found = times()
    identify_memory, tune_memory = memory()
    sizes()
    print(f"\nlargest difference: {worst_difference():.1e} of the largest score")
    asked = [(found["identify", n], target) for n, target in IDENTIFY_TARGETS.items()]
    asked.append((identify_memory, IDENTIFY_MEMORY_TARGET))
    asked.append((found["tune", "grouped_mm"], TUNE_TARGET))
    asked.append((tune_memory, TUNE_MEMORY_TARGET))
    return max(verdict(ratio, target) for ratio, target in asked)


if __name__ == "__main__":
    sys.exit(main())
