"""SNIP of all matrices: one pass over the data against a pass per layer.

The layer-by-layer way is that of the published code: for every layer and every
sample, let only that layer's weights require gradients, run forward and backward,
and add the absolute gradients. Operations alone give (3 L + 2) / 6. Run with
`python benchmarks/bench_snip.py`; ends with 1 below half of the target.
"""

import sys
from functools import partial

import torch
from measuring import paired_ratio, peak_memory, verdict
from torch.nn.functional import cross_entropy
from transformers import LlamaConfig, LlamaForCausalLM

from driftmap.capture.stream import run_folds
from driftmap.core.units import format_bytes
from driftmap.families.discover import find_layout
from driftmap.families.matrices import site_weight
from driftmap.measure.snip import Snip
from driftmap.signals.batch import Batch, observed_tokens

TARGET, TARGET_LAYERS = 6.5, 16
TURNS = {8: 5, 16: 3, 32: 1}
HIDDEN, TOKENS, SAMPLES, COUNTED = 256, 128, 4, 32
BATCH_SIZE = 4


def prepare(num_layers):
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=512,
        hidden_size=HIDDEN,
        intermediate_size=3 * HIDDEN,
        num_hidden_layers=num_layers,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=TOKENS,
        pad_token_id=0,
    )
    model = LlamaForCausalLM(config).eval()
    return model, torch.randint(3, 512, (SAMPLES, TOKENS))


def layer_by_layer(prepared):
    model, token_ids = prepared
    scores = {}
    for layer, block in enumerate(model.model.layers):
        model.requires_grad_(False)
        weights = {
            f"{layer}.{path}": module.weight.requires_grad_(True)
            for path, module in block.named_modules()
            if isinstance(module, torch.nn.Linear)
        }
        sums = {path: torch.zeros_like(weight) for path, weight in weights.items()}
        for sample in token_ids:
            model.zero_grad()
            logits = model(input_ids=sample[None], use_cache=False).logits[0]
            first = TOKENS - COUNTED
            cross_entropy(logits[first - 1 : -1].float(), sample[first:]).backward()
            for path, weight in weights.items():
                sums[path] += weight.grad.abs()
        model.zero_grad()
        for path, weight in weights.items():
            scores[path] = sums[path].mul_(weight.detach().abs()).div_(SAMPLES)
    return scores


def one_pass(prepared, batch_size=BATCH_SIZE):
    model, token_ids = prepared
    fold = Snip(partial(site_weight, model))
    batches = [
        as_batch(token_ids[start : start + batch_size], start)
        for start in range(0, SAMPLES, batch_size)
    ]
    return run_folds(model, find_layout(model).sites, batches, [fold])[0]


def one_pass_of_single_samples(prepared):
    return one_pass(prepared, batch_size=1)


def as_batch(token_ids, first):
    numbers = range(first, first + len(token_ids))
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


WAYS = {
    "layer by layer": layer_by_layer,
    f"one pass, {BATCH_SIZE} samples a batch": one_pass,
    "one pass, 1 sample a batch": one_pass_of_single_samples,
}


def worst_difference(prepared):
    slow = layer_by_layer(prepared)
    prefix = "model.layers."
    fast = {s.path.removeprefix(prefix): v for s, v in one_pass(prepared).items()}
    return max(
        ((fast[path] - score).abs().max() / score.max()).item()
        for path, score in slow.items()
    )


def main():
    torch.set_num_threads(1)
    print("| layers | layer by layer | one pass | ratio | range | operations alone |")
    print("|---|---|---|---|---|---|")
    ratios = {}
    for num_layers, turns in TURNS.items():
        prepared = prepare(num_layers)
        found = paired_ratio(
            partial(layer_by_layer, prepared), partial(one_pass, prepared), turns
        )
        ratios[num_layers] = found.median
        print(
            f"| {num_layers} | {found.slow_seconds:.2f} s | {found.fast_seconds:.2f} s "
            f"| {found.median:.1f}x | {found.low:.1f} - {found.high:.1f} "
            f"| {(3 * num_layers + 2) / 6:.1f}x |",
            flush=True,
        )
    print(f"\nlargest difference: {worst_difference(prepare(4)):.1e} of the maximum")
    print(f"\n| way, {TARGET_LAYERS} layers | peak memory above model and data |")
    print("|---|---|")
    for name, way in WAYS.items():
        lifted = peak_memory(prepare, way, TARGET_LAYERS)
        print(f"| {name} | {format_bytes(lifted)} |")
    if sorted(ratios.values()) != list(ratios.values()):
        print("\nthe ratio does not grow with depth")
    return verdict(ratios[TARGET_LAYERS], TARGET)


if __name__ == "__main__":
    sys.exit(main())
