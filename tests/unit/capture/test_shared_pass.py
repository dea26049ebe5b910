"""Do scores share one pass, and do the laws hold for each on every kind of model?"""

from functools import partial

import pytest
import torch

from driftmap.capture.stream import run_folds
from driftmap.core.errors import MeasureError
from driftmap.families.discover import find_layout
from driftmap.families.matrices import effective_weight, site_module, site_weight
from driftmap.measure.first_order import FirstOrder
from driftmap.measure.snip import SNIP_BATCH, Snip
from driftmap.measure.wanda import Wanda
from laws.invariance import (
    assert_batch_invariant,
    assert_close,
    assert_matches_oracle,
    assert_padding_invariant,
    assert_sample_order_only_relabels,
)
from laws.restores import assert_restores_model
from tiny import tiny_llama
from tiny_batches import batched, checkpointed, one_by_one_gradients, tiny_samples
from tiny_families import tiny_family

SAMPLES = tiny_samples(7, 4, 9, 7, 5)
FAMILIES = ["llama", "gpt2", "phi3", "falcon_grouped", "opt", "gemma3", "bloom"]
POSITIONS = {
    "response": lambda length: range(length - 4, length - 1),
    "labels": lambda length: range(length - 3, length),
    "all": range,
}


def measure(make, model, batches, **limits):
    sites = find_layout(model).sites
    fold = make(partial(effective_weight, model))
    return run_folds(model, sites, batches, [fold], **limits)[0]


def snip_batch(weight):
    return Snip(weight, SNIP_BATCH)


def naive_wanda(model, positions):
    """Each sample alone through the model, every module heard by a plain hook."""
    layout = find_layout(model)
    sums = {site.path: 0.0 for site in layout.sites}
    counts = dict.fromkeys(sums, 0)
    for sample in SAMPLES:
        heard = {}

        def hear(path, heard, module, args, output):
            heard[path] = args[0].detach()

        hooks = [
            site_module(model, site).register_forward_hook(partial(hear, path, heard))
            for path, site in {site.path: site for site in layout.sites}.items()
        ]
        with torch.no_grad():
            model(input_ids=sample.token_ids[None], use_cache=False)
        for hook in hooks:
            hook.remove()
        for path, inputs in heard.items():
            flat = inputs.reshape(len(sample.token_ids), -1).double()
            for token in POSITIONS[positions](len(sample.token_ids)):
                sums[path] = sums[path] + flat[token] ** 2
                counts[path] += 1
    return {
        site: site_weight(model, site).abs().double()
        * (sums[site.path] / counts[site.path]).sqrt()
        for site in layout.sites
    }


@pytest.mark.parametrize("positions", list(POSITIONS))
@pytest.mark.parametrize("name", FAMILIES)
def test_wanda_equals_samples_one_by_one(name, positions):
    model = tiny_family(name)
    found = measure(Wanda, model, batched(SAMPLES, 3, positions=positions))
    assert_matches_oracle(found, naive_wanda(model, positions))


@pytest.mark.parametrize("make", [Wanda, snip_batch])
def test_batches_padding_and_order_change_nothing(make):
    # Sixteen random units round by more in float32 than the law allows.
    scored = partial(measure, make, tiny_llama().double())
    assert_batch_invariant(scored, batched, SAMPLES)
    assert_padding_invariant(scored, batched, SAMPLES)
    assert_sample_order_only_relabels(scored, batched, SAMPLES)


@pytest.mark.parametrize("make", [Wanda, snip_batch])
def test_checkpointing_and_passes_change_nothing(make):
    model = tiny_llama()
    wanted = measure(make, model, batched(SAMPLES))
    fold = make(partial(effective_weight, model))
    num_bytes = sum(fold.num_bytes(site) for site in wanted)
    tight = measure(make, model, batched(SAMPLES), memory_bytes=num_bytes // 3 + 1)
    assert_close(tight, wanted)
    checkpointed(model, use_reentrant=False)
    assert_close(measure(make, model, batched(SAMPLES)), wanted)


@pytest.mark.parametrize("name", ["llama", "gpt2", "phi3"])
def test_snip_batch_equals_the_mean_of_one_backward_per_sample(name):
    model = tiny_family(name)
    layout = find_layout(model)
    modules = {site.path: site for site in layout.sites}
    sums = dict.fromkeys(modules, 0.0)
    for gradients in one_by_one_gradients(model, list(modules.values()), SAMPLES):
        for site, gradient in gradients.items():
            sums[site.path] = sums[site.path] + gradient.double()
    oracle = {}
    for site in layout.sites:
        mean = sums[site.path] / len(SAMPLES)
        mean = mean.T if site.transposed else mean
        mean = mean if site.split is None else mean[site.split.rows()]
        oracle[site] = site_weight(model, site).abs() * mean.abs()
    assert_matches_oracle(measure(snip_batch, model, batched(SAMPLES, 2)), oracle)


def test_wanda_snip_and_effects_share_one_forward_and_backward():
    model = tiny_llama()
    sites = find_layout(model).sites
    weight = partial(site_weight, model)
    forwards, backwards = [], []
    hooks = [
        model.register_forward_pre_hook(lambda *_: forwards.append(1)),
        site_module(model, sites[0]).register_full_backward_hook(
            lambda *_: backwards.append(1)
        ),
    ]
    effects = FirstOrder(sites, "head", len(SAMPLES))
    folds = [Wanda(weight), Snip(weight), effects]
    with assert_restores_model(model):
        wanda, snip, terms = run_folds(model, sites, batched(SAMPLES, 2), folds)
    assert (len(forwards), len(backwards)) == (3, 3)
    for hook in hooks:
        hook.remove()
    alone = measure(Wanda, model, batched(SAMPLES, 2))
    assert_close(wanda, alone)
    assert_close(snip, measure(Snip, model, batched(SAMPLES, 2)))
    assert sum(one.effect.sum() for one in effects.effects(terms)) > 0


def test_wanda_alone_goes_no_step_backward():
    model = tiny_llama()
    grads = []
    hook = model.lm_head.register_forward_hook(
        lambda module, args, output: grads.append(output.requires_grad)
    )
    measure(Wanda, model, batched(SAMPLES, 2))
    hook.remove()
    assert not any(grads)


def test_an_adapter_counts_in_wanda():
    import peft

    torch.manual_seed(3)
    settings = peft.LoraConfig(
        r=2, target_modules=["q_proj", "down_proj"], init_lora_weights=False
    )
    adapted = peft.get_peft_model(tiny_llama(), settings).eval()
    found = measure(Wanda, adapted, batched(SAMPLES, 2))
    merged = tiny_llama()
    for site in find_layout(adapted).sites:
        weight = merged.get_submodule(site.path).weight
        weight.data.copy_(effective_weight(adapted, site))
    assert_matches_oracle(found, naive_wanda(merged, "response"))


@pytest.mark.parametrize("make", [Wanda, snip_batch])
def test_what_cannot_be_scored_is_refused(make):
    model = tiny_family("gpt2").train()
    with pytest.raises(MeasureError, match="dropout is on"):
        measure(make, model, batched(SAMPLES))
    (batch,) = batched(SAMPLES)
    batch.counted[2] = False
    batch.observed[2] = False
    with pytest.raises(MeasureError, match=r"^sample s2: no token counts"):
        measure(make, tiny_llama(), [batch])
