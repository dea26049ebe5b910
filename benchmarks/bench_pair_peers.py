"""Inner products of gradients of all pairs: ours, and those of two other libraries.

Same model, same pairs, same quantity: the full gradient's product against dattri, the
sum over the decoder's linear maps against Bergson, which measures no other tensor. The
libraries live in an environment of their own, whose interpreter is named: `python
benchmarks/bench_pair_peers.py PYTHON [LIBRARY ...]`. Each runs in a fresh process with
one thread, ours before and after it. Ends with 1 where a product differs.
"""

import json
import multiprocessing
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from bench_pairs import COUNTED, prepare, products
from measuring import peak_memory, seconds

from driftmap.core.units import format_bytes

SAMPLES = 8
LIBRARIES = ("dattri", "bergson")
ALIKE = 1e-3
"""Largest difference, as a share of the largest product: what one float32 sum over all
weights may err by, as one of the libraries takes it."""


def ours():
    torch.set_num_threads(1)
    prepared = prepare(SAMPLES)
    products(prepare(4))
    return seconds(lambda: products(prepared))


def in_a_fresh_process(way):
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(way)


def wanted(work, library):
    """Sum over the tensors that a library measures."""
    parts = {"q", "k", "v", "o", "gate", "up", "down"}
    chosen = [
        number
        for number, place in enumerate(work.tensors)
        if library != "bergson" or place.part in parts
    ]
    return work.dot[:, :, chosen].sum(axis=2)


def compare(python, library, folder):
    script = Path(__file__).parent / "peers" / "all_pairs.py"
    before = in_a_fresh_process(ours)
    told = subprocess.run(
        [python, "-W", "ignore", script, library, folder],
        capture_output=True,
        check=False,
        text=True,
    )
    if told.returncode:
        print(f"{library}: {told.stderr.strip().splitlines()[-1]}")
        return 1
    after = in_a_fresh_process(ours)
    found = json.loads((folder / f"{library}.json").read_text())
    time = (before + after) / 2
    work = products(prepare(SAMPLES))
    own, theirs = wanted(work, library), np.load(folder / f"{library}.npy")
    away = float(np.abs(own - theirs).max() / np.abs(own).max())
    print(
        f"{library}: {found['seconds']:.1f} s against {time:.1f} s "
        f"({before:.1f} before, {after:.1f} after): {found['seconds'] / time:.1f}x; "
        f"memory {format_bytes(found['peak_bytes'])}; largest difference {away:.1e}"
    )
    return int(away > ALIKE)


def main(python, libraries):
    prepared = prepare(SAMPLES)
    memory = peak_memory(prepare, products, SAMPLES)
    print(f"ours, every tensor by itself: memory {format_bytes(memory)}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepared.model.save_pretrained(folder)
        np.save(folder / "queries.npy", prepared.queries.numpy())
        np.save(folder / "originals.npy", prepared.originals.numpy())
        (folder / "counted.txt").write_text(str(COUNTED))
        return max(compare(python, one, folder) for one in libraries)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:] or LIBRARIES))
