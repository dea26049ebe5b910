"""Two models beside each other: an adapter on a twin against a second, merged model.

The naive ways merge the adapter into a copy of the model, subtract and decompose dense
differences, and copy weights for every exchange of a layer. Run with
`python benchmarks/bench_compare.py [layers]`; ends with 1 below half of a claim.
"""

import copy
import sys
import warnings

import numpy as np
import torch
from measuring import paired_ratio, peak_memory, verdict
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM

from driftmap.families.discover import find_layout
from driftmap.families.matrices import site_weight
from driftmap.intervene.mixing import Mixer
from driftmap.load.twin import twin
from driftmap.measure.drift.spectrum import singular_values
from driftmap.signals.factors import LoraFactors

HIDDEN, INNER, RANK = 512, 1408, 8
SPECTRA, EXCHANGES, MEMORY = 80.0, 1.4, 10.0
PARTS = ["q_proj", "v_proj", "down_proj"]


def make_base(layers):
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=1000, hidden_size=HIDDEN, intermediate_size=INNER,
        num_hidden_layers=layers, num_attention_heads=8,
    )  # fmt: skip
    return LlamaForCausalLM(config).eval().requires_grad_(False)


def adapted(model):
    """The model with an adapter on it that adds something everywhere."""
    settings = LoraConfig(r=RANK, target_modules=PARTS, init_lora_weights=False)
    torch.manual_seed(1)
    return get_peft_model(model, settings).eval().requires_grad_(False)


def make_pair(layers):
    """A base, what was made of it, the same merged, and token ids."""
    base = make_base(layers)
    tuned = adapted(twin(base))
    merged = adapted(copy.deepcopy(base)).merge_and_unload()
    ids = torch.arange(4 * 12).reshape(4, 12)
    return base, tuned, merged, ids


def dense_spectra(pair):
    base, _, merged, _ = pair
    found = []
    for site in _tuned_sites(base):
        moved = site_weight(merged, site).double() - site_weight(base, site).double()
        found.append(torch.linalg.svdvals(moved)[:RANK].numpy())
    return np.array(found)


def factor_spectra(pair):
    base, tuned, _, _ = pair
    found = []
    for site in _tuned_sites(base):
        module = tuned.base_model.model.get_submodule(site.path)
        change = LoraFactors(
            down=module.lora_A["default"].weight.double(),
            up=module.lora_B["default"].weight.double(),
            scale=module.scaling["default"],
        )
        found.append(singular_values(change, None)[:RANK])
    return np.array(found)


def copied_exchanges(pair):
    """Logits with each layer of the tuned model in turn, from a copied base."""
    base, _, merged, ids = pair
    found = []
    for number, layer in enumerate(merged.model.layers):
        model = copy.deepcopy(base)
        model.model.layers[number].load_state_dict(layer.state_dict())
        found.append(model(ids).logits)
    return torch.stack(found).numpy()


def mixed_exchanges(pair):
    """The same with modules exchanged."""
    base, tuned, _, ids = pair
    mixer, found = Mixer(twin(base), tuned), []
    for number in range(len(base.model.layers)):
        with mixer.mixed(lambda place, n=number: float(place.layer == n)) as model:
            found.append(model(ids).logits)
    return torch.stack(found).numpy()


def second_model(base):
    return adapted(copy.deepcopy(base)).merge_and_unload()


def on_a_twin(base):
    return adapted(twin(base))


def _tuned_sites(base):
    return [s for s in find_layout(base).sites if s.part in ("q", "v", "down")]


def compare(pair, slow, fast, claim):
    expected, found = slow(pair), fast(pair)
    worst = np.abs(expected - found).max() / np.abs(expected).max()
    ratio = paired_ratio(lambda: slow(pair), lambda: fast(pair), 3)
    print(f"{slow.__name__}: {ratio.slow_seconds:.3f} s; ", end="")
    print(f"{fast.__name__}: {ratio.fast_seconds:.3f} s; ", end="")
    print(f"{ratio.low:.1f} to {ratio.high:.1f}; they differ by {worst:.1e}")
    return verdict(ratio.median, claim)


def main(layers):
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", message=".is_gradient_checkpointing")
    pair = make_pair(layers)
    print(f"{layers} layers of {HIDDEN} and {INNER}, LoRA of rank {RANK} on {PARTS}\n")
    failed = compare(pair, dense_spectra, factor_spectra, SPECTRA)
    failed |= compare(pair, copied_exchanges, mixed_exchanges, EXCHANGES)
    taken = [peak_memory(make_base, way, layers) for way in (second_model, on_a_twin)]
    print(f"memory: {taken[0] / 2**20:.1f} and {taken[1] / 2**20:.1f} MiB")
    return failed | verdict(taken[0] / taken[1], MEMORY)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 8))
