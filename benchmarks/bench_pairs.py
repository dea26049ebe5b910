"""Products of gradients, tensor by tensor: one backward per pair against two passes.

The naive way is that of the published code: for each query one backward, and again one
for each of its candidates, with gradients of all tensors, then one inner product per
tensor and pair. It is timed on a part of the pairs, before and after driftmap's way,
and extrapolated by its count of backwards. Run with `python benchmarks/bench_pairs.py`;
ends with 1 below half of a target.
"""

import statistics
import sys
import time
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from measuring import peak_memory, verdict
from transformers import LlamaConfig, LlamaForCausalLM

from driftmap.core.units import format_bytes
from driftmap.families.tensors import find_tensors
from driftmap.measure.products import all_pairs, workload_of
from driftmap.recipes.steps.similarity.schedules import PairWork, Ways, fill
from driftmap.signals.batch import Batch

TARGET_ALL, TARGET_FIVE = 12, 2.5
LAYERS, HIDDEN, WIDE, VOCABULARY = 8, 512, 1536, 6656
SAMPLES, TOKENS, COUNTED, BATCH_SIZE = 48, 128, 64, 8
CANDIDATES = 5
NAIVE_QUERIES, NAIVE_CANDIDATES = 1, 4
MEASURED = NAIVE_QUERIES * (1 + NAIVE_CANDIDATES)


@dataclass(frozen=True, kw_only=True, eq=False)
class Prepared:
    """A model, and token ids of queries and originals."""

    model: torch.nn.Module
    queries: torch.Tensor
    originals: torch.Tensor


def prepare(samples=SAMPLES):
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=HIDDEN,
        intermediate_size=WIDE,
        num_hidden_layers=LAYERS,
        num_attention_heads=8,
        num_key_value_heads=8,
        max_position_embeddings=TOKENS,
        pad_token_id=0,
    )
    model = LlamaForCausalLM(config).eval()
    ids = torch.randint(3, VOCABULARY, (2, samples, TOKENS))
    return Prepared(model=model, queries=ids[0], originals=ids[1])


def candidates_of(samples, count):
    if count == samples:
        return all_pairs(samples, samples)
    start = np.arange(samples)[:, None]
    return (start + np.arange(count)) % samples


def products(prepared, count=None, **ways):
    """D, A, B of all pairs, or of so many candidates per query."""
    samples = len(prepared.queries)
    candidates = candidates_of(samples, count or samples)
    rules = find_tensors(prepared.model)
    num_tensors = sum(len(rule.slices) for rule in rules)
    lengths = [TOKENS] * samples
    work = PairWork(
        model=prepared.model,
        rules=rules,
        query_ids=tuple(map(str, range(samples))),
        candidates=candidates,
        workload=workload_of(candidates, lengths, lengths),
        dot=np.zeros((*candidates.shape, num_tensors)),
        query_energy=np.zeros((samples, num_tensors)),
        original_energy=np.zeros((samples, num_tensors)),
    )
    fill(
        work,
        lambda part: batches(prepared.queries, part),
        lambda: batches(prepared.originals, range(samples)),
        Ways(**({"schedule": "streaming"} | ways)),
    )
    return work


def five(prepared):
    return products(prepared, CANDIDATES)


def batches(token_ids, part):
    return tuple(
        as_batch(token_ids[start : min(start + BATCH_SIZE, part.stop)], start)
        for start in range(part.start, part.stop, BATCH_SIZE)
    )


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
        observed=real,
    )


def naive(prepared, num_queries=NAIVE_QUERIES, num_candidates=NAIVE_CANDIDATES):
    """One backward per query, and one per candidate of each; D, A, B by tensor."""
    found = []
    for query in prepared.queries[:num_queries]:
        asked = gradients(prepared.model, query)
        for original in prepared.originals[:num_candidates]:
            given = gradients(prepared.model, original)
            found.append(
                [
                    (torch.vdot(a, b), a.square().sum(), b.square().sum())
                    for a, b in zip(asked, given, strict=True)
                ]
            )
    return torch.tensor(found).view(num_queries, num_candidates, -1, 3)


def gradients(model, token_ids):
    """One sample's gradient of every parameter, flat."""
    model.requires_grad_(True)
    logits = model(input_ids=token_ids[None], use_cache=False).logits[0]
    first = TOKENS - COUNTED
    loss = torch.nn.functional.cross_entropy(logits[first - 1 : -1], token_ids[first:])
    found = torch.autograd.grad(loss, list(model.parameters()))
    model.requires_grad_(False)
    return [one.flatten() for one in found]


def worst_difference(prepared):
    """Largest difference of a cosine between both ways, naive sums in float64."""
    prepared.model.requires_grad_(False)
    few = Prepared(
        model=prepared.model,
        queries=prepared.queries[:NAIVE_CANDIDATES],
        originals=prepared.originals[:NAIVE_CANDIDATES],
    )
    work = products(few)
    asked = [one.double() for one in gradients(few.model, few.queries[0])]
    worst = 0.0
    for at, original in enumerate(few.originals):
        given = [one.double() for one in gradients(few.model, original)]
        for column, (a, b) in enumerate(zip(asked, given, strict=True)):
            truth = torch.vdot(a, b) / (a.norm() * b.norm())
            energy = work.query_energy[0, column] * work.original_energy[at, column]
            cosine = work.dot[0, at, column] / np.sqrt(energy)
            worst = max(worst, abs(cosine - truth.item()))
    return worst


def timed_streaming(prepared):
    _timed("streaming", partial(products, prepared))


def timed_layer_major(prepared):
    _timed("layer by layer", partial(products, prepared, schedule="layer_major"))


def timed_ghost(prepared):
    _timed("streaming, all ghost", partial(products, prepared, products="ghost"))


def timed_naive(prepared):
    _timed(f"naive, {MEASURED} backwards", partial(naive, prepared))


def _timed(name, way):
    print(f"| {name} | {processor_seconds(way):.1f} s |", end="", flush=True)


def processor_seconds(way):
    start = time.process_time()
    way()
    return time.process_time() - start


def turn(slow, fast):
    """Processor time of both; the slow way, being short, before and after the fast."""
    slow()
    times = [processor_seconds(way) for way in (slow, slow, fast, slow, slow)]
    return statistics.median(times[:2] + times[3:]), times[2]


def main():
    torch.set_num_threads(1)
    prepared = prepare()
    size = sum(p.numel() for p in prepared.model.parameters()) / 1e6
    print(f"Llama of {size:.1f} M weights, {SAMPLES} x {SAMPLES}, {TOKENS} tokens\n")
    jobs = {
        f"all {SAMPLES} x {SAMPLES} pairs": (products, SAMPLES * (1 + SAMPLES)),
        f"{CANDIDATES} candidates a query": (five, SAMPLES * (1 + CANDIDATES)),
    }
    ratios = []
    print("Processor time of one thread:\n")
    print("| job | naive, extrapolated | driftmap | ratio |\n|---|---|---|---|")
    for what, (way, backwards) in jobs.items():
        slow, fast = turn(partial(naive, prepared), partial(way, prepared))
        slow *= backwards / MEASURED
        ratios.append(slow / fast)
        print(
            f"| {what} | {slow:.0f} s ({MEASURED} of {backwards} backwards measured) "
            f"| {fast:.1f} s | {ratios[-1]:.1f}x |",
            flush=True,
        )
    print("\n| all pairs | time | peak memory above the model |\n|---|---|---|")
    for way in (timed_streaming, timed_layer_major, timed_ghost, timed_naive):
        print(f" {format_bytes(peak_memory(prepare, way))} |", flush=True)
    print(f"\nlargest difference of a cosine: {worst_difference(prepared):.1e}")
    return max(map(verdict, ratios, (TARGET_ALL, TARGET_FIVE)))


if __name__ == "__main__":
    sys.exit(main())
