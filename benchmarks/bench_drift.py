"""Drift of 1 % of a matrix at 6 checkpoints: from factors against merged scalars.

The naive way merges each checkpoint, keeps every tracked weight as a scalar tensor
in a dictionary keyed by (row, column) and subtracts the two dictionaries. Run with
`python benchmarks/bench_drift.py [size]`; ends with 1 below half of the target.
"""

import sys

import numpy as np
import torch
from measuring import paired_ratio, peak_memory, verdict

from driftmap.measure.drift import weight_change
from driftmap.signals.factors import LoraFactors

TARGET = 100
NUM_CHECKPOINTS = 6
RANK = 8
SHARE = 0.01


def make_study(size):
    draw = torch.Generator().manual_seed(0)
    weight = torch.empty(size, size).normal_(std=0.02, generator=draw)
    down = torch.randn(RANK, size, generator=draw) * 0.02
    checkpoints = [
        (down, torch.randn(size, RANK, generator=draw) * 1e-3 * (step + 1), 2.0)
        for step in range(NUM_CHECKPOINTS)
    ]
    every = int(1 / SHARE)
    first = np.arange(0, size**2 - every, every)
    index = first + np.random.default_rng(0).integers(every, size=first.size)
    return weight, checkpoints, index


def naive(study):
    weight, checkpoints, index = study
    places = [divmod(int(i), weight.shape[1]) for i in index]
    before = {place: weight[place].clone() for place in places}
    drifts = []
    for down, up, scale in checkpoints:
        merged = weight + scale * (up @ down)
        after = {place: merged[place].clone() for place in places}
        drifts.append([abs(after[p] - before[p]).item() for p in places])
    return np.array(drifts)


def from_factors(study):
    _, checkpoints, index = study
    drifts = []
    for down, up, scale in checkpoints:
        factors = LoraFactors(down=down.double(), up=up.double(), scale=scale)
        drifts.append(weight_change(factors, None, index).abs().numpy())
    return np.array(drifts)


def main(size):
    torch.set_num_threads(1)
    study = make_study(size)
    slow, fast = naive(study), from_factors(study)
    worst = np.abs(slow - fast).max() / fast.max()
    print(f"{size} x {size}, {study[2].size} weights, {NUM_CHECKPOINTS} checkpoints\n")
    print("| way | seconds | peak memory above the inputs |")
    print("|---|---|---|")
    ratio = paired_ratio(lambda: naive(study), lambda: from_factors(study), 3)
    for way, took in ((naive, ratio.slow_seconds), (from_factors, ratio.fast_seconds)):
        grown = peak_memory(make_study, way, size) / 2**20
        print(f"| {way.__name__} | {took:.4f} | {grown:.1f} MiB |")
    print(f"\nratio {ratio.low:.0f} to {ratio.high:.0f}; ", end="")
    print(f"the float32 merge is off by {worst:.1e} of the largest change")
    return verdict(ratio.median, TARGET)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 2048))
