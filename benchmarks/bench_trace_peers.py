"""One grid of a causal trace: ours, and those of two other libraries.

Same model, same prompt, same draws, same cells: block outputs of a Llama of 12 blocks
and 20 tokens, 10 draws of noise. The libraries live in environments of their own, whose
interpreters are named: `python benchmarks/bench_trace_peers.py nnsight=PYTHON
transformer_lens=PYTHON`. Each runs in a fresh process with one thread, ours before and
after it. Ends with 1 where a cell differs.
"""

import json
import multiprocessing
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from measuring import seconds
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from driftmap.capture.patching.tracing import trace_prompt
from driftmap.results.facts import EncodedFact, Fact
from driftmap.signals.traces import Corruption, Restoring

TOKENS, START, SPAN, DRAWS, VOCABULARY = 20, 1, 4, 10, 8000
ALIKE = 1e-4
"""Largest difference of a cell, as a share of the range of all cells."""


def save_work(folder):
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=512,
        intermediate_size=1376,
        num_hidden_layers=12,
        num_attention_heads=8,
        num_key_value_heads=4,
        initializer_range=0.05,
    )
    model = LlamaForCausalLM(config).eval()
    model.save_pretrained(folder / "model")
    any_words().save_pretrained(folder / "model")  # one library will not do without
    draw = np.random.RandomState(1)
    ids = draw.randint(3, VOCABULARY, (1, TOKENS))
    np.save(folder / "ids.npy", ids)
    with torch.no_grad():
        answer = int(model(torch.from_numpy(ids)).logits[0, -1].argmax())
    noise = 0.15 * draw.randn(DRAWS, SPAN, config.hidden_size)
    np.save(folder / "noise.npy", noise.astype(np.float32))
    asked = {"start": START, "answer": answer}
    (folder / "asked.json").write_text(json.dumps(asked))


def any_words():
    table = WordLevel({"<s>": 0, "</s>": 1}, unk_token="<s>")
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(table),
        bos_token="<s>",
        eos_token="</s>",
        pad_token="</s>",
    )


def own_grid(folder):
    """Seconds of one grid, after a first one, and its cells."""
    torch.set_num_threads(1)
    model = LlamaForCausalLM.from_pretrained(folder / "model").eval()
    ids = np.load(folder / "ids.npy")[0].astype(np.int32)
    asked = json.loads((folder / "asked.json").read_text())
    noise = torch.from_numpy(np.load(folder / "noise.npy")).double()
    prompt = EncodedFact(
        fact=Fact(id="one", subject="", prompt=""),
        token_ids=ids,
        num_prompt=TOKENS,
        subject=(START, START + SPAN),
        answer_ids=(asked["answer"],),
        foil_ids=(),
        tokens=("",) * TOKENS,
        offsets=((0, 0),) * TOKENS,
    )
    corruption = Corruption(start=START, values=noise, replaces=False)
    found = []

    def trace():
        found[:] = trace_prompt(model, prompt, corruption, [Restoring()])

    trace()
    return seconds(trace), found[0].scores.mean(-1).numpy()


def in_a_fresh_process(folder):
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(own_grid, (folder,))


def compare(library, python, folder):
    script = Path(__file__).parent / "peers" / "trace_grid.py"
    before, own = in_a_fresh_process(folder)
    told = subprocess.run(
        [python, "-W", "ignore", script, library, folder],
        capture_output=True,
        check=False,
        text=True,
    )
    if told.returncode:
        print(f"{library}: {told.stderr.strip().splitlines()[-1]}")
        return 1
    after, _ = in_a_fresh_process(folder)
    theirs = json.loads((folder / f"{library}.json").read_text())["seconds"]
    apart = float(np.abs(own - np.load(folder / f"{library}.npy")).max())
    spread = float(np.ptp(own))
    time = (before + after) / 2
    print(
        f"{library}: {theirs:.1f} s, ours {time:.2f} s: {theirs / time:.1f}x; cells "
        f"differ by at most {apart:.1e} (they range over {spread:.1e})"
    )
    return int(apart > ALIKE * spread)


def main(named):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        save_work(folder)
        pairs = [one.split("=", 1) for one in named]
        return max(compare(library, python, folder) for library, python in pairs)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
