"""Figures of pairs: a whole study, against loops over pairs and tensors.

The loops are those of a notebook: a cosine per query, candidate and tensor from
dictionaries, the highest wins, 2000 resamples of each tensor's accuracy one by one, and
greedy selection that computes every set's cosines anew. They are timed on a part (some
tensors, some sets) and extrapolated; what they do in each part is the same for all. The
study also gives everything else: all units, margins, baselines, both goals. Run with
`python benchmarks/bench_retrieval.py [queries] [candidates] [tensors]`: 988, 50 and 113
by default. Ends with 1 below half of the target.
"""

import math
import random
import sys
import time
from collections.abc import Callable

import numpy as np
from measuring import peak_memory, verdict

from driftmap.core.places import TensorPlace
from driftmap.results.pair_products import PairProducts, Truth
from driftmap.results.retrieval import RetrievalSettings
from driftmap.stats.retrieval.study import study_pairs

TARGET = 50
PARTS = ("q", "k", "v", "o", "gate", "up", "down")
TIMED_TENSORS, TIMED_SETS, RESAMPLES = 2, 2, 2000


def made(num_queries, num_candidates, num_tensors):
    """Products of random gradients that share a part with their original's."""
    rng = np.random.default_rng(0)
    truth = np.arange(num_queries)
    others = [
        rng.choice(num_queries, num_candidates, replace=False)
        for _ in range(num_queries)
    ]
    candidates = np.array(others)
    for row, listed in enumerate(candidates):
        if row not in listed:
            listed[rng.integers(num_candidates)] = row
    asked = rng.uniform(0.5, 2, (num_queries, num_tensors))
    found = rng.uniform(0.5, 2, (num_queries, num_tensors))
    dot = rng.uniform(-0.3, 0.3, (num_queries, num_candidates, num_tensors))
    dot += (candidates == truth[:, None])[:, :, None] * rng.uniform(0, 0.4, num_tensors)
    dot *= np.sqrt(asked[:, None] * found[candidates])
    products = PairProducts(
        queries=tuple(f"q{n}" for n in range(num_queries)),
        originals=tuple(f"o{n}" for n in range(num_queries)),
        candidates=candidates,
        tensors=tuple(_place(number) for number in range(num_tensors)),
        dot=dot,
        query_energy=asked,
        original_energy=found,
    )
    same = Truth(original=truth, same=truth, sets=("made",) * num_queries)
    return products, same


def _place(number):
    layer, place = divmod(number, len(PARTS))
    half = "attention" if place < 4 else "mlp"
    return TensorPlace(
        name=f"layers.{layer}.{PARTS[place]}",
        part=PARTS[place],
        layer=layer,
        half=half,
        num_weights=1000 * (place + 1),
    )


def as_dictionaries(products):
    """`{query: {original: {tensor: D}}}`, and A and B the same way."""
    names = [tensor.name for tensor in products.tensors]
    rows = zip(products.queries, products.candidates, products.dot, strict=True)
    return (
        {
            query: {
                products.originals[number]: dict(zip(names, dots, strict=True))
                for number, dots in zip(listed, of_query.tolist(), strict=True)
            }
            for query, listed, of_query in rows
        },
        _energies(products.queries, names, products.query_energy),
        _energies(products.originals, names, products.original_energy),
    )


def _energies(ids, names, energies):
    return {
        one: dict(zip(names, row, strict=True))
        for one, row in zip(ids, energies.tolist(), strict=True)
    }


def loop_hits(dots, asked, found, names):
    """Whether each query's truth is on top under some tensors, joined."""
    hits = []
    for query, candidates in dots.items():
        best, chosen = -math.inf, None
        for original, products in candidates.items():
            top = sum(products[name] for name in names)
            left = sum(asked[query][name] for name in names)
            right = sum(found[original][name] for name in names)
            cosine = top / math.sqrt(left * right)
            if cosine > best:
                best, chosen = cosine, original
        hits.append(chosen[1:] == query[1:])
    return hits


def loop_table(loops, names):
    """Accuracy of some tensors alone, with resamples drawn one by one."""
    draw, read = random.Random(0), {}
    for name in names:
        hits = loop_hits(*loops, [name])
        rates = sorted(
            sum(draw.choices(hits, k=len(hits))) / len(hits) for _ in range(RESAMPLES)
        )
        low, high = rates[RESAMPLES // 40], rates[-RESAMPLES // 40]
        read[name] = (sum(hits) / len(hits), low, high)
    return read


def cpu_seconds(way: Callable[[], object]) -> float:
    """Processor time of one call on one thread: other work may run beside it."""
    start = time.process_time()
    way()
    return time.process_time() - start


def study(prepared):
    products, truth = prepared
    return study_pairs(products, truth, RetrievalSettings(holdout=0), seed=0)


def extrapolated(loops, names):
    """Seconds of both figures of a notebook, each part's time times its number."""
    num = len(names)
    table = (
        cpu_seconds(lambda: loop_table(loops, names[:TIMED_TENSORS])) / TIMED_TENSORS
    )
    # A greedy step with n tensors taken scores sets of n + 1: mean size is a third.
    size = max(1, num // 3)
    some = range(TIMED_SETS)
    step = cpu_seconds(lambda: [loop_hits(*loops, names[:size]) for _ in some])
    return num * table, num * (num + 1) / 2 * step / TIMED_SETS


def main(num_queries=988, num_candidates=50, num_tensors=113):
    prepared = made(num_queries, num_candidates, num_tensors)
    names = [tensor.name for tensor in prepared[0].tensors]
    loops = as_dictionaries(prepared[0])
    ours = study(prepared)
    (of_set,) = ours.sets
    for name, (rate, _, _) in loop_table(loops, names[:TIMED_TENSORS]).items():
        same = next(r for r in of_set.readings if r.unit.name == name)
        assert math.isclose(rate, same.accuracy.value.estimate)
    took = cpu_seconds(lambda: study(prepared))
    table, greedy = extrapolated(loops, names)
    print(f"{num_queries} queries, {num_candidates} candidates, {num_tensors} tensors")
    print(f"whole study                       {took:10.1f} s")
    print(f"loops, accuracies and intervals   {table:10.1f} s (extrapolated)")
    print(f"loops, one greedy selection       {greedy:10.1f} s (extrapolated)")
    lift = peak_memory(made, study, num_queries, num_candidates, num_tensors)
    print(f"peak memory above the products    {lift / 2**20:10.0f} MiB")
    return verdict((table + greedy) / took, TARGET)


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
