"""Sketches of gradients: the signed fold against two-sided projections.

At equal storage: how far are cosines of single tensors off, over all pairs of texts,
and how well is the order of pairs kept? The exact cosines are those of whole gradients.
Two-sided projections come as others make them (one pair of Gaussian matrices a tensor),
with orthonormal rows, and as here (two such pairs of half the size, which tell their
own error). Storage at equal error is read off between measured sizes of the fold. Times
are those of a whole pass, model included.

A random Llama is trained for some steps on lines of the built-in world first, since
gradients of trained models are nearer to low rank. Run with
`python benchmarks/bench_sketch.py [training steps]`; ends with 1 below half of the
target.
"""

import sys
from itertools import combinations

import numpy as np
import torch
from measuring import paired_ratio, verdict
from scipy.stats import spearmanr
from transformers import LlamaConfig, LlamaForCausalLM

from driftmap.capture.gradients import show_gradients
from driftmap.families.tensors import find_tensors
from driftmap.measure.sketch import Sketches
from driftmap.measure.sketch.two_sided import orthonormal_rows
from driftmap.results.sketches import SketchSettings
from driftmap.signals.assembled import stretches
from driftmap.signals.batch import Batch
from driftmap.stats.sketch_errors import told_errors
from driftmap.stats.sketched_pairs import pair_up
from driftmap.worlds.corpus import corpus_lines
from driftmap.worlds.tokenizer import encode_lines, make_tokenizer
from driftmap.worlds.words import all_words
from driftmap.worlds.world import make_world

TARGET = 8
WIDTH, LAYERS, TOKENS, COUNTED, TEXTS = 512, 3, 128, 64, 16
SIZES = (256, 1024, 4096)
SMALLER = (16, 32, 64, 128)
SEEDS = (0, 1)
TURNS = 3


def make_model(ids, steps):
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=make_tokenizer(all_words()).get_vocab_size(),
        hidden_size=WIDTH,
        intermediate_size=3 * WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=8,
        num_key_value_heads=8,
        max_position_embeddings=TOKENS,
    )
    model = LlamaForCausalLM(config)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for step in range(steps):
        rows = ids[TEXTS + 4 * step : TEXTS + 4 * step + 4]
        model(input_ids=rows, labels=rows).loss.backward()
        optimiser.step()
        optimiser.zero_grad()
    return model.eval()


def make_ids(rows):
    """Rows of token ids, cut from the lines of the world one after another."""
    world, tokenizer = make_world(0), make_tokenizer(all_words())
    lines = [
        row.token_ids
        for kind in ("profile", "question", "harmless")
        for row in encode_lines(tokenizer, corpus_lines(world, kind))
    ]
    np.random.default_rng(0).shuffle(lines)
    joined = np.concatenate(lines)[: rows * TOKENS]
    return torch.from_numpy(np.resize(joined, (rows, TOKENS))).long()


def make_batch(ids):
    counted = torch.zeros(TEXTS, TOKENS, dtype=torch.bool)
    counted[:, -COUNTED:] = True
    return Batch(
        sample_ids=tuple(map(str, range(TEXTS))),
        sample_index=tuple(range(TEXTS)),
        token_ids=ids[:TEXTS],
        real=torch.ones_like(counted),
        counted=counted,
        observed=counted,
    )


class Whole:
    """Takes every gradient of the large tensors whole, and projects it two-sidedly."""

    def __init__(self):
        self.exact, self.projected = {}, {}

    def take(self, signal):
        """Take one tensor of the one batch."""
        if len(signal.shape) != 2 or signal.tensor.num_weights <= 2 * max(SIZES):
            return
        name = signal.tensor.name
        flat = torch.cat([s.values for s in stretches(signal)], dim=1)
        self.exact[name] = _cosines(flat.double())
        gradients = flat.reshape(len(flat), *signal.shape)
        length = flat.double().norm(dim=1, keepdim=True)
        for size in SIZES:
            for kind in ("Gaussian", "orthonormal"):
                for seed in SEEDS:
                    short = _two_sided(gradients, size, kind, f"{seed}{name}")
                    unit = short.flatten(1).double() / length
                    self.projected[kind, size, seed, name] = _pairs(unit @ unit.T)


def _two_sided(gradients, size, kind, key):
    side = int(size**0.5)
    rows, columns = gradients.shape[1:]
    if kind == "orthonormal":
        out = orthonormal_rows(side, rows, f"{key}o")
        into = orthonormal_rows(side, columns, f"{key}i")
    else:
        draw = torch.Generator().manual_seed(abs(hash(key)) % 2**32)
        out = torch.randn(side, rows, generator=draw) / side**0.5
        into = torch.randn(side, columns, generator=draw) / side**0.5
    return out @ gradients @ into.T


def _cosines(gradients):
    unit = gradients / gradients.norm(dim=1, keepdim=True)
    return _pairs(unit @ unit.T)


def _pairs(square):
    return np.array([float(square[a, b]) for a, b in combinations(range(TEXTS), 2)])


def sketched(model, batch, settings):
    rules = find_tensors(model)
    fold = Sketches([p for rule in rules for p in rule.places], settings)
    show_gradients(model, rules, [batch], fold.take)
    return fold.result()


def ours(signals, names):
    """Estimates of both of our ways, and of smaller sizes of the fold."""
    found, told = {}, {}
    for kind, sizes in (("fold", (*SMALLER, *SIZES)), ("two-sided", SIZES)):
        for size in sizes:
            for seed in SEEDS:
                settings = SketchSettings(kind=kind, size=size, seed=seed)
                fold = Sketches([one.tensor for one in signals], settings)
                for one in signals:
                    fold.take(one)
                pairs = pair_up(fold.result(), fold.result())
                errors = told_errors(pairs)
                for number, tensor in enumerate(pairs.products.tensors):
                    if tensor.name in names:
                        cosines = pairs.products.cosine([number])
                        found[kind, size, seed, tensor.name] = _pairs(cosines)
                        told.setdefault((kind, size), []).append(errors[number])
    return found, {key: np.sqrt(np.mean(np.square(e))) for key, e in told.items()}


def summed_up(found, exact, kind, size):
    """Root mean square error over tensors, pairs and seeds; mean rank correlation."""
    errors, ranks = [], []
    for seed in SEEDS:
        for name, cosines in exact.items():
            estimate = found[kind, size, seed, name]
            errors.append(estimate - cosines)
            ranks.append(spearmanr(estimate, cosines).statistic)
    return float(np.sqrt(np.mean(np.square(errors)))), float(np.mean(ranks))


def fold_size_for(error, found, exact):
    """Numbers at which the fold errs by as much, between measured sizes."""
    sizes = (*SMALLER, *SIZES)
    errors = [summed_up(found, exact, "fold", size)[0] for size in sizes]
    return float(2 ** np.interp(-np.log2(error), -np.log2(errors), np.log2(sizes)))


def accuracy(model, batch):
    whole, signals = Whole(), []
    show_gradients(model, find_tensors(model), [batch], signals.append)
    for one in signals:
        whole.take(one)
    found, told = ours(signals, set(whole.exact))
    found |= whole.projected
    pairs = len(next(iter(whole.exact.values())))
    print(f"{len(whole.exact)} tensors, {pairs} pairs, {len(SEEDS)} seeds")
    print("| way | " + " | ".join(f"k = {size}" for size in SIZES) + " |")
    for kind in ("fold", "two-sided", "orthonormal", "Gaussian"):
        cells = [summed_up(found, whole.exact, kind, size) for size in SIZES]
        line = " | ".join(f"{error:.4f} ({rank:.2f})" for error, rank in cells)
        said = [f"{told[kind, size]:.4f}" for size in SIZES if (kind, size) in told]
        print(f"| {kind} | {line} | told by halves: {', '.join(said) or 'no'}")
    largest = SIZES[-1]
    ratios = {}
    for kind in ("Gaussian", "orthonormal", "two-sided"):
        error = summed_up(found, whole.exact, kind, largest)[0]
        needed = fold_size_for(error, found, whole.exact)
        ratios[kind] = largest / needed
        print(f"{kind} at {largest} numbers errs as the fold at {needed:.0f}: "
              f"{ratios[kind]:.1f} times the storage")  # fmt: skip
    return ratios["Gaussian"]


def speed(model, batch):
    for size in (1024, 4096):
        ratio = paired_ratio(
            lambda size=size: sketched(model, batch, SketchSettings(size=size)),
            lambda size=size: sketched(
                model, batch, SketchSettings(kind="two-sided", size=size)
            ),
            TURNS,
        )
        print(f"pass with k = {size}: fold {ratio.slow_seconds:.2f} s, two-sided "
              f"{ratio.fast_seconds:.2f} s ({ratio.median:.2f}x, {ratio.low:.2f} to "
              f"{ratio.high:.2f})")  # fmt: skip


def main():
    torch.set_num_threads(1)
    steps = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    ids = make_ids(TEXTS + 4 * steps)
    model = make_model(ids, steps)
    batch = make_batch(ids)
    weights = sum(p.numel() for p in model.parameters())
    print(
        f"{weights / 1e6:.1f} M weights, {steps} steps of training, {TEXTS} texts of "
        f"{TOKENS} tokens, {COUNTED} of them labelled"
    )
    speed(model, batch)
    ratio = accuracy(model, batch)
    return verdict(ratio, TARGET)


if __name__ == "__main__":
    sys.exit(main())
