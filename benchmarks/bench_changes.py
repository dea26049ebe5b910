"""Drift of whole checkpoints and of DoRA: matrix by matrix against models in memory.

The naive ways load both models and subtract them, and merge DoRA's matrix to subtract
the one before. Run with `python benchmarks/bench_changes.py [layers]`; ends with 1
where twice the layers take more than two matrices' memory more to read.
"""

import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from measuring import paired_ratio, peak_memory
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.utils import logging

from driftmap.families.discover import find_layout
from driftmap.families.matrices import site_weight
from driftmap.load.full_changes import FullChanges, StoredMatrices
from driftmap.measure.drift import weight_change
from driftmap.signals.changes import DoraFactors
from driftmap.signals.factors import LoraFactors

HIDDEN, INNER = 768, 2048
SHARE = 0.01
SIZE, RANK, NUM_CHECKPOINTS = 2048, 8, 6

logging.disable_progress_bar()  # also in the processes that measure memory


def make_models(folder, layers):
    """Two checkpoints of one model on disk, and its matrices with a group in each."""
    config = LlamaConfig(
        vocab_size=1000, hidden_size=HIDDEN, intermediate_size=INNER,
        num_hidden_layers=layers, num_attention_heads=12,
    )  # fmt: skip
    with torch.device("meta"):
        sites = find_layout(LlamaForCausalLM(config)).sites
    if not (folder / "after").exists():
        torch.manual_seed(0)
        model = LlamaForCausalLM(config)
        model.save_pretrained(folder / "before", max_shard_size="100MB")
        with torch.no_grad():
            for weight in model.parameters():
                weight += 1e-4 * torch.randn_like(weight)
        model.save_pretrained(folder / "after", max_shard_size="100MB")
    draw = np.random.default_rng(0)
    chosen = {
        site: np.sort(
            draw.choice(site.num_weights, int(SHARE * site.num_weights), False)
        )
        for site in sites
    }
    return folder, chosen


def both_models(study):
    """Mean |dW| of the group per matrix, from two models in memory."""
    folder, chosen = study
    before, after = (
        LlamaForCausalLM.from_pretrained(folder / name) for name in ("before", "after")
    )
    drifts = []
    for site, index in chosen.items():
        moved = site_weight(after, site).double() - site_weight(before, site).double()
        drifts.append(moved.abs().reshape(-1)[index].mean().item())
    return np.array(drifts)


def matrix_by_matrix(study):
    """The same, streamed."""
    folder, chosen = study
    changes = FullChanges(
        StoredMatrices(folder / "before"),
        StoredMatrices(folder / "after"),
        list(chosen),
    )
    return np.array(
        [
            weight_change(changes[site], None, index).abs().mean().item()
            for site, index in chosen.items()
        ]
    )


def make_dora(size):
    draw = torch.Generator().manual_seed(0)
    weight = torch.empty(size, size).normal_(std=0.02, generator=draw)
    down = torch.randn(RANK, size, generator=draw, dtype=torch.float64) * 0.02
    length = weight.double().norm(dim=1)
    checkpoints = [
        DoraFactors(
            factors=LoraFactors(
                down=down,
                up=torch.randn(size, RANK, generator=draw, dtype=torch.float64)
                * 1e-3 * (step + 1),
                scale=2.0,
            ),
            magnitude=length * (1 + 1e-3 * (step + 1)),
        )
        for step in range(NUM_CHECKPOINTS)
    ]  # fmt: skip
    index = np.random.default_rng(0).choice(size**2, int(SHARE * size**2), False)
    return weight, checkpoints, np.sort(index)


def merged_dora(study):
    """Change of the group at every checkpoint, by merging in float64."""
    weight, checkpoints, index = study
    wide, found = weight.double(), []
    for change in checkpoints:
        factors = change.factors
        summed = wide + factors.scale * (factors.up @ factors.down)
        merged = (change.magnitude / summed.norm(dim=1))[:, None] * summed
        found.append((merged - wide).reshape(-1)[index].numpy())
    return np.array(found)


def exact_dora(study):
    """The same from the factors and the lengths of the rows."""
    weight, checkpoints, index = study
    return np.array(
        [weight_change(change, None, index, weight).numpy() for change in checkpoints]
    )


def table(prepare, ways, args):
    slow, fast = ways
    study = prepare(*args)
    expected, found = slow(study), fast(study)
    worst = np.abs(expected - found).max() / np.abs(expected).max()
    ratio = paired_ratio(lambda: slow(study), lambda: fast(study), 3)
    taken = [peak_memory(prepare, way, *args) for way in ways]
    print("| way | seconds | peak memory above the inputs |\n|---|---|---|")
    for way, took, grown in zip(
        ways, (ratio.slow_seconds, ratio.fast_seconds), taken, strict=True
    ):
        print(f"| {way.__name__} | {took:.3f} | {grown / 2**20:.1f} MiB |")
    print(f"\nratio {ratio.median:.1f} ({ratio.low:.1f} to {ratio.high:.1f}); ", end="")
    print(
        f"memory {taken[0] / taken[1]:.1f}; they differ by {worst:.1e} of the largest\n"
    )
    return taken[1]


def main(layers):
    torch.set_num_threads(1)
    taken = []
    for depth in (layers // 2, layers):
        folder = Path(tempfile.mkdtemp(prefix="driftmap-bench-"))
        try:
            print(f"two checkpoints, {depth} layers of {HIDDEN} and {INNER}, float32\n")
            ways = (both_models, matrix_by_matrix)
            taken.append(table(make_models, ways, (folder, depth)))
        finally:
            shutil.rmtree(folder)
    print(f"DoRA, {SIZE} x {SIZE}, 1 % of the weights, {NUM_CHECKPOINTS} checkpoints\n")
    table(make_dora, (merged_dora, exact_dora), (SIZE,))
    more, matrix = taken[1] - taken[0], 8 * HIDDEN * INNER
    print(f"twice the layers: {more / 2**20:+.1f} MiB to read matrix by matrix")
    return int(more > 2 * matrix)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 8))
