"""What does freezing single weights cost a step of LoRA, against plain LoRA?

One step is forward, backward and AdamW on a small Llama; 1 % of every matrix is frozen.
Run with `python benchmarks/bench_masked.py`; ends with 1 above twice the target.
"""

import sys
from functools import partial

import numpy as np
import torch
from measuring import paired_ratio, peak_memory
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM

from driftmap.core.units import format_bytes
from driftmap.families.discover import find_layout
from driftmap.tune.freezing import adapter_entries, mask_adapters

TARGET, TURNS = 2.5, 5
LAYERS, HIDDEN, SAMPLES, TOKENS, SHARE = 4, 512, 8, 128, 0.01


def prepare(*, is_masked):
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=512,
        hidden_size=HIDDEN,
        intermediate_size=3 * HIDDEN,
        num_hidden_layers=LAYERS,
        num_attention_heads=8,
        num_key_value_heads=8,
        pad_token_id=0,
    )
    model = LlamaForCausalLM(config)
    sites = find_layout(model).sites
    paths = [site.path for site in sites]
    model = get_peft_model(model, LoraConfig(r=8, lora_alpha=16, target_modules=paths))
    rng = np.random.default_rng(0)
    if is_masked:
        members = {
            s: np.sort(rng.permutation(s.num_weights)[: int(SHARE * s.num_weights)])
            for s in sites
        }
        mask_adapters(model, adapter_entries(model, members))
    trained = [p for p in model.parameters() if p.requires_grad]
    return model, torch.optim.AdamW(trained), torch.randint(3, 512, (SAMPLES, TOKENS))


def step(prepared):
    model, optimizer, ids = prepared
    model(input_ids=ids, labels=ids).loss.backward()
    optimizer.step()
    optimizer.zero_grad()


def main() -> int:
    """Print the table of the results page."""
    prepared = {
        name: prepare(is_masked=name == "masked") for name in ("plain", "masked")
    }
    ratio = paired_ratio(
        partial(step, prepared["masked"]), partial(step, prepared["plain"]), TURNS
    )
    print("| step of LoRA | seconds | peak above before |\n|---|---|---|")
    for name, time in (("plain", ratio.fast_seconds), ("masked", ratio.slow_seconds)):
        peak = peak_memory(partial(prepare, is_masked=name == "masked"), step)
        print(f"| {name} | {time:.2f} | {format_bytes(peak)} |")
    print(
        f"\nRatio, turn by turn: {ratio.median:.2f}x ({ratio.low:.2f}x to "
        f"{ratio.high:.2f}x; claim: at most {TARGET:g}x)."
    )
    return int(ratio.median > 2 * TARGET)


if __name__ == "__main__":
    sys.exit(main())
