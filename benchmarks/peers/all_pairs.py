"""What do other libraries need for inner products of all pairs of gradients?

Run by an interpreter that has the library, not ours: `python all_pairs.py LIBRARY
FOLDER`. The folder holds a model, `queries.npy` and `originals.npy` (token ids), and
`counted.txt`, the number of last tokens whose loss counts. Writes `LIBRARY.npy`, the
products, and `LIBRARY.json`, the seconds after loading and the peak of memory.
"""

import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional
from transformers import AutoModelForCausalLM

BATCH_SIZE = 4


def with_dattri(model, queries, originals, counted):
    """Its Grad-Dot: gradients of all weights by `vmap`, without projection."""
    from dattri.algorithm.tracin import TracInAttributor
    from dattri.task import AttributionTask
    from torch.utils.data import DataLoader, TensorDataset

    def loss(parameters, data):
        ids = data[0][None]
        logits = torch.func.functional_call(
            model,
            parameters,
            (),
            {"input_ids": ids, "use_cache": False, "attention_mask": mask_of(model)},
        ).logits[0]
        return functional.cross_entropy(logits[-counted - 1 : -1], data[0][-counted:])

    def mask_of(model):
        length = originals.shape[1]
        shape = torch.ones(length, length, dtype=torch.bool)
        minimum = torch.finfo(torch.float32).min
        return torch.zeros(1, 1, length, length).masked_fill(~shape.tril(), minimum)

    task = AttributionTask(
        loss_func=loss, model=model, checkpoints=dict(model.named_parameters())
    )
    attributor = TracInAttributor(
        task, weight_list=torch.ones(1), normalized_grad=False
    )
    attributor.projector_kwargs = None
    loaders = [
        DataLoader(TensorDataset(torch.from_numpy(ids)), batch_size=BATCH_SIZE)
        for ids in (originals, queries)
    ]
    return attributor.attribute(*loaders).T.numpy()


def with_bergson(model, queries, originals, counted):
    """Gradients of every linear map of the decoder, kept whole and then multiplied."""
    return grads(model, queries, counted) @ grads(model, originals, counted).T


def grads(model, ids, counted):
    """Gradients of all modules, joined, of every sample."""
    from bergson import GradientProcessor, IndexConfig, InMemoryCollector
    from bergson.collector.collector import CollectorComputer
    from datasets import Dataset

    labels = np.full_like(ids, -100)
    labels[:, -counted:] = ids[:, -counted:]
    columns = {"input_ids": ids.tolist(), "labels": labels.tolist()}
    data = Dataset.from_dict(columns)
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        Path(
            f"{run}.part"
        ).mkdir()  # where it writes, and expects its own command to be
        config = IndexConfig(run_path=str(run), loss_reduction="mean")
        collector = InMemoryCollector(
            model=model.base_model, data=data, cfg=config, processor=GradientProcessor()
        )
        batches = np.array_split(np.arange(len(ids)), len(ids) // BATCH_SIZE)
        CollectorComputer(
            model=model,
            data=data,
            collector=collector,
            batches=[batch.tolist() for batch in batches],
            cfg=config,
        ).run_with_collector_hooks()
    return torch.cat(list(collector.gradients.values()), dim=1).float().numpy()


WAYS = {"dattri": with_dattri, "bergson": with_bergson}


def main(library, folder):
    torch.set_num_threads(1)
    model = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager")
    model.eval()
    queries, originals = (
        np.load(folder / f"{name}.npy") for name in ("queries", "originals")
    )
    counted = int((folder / "counted.txt").read_text())
    WAYS[library](model, queries[:BATCH_SIZE], originals[:BATCH_SIZE], counted)
    Path("/proc/self/clear_refs").write_text("5")
    before, start = peak_bytes(), time.perf_counter()
    products = WAYS[library](model, queries, originals, counted)
    seconds = time.perf_counter() - start
    np.save(folder / f"{library}.npy", products)
    told = {"seconds": seconds, "peak_bytes": peak_bytes() - before}
    (folder / f"{library}.json").write_text(json.dumps(told))


def peak_bytes():
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(x for x in lines if x.startswith("VmHWM")).split()[1])


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
