"""Drift of 1 % of a matrix at 6 checkpoints: from factors against merged scalars.

The naive way merges each checkpoint, keeps every tracked weight as a scalar tensor
in a dictionary keyed by (row, column) and subtracts the two dictionaries. Run with
`python benchmarks/bench_drift.py [size]`; ends with 1 below half of the target.
"""

import multiprocessing
import statistics
import sys
import time
from pathlib import Path

import numpy as np
import torch

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


def naive(weight, checkpoints, index):
    places = [divmod(int(i), weight.shape[1]) for i in index]
    before = {place: weight[place].clone() for place in places}
    drifts = []
    for down, up, scale in checkpoints:
        merged = weight + scale * (up @ down)
        after = {place: merged[place].clone() for place in places}
        drifts.append([abs(after[p] - before[p]).item() for p in places])
    return np.array(drifts)


def from_factors(_weight, checkpoints, index):
    drifts = []
    for down, up, scale in checkpoints:
        factors = LoraFactors(down=down.double(), up=up.double(), scale=scale)
        drifts.append(weight_change(factors, None, index).abs().numpy())
    return np.array(drifts)


WAYS = {"naive": naive, "from_factors": from_factors}


def seconds(way, study):
    start = time.perf_counter()
    way(*study)
    return time.perf_counter() - start


def _grown_bytes(name, size, answer):
    torch.set_num_threads(1)
    study = make_study(size)
    WAYS[name](*make_study(64))
    Path("/proc/self/clear_refs").write_text("5")
    before = _highest_bytes()
    WAYS[name](*study)
    answer.put(_highest_bytes() - before)


def _highest_bytes():
    status = Path("/proc/self/status").read_text()
    line = next(x for x in status.splitlines() if x.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def peak_bytes(name, size):
    """How far one way lifts the peak memory of a fresh process, above its inputs."""
    spawn = multiprocessing.get_context("spawn")
    answer = spawn.Queue()
    child = spawn.Process(target=_grown_bytes, args=(name, size, answer))
    child.start()
    grown = answer.get()
    child.join()
    return grown


def main(size):
    torch.set_num_threads(1)
    study = make_study(size)
    slow, fast = naive(*study), from_factors(*study)
    worst = np.abs(slow - fast).max() / fast.max()
    ratios = []
    for _ in range(3):
        slow_seconds = seconds(naive, study)
        fast_seconds = statistics.median(seconds(from_factors, study) for _ in range(5))
        ratios.append(slow_seconds / fast_seconds)
        print(f"naive {slow_seconds:.2f} s, from factors {fast_seconds:.4f} s")
    ratio = statistics.median(ratios)
    print(f"{size} x {size}, {study[2].size} weights, {NUM_CHECKPOINTS} checkpoints")
    print(f"time: {ratio:.0f}x (target {TARGET}x); float32 merge off by {worst:.1e}")
    memory = {name: peak_bytes(name, size) for name in WAYS}
    for name, grown in memory.items():
        print(f"peak memory above the inputs, {name}: {grown / 2**20:.1f} MiB")
    return 0 if ratio >= TARGET / 2 else 1


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 2048))
