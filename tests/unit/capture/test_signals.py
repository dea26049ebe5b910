"""Do signals hold what autograd says of each map, and no more than was asked for?"""

import pytest
import torch
from transformers.modeling_layers import GradientCheckpointingLayer

from driftmap.capture.stream import run_folds
from driftmap.core.errors import MeasureError
from driftmap.families.discover import find_layout
from driftmap.families.matrices import effective_weight, site_module
from driftmap.signals.fold import Fold
from tiny import tiny_llama
from tiny_batches import batched, checkpointed, own_loss, tiny_samples
from tiny_families import tiny_family

HOOKS_INSIDE = "__call__" in vars(GradientCheckpointingLayer)
REENTRANT = [False] if HOOKS_INSIDE else [False, True]
SAMPLES = tiny_samples(7, 4, 9)
FAMILIES = ["gpt2", "phi3", "bloom", "falcon_grouped", "qwen2"]


class Kept(Fold):
    """Keeps every signal as it comes."""

    def __init__(self, **needs):
        self.needs_backward = False
        for name, value in needs.items():
            setattr(self, f"needs_{name}", value)

    def num_bytes(self, site):
        return 1

    def start(self, site):
        return []

    def update(self, state, signal):
        return [*state, signal]

    def merge(self, left, right):
        return left + right

    def result(self, states):
        return dict(states)


def kept(model, batches, **needs):
    return run_folds(model, find_layout(model).sites, batches, [Kept(**needs)])[0]


def per_sample(signals, name):
    """What each sample showed, call after call, without its padding."""
    found = {}
    for signal in signals:
        for row, index in enumerate(signal.sample_index):
            found[index] = [getattr(call, name)[row] for call in signal.calls]
    return found


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("name", FAMILIES)
def test_outputs_are_the_weight_times_the_inputs(name, side):
    model = tiny_family(name)
    for backward in (False, True):
        shown = kept(
            model, batched(SAMPLES, 2, side=side), outputs=True, backward=backward
        )
        for site, signals in shown.items():
            W = effective_weight(model, site)
            for signal in signals:
                (call,) = signal.calls
                wanted = call.inputs @ W.T
                worst = (call.outputs - wanted).abs().max()
                assert worst <= 1e-5 * wanted.abs().max(), site.key


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("name", FAMILIES)
def test_input_gradients_are_those_of_one_map_alone(name, side):
    model = tiny_family(name)
    shown = kept(
        model, batched(SAMPLES, 2, side=side), backward=True, input_gradients=True
    )
    for site, signals in shown.items():
        W = effective_weight(model, site)
        for signal in signals:
            (call,) = signal.calls
            wanted = call.output_gradients @ W
            worst = (call.input_gradients - wanted).abs().max()
            assert worst <= 1e-5 * wanted.abs().max(), site.key


def test_input_gradients_are_what_autograd_finds_at_a_map_of_its_own():
    model = tiny_llama()
    sample = SAMPLES[0]
    site = next(s for s in find_layout(model).sites if s.part == "k")
    entered = []

    def copied(module, args):
        entered.append(args[0].clone())
        return (entered[0],)

    hook = site_module(model, site).register_forward_pre_hook(copied)
    loss = own_loss(model, sample)
    hook.remove()
    (wanted,) = torch.autograd.grad(loss, entered)
    shown = kept(model, batched(SAMPLES), input_gradients=True)
    found = per_sample(shown[site], "input_gradients")[0][0]
    assert torch.allclose(found[: len(sample.token_ids)], wanted[0], atol=1e-7)
    assert not found[len(sample.token_ids) :].any()


def test_module_used_twice_keeps_its_calls_apart():
    model = tiny_llama(layers=3)
    model.model.layers[2].mlp = model.model.layers[0].mlp
    shown = kept(model, batched(SAMPLES, 2), outputs=True, input_gradients=True)
    site = next(s for s in shown if s.layer == 0 and s.part == "down")
    W = effective_weight(model, site)
    for signal in shown[site]:
        assert len(signal.calls) == 2
        for call in signal.calls:
            assert torch.allclose(call.outputs, call.inputs @ W.T, atol=1e-5)
            assert torch.allclose(
                call.input_gradients, call.output_gradients @ W, atol=1e-7
            )


def test_adapters_count_at_inputs_and_outputs():
    import peft

    torch.manual_seed(1)
    settings = peft.LoraConfig(
        r=2,
        target_modules=["qkv_proj", "down_proj"],
        init_lora_weights=False,
        bias="lora_only",
    )
    adapted = peft.get_peft_model(tiny_family("phi3"), settings).eval()
    shown = kept(adapted, batched(SAMPLES), outputs=True, input_gradients=True)
    for site, (signal,) in shown.items():
        W = effective_weight(adapted, site)
        (call,) = signal.calls
        assert torch.allclose(call.outputs, call.inputs @ W.T, atol=1e-5), site.key
        wanted = call.output_gradients @ W
        assert torch.allclose(call.input_gradients, wanted, atol=1e-6), site.key


@pytest.mark.parametrize("use_reentrant", REENTRANT)
def test_checkpointing_changes_nothing(use_reentrant):
    model = tiny_llama()
    wanted = kept(model, batched(SAMPLES), outputs=True, input_gradients=True)
    checkpointed(model, use_reentrant)
    found = kept(model, batched(SAMPLES), outputs=True, input_gradients=True)
    for site, (signal,) in found.items():
        (call,), (plain,) = signal.calls, wanted[site][0].calls
        assert torch.equal(call.outputs, plain.outputs)
        assert torch.equal(call.input_gradients, plain.input_gradients)


def test_nothing_is_there_that_was_not_asked_for():
    model = tiny_llama()
    for needs in ({}, {"backward": True}, {"outputs": True}):
        shown = kept(model, batched(SAMPLES), **needs)
        for (signal,) in shown.values():
            (call,) = signal.calls
            assert (call.output_gradients is not None) == ("backward" in needs)
            assert (call.outputs is not None) == ("outputs" in needs)
            assert call.input_gradients is None


@pytest.mark.parametrize("side", ["left", "right"])
def test_observed_tokens_are_those_of_the_positions(side):
    model = tiny_llama()
    wanted = {"response": range(3, 6), "labels": range(4, 7), "all": range(7)}
    for positions, tokens in wanted.items():
        batches = batched(SAMPLES, side=side, positions=positions)
        signal = next(iter(kept(model, batches).values()))[0]
        start = 2 if side == "left" else 0
        found = signal.observed[0].nonzero()[:, 0] - start
        assert found.tolist() == list(tokens)


def test_folds_that_read_inputs_refuse_samples_that_show_none():
    model = tiny_llama()
    (batch,) = batched(SAMPLES)
    batch.observed[1] = False
    kept(model, [batch])
    with pytest.raises(MeasureError, match=r"^sample s1: no token counts; is its"):
        kept(model, [batch], observed=True)
