"""Wanda and SNIP: one pass for both against two, and Wanda against two forwards.

The naive way of Wanda is that of the published code: the inputs of the blocks lie in
buffers of samples x longest context x width; block by block, every sample goes through
once to be heard at each linear map and once more to fill the buffers of the next block.
Run with `python benchmarks/bench_scores.py`; ends with 1 below half of a target.
"""

import sys
from functools import partial

import torch
from measuring import paired_ratio, peak_memory, verdict
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

from driftmap.capture.stream import run_folds
from driftmap.core.units import format_bytes
from driftmap.families.discover import find_layout
from driftmap.families.matrices import site_weight
from driftmap.measure.snip import Snip
from driftmap.measure.wanda import Wanda
from driftmap.signals.batch import Batch, observed_tokens

TARGET_SHARED, TARGET_WANDA = 1.2, 1.8
TURNS = 5
LAYERS, HIDDEN, CONTEXT = 16, 256, 1024
SAMPLES, TOKENS, COUNTED, BATCH_SIZE = 16, 128, 32, 4
HEARD = slice(TOKENS - COUNTED - 1, TOKENS - 1)


def prepare():
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=512,
        hidden_size=HIDDEN,
        intermediate_size=3 * HIDDEN,
        num_hidden_layers=LAYERS,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=CONTEXT,
        pad_token_id=0,
    )
    model = LlamaForCausalLM(config).eval()
    return model, torch.randint(3, 512, (SAMPLES, TOKENS))


def shared(prepared):
    return scored(prepared, Wanda, Snip)


def apart(prepared):
    return *scored(prepared, Wanda), *scored(prepared, Snip)


def wanda_alone(prepared):
    return scored(prepared, Wanda)[0]


def scored(prepared, *kinds):
    model, token_ids = prepared
    folds = [kind(partial(site_weight, model)) for kind in kinds]
    starts = range(0, SAMPLES, BATCH_SIZE)
    batches = [as_batch(token_ids[s : s + BATCH_SIZE], s) for s in starts]
    return run_folds(model, find_layout(model).sites, batches, folds)


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


@torch.no_grad()
def two_forwards(prepared):
    model, token_ids = prepared
    inputs = torch.zeros(SAMPLES, CONTEXT, HIDDEN)
    outputs = torch.zeros_like(inputs)
    given = catch_inputs(model, token_ids, inputs)
    scores = {}
    for number, block in enumerate(model.model.layers):
        maps = {n: m for n, m in block.named_modules() if isinstance(m, nn.Linear)}
        squares = {name: torch.zeros(m.in_features) for name, m in maps.items()}
        hooks = [
            m.register_forward_hook(partial(hear, squares[n])) for n, m in maps.items()
        ]
        for sample in range(SAMPLES):
            block(inputs[sample : sample + 1, :TOKENS], **given)
        for hook in hooks:
            hook.remove()
        for name, module in maps.items():
            size = (squares[name] / (SAMPLES * COUNTED)).sqrt()
            path = f"model.layers.{number}.{name}"
            scores[path] = module.weight.abs() * size
        for sample in range(SAMPLES):
            outputs[sample, :TOKENS] = block(
                inputs[sample : sample + 1, :TOKENS], **given
            )[0]
        inputs, outputs = outputs, inputs
    return scores


def hear(squares, module, args, output):
    squares += args[0][0, HEARD].square().sum(dim=0)


def catch_inputs(model, token_ids, inputs):
    """Fill the buffer with what enters the first block; give its other arguments."""
    given = {}

    def catch(block, args, kwargs):
        hidden = args[0] if args else kwargs["hidden_states"]
        inputs[given["sample"], :TOKENS] = hidden[0]
        given["rest"] = {k: v for k, v in kwargs.items() if k != "hidden_states"}
        raise StopIteration

    hook = model.model.layers[0].register_forward_pre_hook(catch, with_kwargs=True)
    for sample, ids in enumerate(token_ids):
        given["sample"] = sample
        try:
            model(input_ids=ids[None], use_cache=False)
        except StopIteration:
            continue
    hook.remove()
    return given["rest"]


def worst_difference(prepared):
    slow, fast = two_forwards(prepared), wanda_alone(prepared)
    return max(
        ((slow[site.path] - score).abs().max() / score.max()).item()
        for site, score in fast.items()
    )


def main():
    torch.set_num_threads(1)
    prepared = prepare()
    pairs = {
        "Wanda and SNIP: two passes, one pass": (apart, shared),
        "Wanda: two forwards, one forward": (two_forwards, wanda_alone),
    }
    found = {}
    print("| what: naive way, driftmap's | naive | driftmap | ratio | range |")
    print("|---|---|---|---|---|")
    for what, (slow, fast) in pairs.items():
        ratio = paired_ratio(partial(slow, prepared), partial(fast, prepared), TURNS)
        found[what] = ratio.median
        print(
            f"| {what} | {ratio.slow_seconds:.2f} s | {ratio.fast_seconds:.2f} s "
            f"| {ratio.median:.2f}x | {ratio.low:.2f} - {ratio.high:.2f} |",
            flush=True,
        )
    print(f"\nlargest difference: {worst_difference(prepared):.1e} of the maximum")
    print("\n| way | peak memory above model and data |\n|---|---|")
    ways = (apart, shared, two_forwards, wanda_alone)
    for way in ways:
        name = way.__name__.replace("_", " ")
        print(f"| {name} | {format_bytes(peak_memory(prepare, way))} |")
    ratios = tuple(found.values())
    targets = (TARGET_SHARED, TARGET_WANDA)
    return max(map(verdict, ratios, targets))


if __name__ == "__main__":
    sys.exit(main())
