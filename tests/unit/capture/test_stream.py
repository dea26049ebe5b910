"""Does one pass show each sample's own gradients, however samples are fed?"""

from functools import partial
from pathlib import Path

import pytest
import torch
from transformers import LlamaForCausalLM
from transformers.modeling_layers import GradientCheckpointingLayer

from driftmap.capture.stream import run_folds
from driftmap.core.errors import MeasureError
from driftmap.core.progress import Listener, listening
from driftmap.families.discover import find_layout
from driftmap.families.matrices import effective_weight, site_weight
from driftmap.measure.snip import SNIP, Snip, SnipKind
from driftmap.signals.batch import Batch
from driftmap.signals.fold import Fold
from laws.invariance import (
    assert_batch_invariant,
    assert_close,
    assert_matches_oracle,
    assert_padding_invariant,
    assert_sample_order_only_relabels,
)
from laws.restores import assert_restores_model
from tiny import tiny_llama
from tiny_batches import batched, checkpointed, naive_snip, tiny_samples
from tiny_families import tiny_family

TRAINED = Path(__file__).parents[3] / "../shared/data/model_stories260K_hf"
SAMPLES = tiny_samples(7, 4, 9, 7, 5)
# Where transformers puts the checkpoint around a block's hooks, the reentrant kind runs
# them without gradients, and the block's input never becomes the leaf it has to be.
HOOKS_INSIDE = "__call__" in vars(GradientCheckpointingLayer)
REENTRANT = [False] if HOOKS_INSIDE else [False, True]
INSIDE = "checkpoints lie inside hooks here; install transformers 5.0.0 to run it"
FAMILIES = [
    "gpt2", "opt", "gpt_neox", "phi3", "gemma2", "gemma3", "falcon", "falcon_by_head",
    "bloom", "qwen3", "olmo2", "stablelm", "cohere", "granite",
]  # fmt: skip


def snip(model, batches, *, sites=None, memory_bytes=None):
    sites = sites or find_layout(model).sites
    fold = Snip(partial(site_weight, model))
    return run_folds(model, sites, batches, [fold], memory_bytes=memory_bytes)[0]


@pytest.fixture(scope="module")
def llama():
    return tiny_llama()


def test_snip_equals_one_backward_per_sample(llama):
    assert_matches_oracle(snip(llama, batched(SAMPLES)), naive_snip(llama, SAMPLES))


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_equals_one_backward_per_sample(name, side):
    model = tiny_family(name)
    found = snip(model, batched(SAMPLES, 3, side=side))
    assert_matches_oracle(found, naive_snip(model, SAMPLES))


def test_batches_padding_and_order_change_nothing(llama):
    measure = partial(snip, llama)
    assert_batch_invariant(measure, batched, SAMPLES)
    assert_padding_invariant(measure, batched, SAMPLES)
    assert_sample_order_only_relabels(measure, batched, SAMPLES)


@pytest.mark.parametrize("name", FAMILIES)
def test_padding_changes_nothing_in_any_family(name):
    model = tiny_family(name)
    if name not in ("bloom", "gemma2"):  # whose masks are infinite in float64
        # Sixteen random units round by more in float32 than the law allows.
        model = model.double()
    wanted = snip(model, batched(SAMPLES, 1))
    for side in ("left", "right"):
        assert_close(snip(model, batched(SAMPLES, side=side, extra=4)), wanted)


@pytest.mark.skipif(not TRAINED.exists(), reason=f"{TRAINED} is not there")
def test_a_trained_model_keeps_the_laws():
    model = LlamaForCausalLM.from_pretrained(TRAINED).eval()
    samples = tiny_samples(*range(20, 100, 10), vocab=512, counted=20)
    wanted = snip(model, batched(samples, 1))
    assert_matches_oracle(wanted, naive_snip(model, samples))
    for side in ("left", "right"):
        assert_close(snip(model, batched(samples, 8, side=side)), wanted)


@pytest.mark.parametrize("use_reentrant", REENTRANT)
@pytest.mark.parametrize("name", ["llama", "gpt2", "phi3", "opt"])
def test_checkpointing_changes_nothing(name, use_reentrant):
    model = tiny_family(name)
    wanted = snip(model, batched(SAMPLES))
    checkpointed(_without_dropout(model), use_reentrant)
    assert_close(snip(model, batched(SAMPLES)), wanted)


@pytest.mark.skipif(not HOOKS_INSIDE, reason=INSIDE)
@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad:UserWarning")
def test_a_checkpoint_that_cuts_the_gradients_off_is_refused():
    model = tiny_llama()
    checkpointed(model, True)
    with pytest.raises(MeasureError, match="no gradient came back to this module"):
        snip(model, batched(SAMPLES))


def test_adapted_model_is_scored_on_its_effective_weight(llama):
    import peft

    torch.manual_seed(3)
    settings = peft.LoraConfig(
        r=2, target_modules=["q_proj", "down_proj"], init_lora_weights=False
    )
    adapted = peft.get_peft_model(tiny_llama(), settings).eval()
    sites = find_layout(adapted).sites
    fold = Snip(partial(effective_weight, adapted))
    with assert_restores_model(adapted):
        found = run_folds(adapted, sites, batched(SAMPLES, 2), [fold])[0]
    merged = tiny_llama()
    for site in sites:
        weight = merged.get_submodule(site.path).weight
        weight.data.copy_(effective_weight(adapted, site))
    assert_matches_oracle(found, naive_snip(merged, SAMPLES))


@pytest.mark.parametrize("use_reentrant", [None, *REENTRANT])
def test_module_used_twice_adds_before_the_absolute_value(use_reentrant):
    model = tiny_llama(layers=3)
    model.model.layers[2].mlp = model.model.layers[0].mlp
    sites = [s for s in find_layout(model).sites if s.layer == 0]
    if use_reentrant is not None:
        checkpointed(model, use_reentrant)
    found = snip(model, batched(SAMPLES), sites=sites)
    model.eval()
    oracle = naive_snip(model, SAMPLES)
    assert_matches_oracle(found, {site: oracle[site] for site in found})


def test_only_the_sites_asked_for_and_nothing_below_them(llama):
    above = [site for site in find_layout(llama).sites if site.layer == 1]
    below = []
    hook = llama.model.layers[0].mlp.register_forward_hook(
        lambda module, args, output: below.append(output.requires_grad)
    )
    found = snip(llama, batched(SAMPLES), sites=above)
    hook.remove()
    assert below == [False]
    everything = snip(llama, batched(SAMPLES))
    assert_close(found, {site: everything[site] for site in above})


def test_model_is_left_as_it_was_also_after_an_error(llama):
    with assert_restores_model(llama):
        snip(llama, batched(SAMPLES))
    with assert_restores_model(llama), pytest.raises(IndexError):
        snip(llama, batched(tiny_samples(5, vocab=99)))


def test_bfloat16_model_gives_float32_scores():
    model = tiny_llama().to(torch.bfloat16)
    scores = snip(model, batched(SAMPLES))
    assert {score.dtype for score in scores.values()} == {torch.float32}
    assert_close(scores, naive_snip(model.float(), SAMPLES), 0.1)


def test_passes_change_nothing_and_are_announced(llama):
    sites = find_layout(llama).sites
    num_bytes = sum(4 * site.num_weights for site in sites)
    heard = Heard()
    with listening(heard):
        found = snip(llama, batched(SAMPLES, 2), memory_bytes=num_bytes // 3 + 1)
    assert heard.lines == ["the scores do not fit into memory at once: 3 passes"]
    assert heard.total == heard.steps == 9
    assert_close(found, snip(llama, batched(SAMPLES, 2)))


def test_several_folds_share_one_pass(llama):
    calls = []
    hook = llama.register_forward_pre_hook(lambda *_: calls.append(1))
    folds = [
        Snip(partial(site_weight, llama), kind)
        for kind in (SNIP, SnipKind(factor="none"))
    ]
    sites = find_layout(llama).sites
    weighted, plain = run_folds(llama, sites, batched(SAMPLES, 2), folds)
    hook.remove()
    assert len(calls) == 3
    rebuilt = {s: plain[s] * site_weight(llama, s).abs() for s in plain}
    assert_close(rebuilt, weighted)


class InputSums(Fold):
    """Sum over tokens of every input, and how many calls each sample made."""

    needs_backward = False

    def num_bytes(self, site):
        return 4 * site.num_columns

    def start(self, site):
        return []

    def update(self, state, signal):
        assert all(call.output_gradients is None for call in signal.calls)
        total = sum(call.inputs.sum(dim=1) for call in signal.calls)
        return [*state, (len(signal.calls), total.sum(dim=0))]

    def merge(self, left, right):
        return left + right

    def result(self, states):
        return {s: sum(total for _, total in state) for s, state in states.items()}


def test_without_backward_inputs_alone_are_seen(llama):
    sites = find_layout(llama).sites
    first = next(site for site in sites if site.part == "q")

    def sums(batches):
        return run_folds(llama, sites, batches, [InputSums()])[0]

    embedded = llama.model.embed_tokens
    norm = llama.model.layers[0].input_layernorm
    wanted = sum(norm(embedded(s.token_ids)).sum(dim=0) for s in SAMPLES)
    found = sums(batched(SAMPLES, 2, side="left"))
    assert torch.allclose(found[first], wanted, atol=1e-4)
    assert_padding_invariant(sums, batched, SAMPLES)


def test_without_backward_all_calls_of_a_shared_module_come_together():
    model = tiny_llama(layers=3)
    model.model.layers[2].mlp = model.model.layers[0].mlp
    site = next(s for s in find_layout(model).sites if s.part == "down")
    fold = InputSums()
    kept = []
    fold.result = lambda states: kept.extend(states[site]) or {}
    run_folds(model, [site], batched(SAMPLES, 2), [fold])
    assert [calls for calls, _ in kept] == [2, 2, 2]


def test_dropout_is_refused():
    model = tiny_family("gpt2").train()
    with pytest.raises(MeasureError, match=r"dropout is on \(.*drop.*\), so that"):
        snip(model, batched(SAMPLES))
    model = tiny_llama()
    model.model.layers[1].self_attn.attention_dropout = 0.1
    model.train()
    with pytest.raises(MeasureError, match=r"layers.1.self_attn: dropout is on"):
        snip(model, batched(SAMPLES))


def test_sample_without_counted_token_is_named(llama):
    batch = batched(SAMPLES)[0]
    batch.counted[2] = False
    with pytest.raises(MeasureError, match=r"^sample s2: no token counts"):
        snip(llama, [batch])


@pytest.mark.parametrize("column", [0, 8])
def test_first_token_and_padding_cannot_count(llama, column):
    batch = batched(SAMPLES)[0]
    batch.counted[1, column] = True
    with pytest.raises(MeasureError, match=r"^sample s1: a counted token is padding"):
        snip(llama, [batch])


def test_damaged_weight_names_map_and_sample():
    model = tiny_llama()
    with torch.no_grad():
        model.model.layers[1].mlp.up_proj.weight[3, 3] = float("nan")
    expected = r"layers.1.mlp.up_proj: the output for sample s0 is not finite"
    with pytest.raises(MeasureError, match=expected):
        snip(model, batched(SAMPLES))
    with pytest.raises(MeasureError, match=r"input of sample s0 is not finite"):
        run_folds(model, find_layout(model).sites, batched(SAMPLES), [InputSums()])


def test_broken_gradient_names_map_and_sample(llama):
    block = llama.model.layers[1].mlp.down_proj

    def poison(module, args, output):
        def spoil(gradient):
            gradient = gradient.clone()
            gradient[1] = float("inf")
            return gradient

        if output.requires_grad:
            output.register_hook(spoil)

    hook = block.register_forward_hook(poison)
    with pytest.raises(
        MeasureError, match=r"(gate|up)_proj: the gradient of sample s1 is not finite"
    ):
        snip(llama, batched(SAMPLES))
    hook.remove()


def test_module_that_never_runs_is_named():
    model = tiny_llama()
    sites = find_layout(model).sites
    mlp = model.model.layers[1].mlp
    mlp.forward = lambda x: x
    with pytest.raises(MeasureError, match=r"layers.1.mlp.gate_proj: the model never"):
        snip(model, batched(SAMPLES), sites=sites)


def test_detached_hidden_states_are_named(llama):
    hook = llama.model.layers[1].register_forward_pre_hook(
        lambda module, args: (args[0].detach(), *args[1:])
    )
    with pytest.raises(MeasureError, match=r"layers.0.*no gradient came back"):
        snip(llama, batched(SAMPLES))
    hook.remove()


def test_nothing_to_do_is_refused(llama):
    with pytest.raises(MeasureError, match="there is nothing to do"):
        run_folds(llama, find_layout(llama).sites, [], [InputSums()])


def test_shapes_are_checked_under_test(llama):
    with pytest.raises(Exception, match=r"sample token|type"):
        Batch(
            sample_ids=("a",), sample_index=(0,),
            token_ids=torch.zeros(1, 3, dtype=torch.long),
            real=torch.ones(1, 2, dtype=torch.bool),
            counted=torch.ones(1, 3, dtype=torch.bool),
            observed=torch.ones(1, 3, dtype=torch.bool),
        )  # fmt: skip


def _without_dropout(model):
    for name in ("attn_pdrop", "embd_pdrop", "resid_pdrop", "dropout", "layerdrop"):
        if hasattr(model.config, name):
            setattr(model.config, name, 0.0)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        for name in [n for n in vars(module) if "drop" in n]:
            if isinstance(getattr(module, name), float):
                setattr(module, name, 0.0)
    return model


class Heard(Listener):
    def __init__(self):
        self.lines, self.total, self.steps = [], 0, 0

    def started(self, what, total):
        self.total = total

    def advanced(self, steps, note):
        self.steps += steps

    def said(self, message):
        self.lines.append(message)
