"""What do other libraries need for one grid of a causal trace?

Run by an interpreter that has the library, not ours: `python trace_grid.py LIBRARY
FOLDER`. The folder holds a model, `ids.npy` (one prompt), `noise.npy` [draw token
width] and `asked.json` with `start`, the first noised token, and `answer`, the id whose
probability is read. Writes `LIBRARY.npy`, the mean probability with the block output at
(token, layer) put back, and `LIBRARY.json`, the seconds after loading and one small
grid to warm up.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForCausalLM


def with_nnsight(model, ids, noise, asked):
    """One trace per cell, as its causal mediation examples do."""
    import nnsight

    seen = nnsight.NNsight(model)
    blocks = seen.model.layers
    num_layers = len(model.model.layers)
    span = slice(asked["start"], asked["start"] + noise.shape[1])
    with seen.trace(input_ids=ids, use_cache=False):
        clean = nnsight.save([])
        for layer in range(num_layers):
            clean.append(blocks[layer].output)
    rows = ids.expand(len(noise), -1)
    grid = np.zeros((ids.shape[1], num_layers))
    for token in range(ids.shape[1]):
        for layer in range(num_layers):
            with seen.trace(input_ids=rows, use_cache=False):
                seen.model.embed_tokens.output[:, span] += noise
                blocks[layer].output[:, token] = clean[layer][0, token]
                last = seen.lm_head.output[:, -1].softmax(-1)
                found = nnsight.save(last[:, asked["answer"]].mean())
            grid[token, layer] = float(found)
    return grid


def with_transformer_lens(model, ids, noise, asked):
    """Hooks at the embedding and at one block's output per forward pass."""
    from transformer_lens.model_bridge import TransformerBridge

    bridge = TransformerBridge.boot_transformers(model.name_or_path, hf_model=model)
    span = slice(asked["start"], asked["start"] + noise.shape[1])
    names = [f"blocks.{n}.hook_out" for n in range(len(model.model.layers))]
    _, clean = bridge.run_with_cache(ids, names_filter=lambda name: name in names)
    rows = ids.expand(len(noise), -1)
    grid = np.zeros((ids.shape[1], len(names)))

    def corrupt(values, hook):
        values[:, span] += noise
        return values

    for token in range(ids.shape[1]):
        for layer, name in enumerate(names):

            def put_back(values, hook, token=token, name=name):
                values[:, token] = clean[name][0, token]
                return values

            logits = bridge.run_with_hooks(
                rows, fwd_hooks=[("hook_embed", corrupt), (name, put_back)]
            )
            last = logits[:, -1].softmax(-1)
            grid[token, layer] = float(last[:, asked["answer"]].mean())
    return grid


WAYS = {"nnsight": with_nnsight, "transformer_lens": with_transformer_lens}


def main(library, folder):
    torch.set_num_threads(1)
    model = AutoModelForCausalLM.from_pretrained(folder / "model").eval()
    ids = torch.from_numpy(np.load(folder / "ids.npy"))
    noise = torch.from_numpy(np.load(folder / "noise.npy"))
    asked = json.loads((folder / "asked.json").read_text())
    way = WAYS[library]
    with torch.no_grad():
        short = ids[:, : asked["start"] + noise.shape[1] + 1]
        way(model, short, noise[:1], asked)
        start = time.perf_counter()
        grid = way(model, ids, noise, asked)
        taken = time.perf_counter() - start
    np.save(folder / f"{library}.npy", grid)
    (folder / f"{library}.json").write_text(json.dumps({"seconds": taken}))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
