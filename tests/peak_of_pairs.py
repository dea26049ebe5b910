"""By how much does a longer list of originals lift the peak of memory?

Run as `python peak_of_pairs.py`; prints the bytes that kept gradients take, and by how
many bytes the peak is higher with eight times as many originals.
"""

import resource
import sys

import numpy as np
import torch

from driftmap.families.tensors import find_tensors
from driftmap.measure.products import all_pairs, workload_of
from driftmap.recipes.steps.similarity.schedules import (
    PairWork,
    Ways,
    fill,
    foreseen_bytes,
)
from tiny import tiny_llama
from tiny_batches import batched, tiny_samples

QUERIES, FEW, MANY, TOKENS = 8, 8, 64, 32


def peak():
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def compared(model, num_originals):
    rules = find_tensors(model)
    candidates = all_pairs(QUERIES, num_originals)
    num_tensors = sum(len(rule.slices) for rule in rules)
    queries = tiny_samples(*[TOKENS] * QUERIES)
    originals = tiny_samples(*[TOKENS] * num_originals)
    work = PairWork(
        model=model,
        rules=rules,
        query_ids=tuple(one.id for one in queries),
        candidates=candidates,
        workload=workload_of(candidates, [TOKENS] * QUERIES, [TOKENS] * num_originals),
        dot=np.zeros((*candidates.shape, num_tensors)),
        query_energy=np.zeros((QUERIES, num_tensors)),
        original_energy=np.zeros((num_originals, num_tensors)),
    )
    ways = Ways(products="materialise", schedule="streaming")
    fill(work, lambda _: batched(queries, 4), lambda: batched(originals, 4), ways)
    return foreseen_bytes(rules, QUERIES, work.workload, "materialise")


if __name__ == "__main__":
    torch.set_num_threads(1)
    model = tiny_llama(layers=4, hidden=256)
    kept = compared(model, FEW)
    before = peak()
    compared(model, MANY)
    sys.stdout.write(f"{kept} {peak() - before}\n")
