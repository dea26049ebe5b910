"""Is every token shown with the experts, weights and logits that the model used?"""

from dataclasses import replace

import pytest
import torch

from driftmap.capture.routing import show_routing
from driftmap.core.errors import FamilyError, MeasureError
from driftmap.families.experts import find_experts
from laws.restores import assert_restores_model
from tiny_batches import batched, tiny_samples
from tiny_experts import tiny_moe

SAMPLES = tiny_samples(7, 4, 9, 5)
FAMILIES = ["olmoe", "gpt_oss", "nemotron_h", "deepseek_v3", "gemma4_text", "dbrx"]


@pytest.fixture(scope="module")
def olmoe():
    return tiny_moe("olmoe")


def routing_of(model, batches):
    signals = []
    show_routing(model, find_experts(model), batches, signals.append)
    return signals


def by_sample(signals):
    """Per bank and sample: experts, weights and logits of its own tokens."""
    found = {}
    for signal in signals:
        for row, sample in enumerate(signal.sample_ids):
            real = signal.real[row]
            found[signal.bank.path, sample] = (
                signal.chosen[row][real],
                signal.weights[row][real],
                signal.logits[row][real],
            )
    return found


@pytest.mark.parametrize("start", ["eager", "batched_mm"])
@pytest.mark.parametrize("name", FAMILIES)
def test_signals_are_what_each_bank_and_router_did_alone(name, start):
    model = tiny_moe(name)
    found = by_sample(routing_of(model, batched(SAMPLES, 3, side="left", extra=2)))
    model.set_experts_implementation(start)
    for bank in find_experts(model):
        seen, given = [], []
        module = model.get_submodule(bank.place.path)
        router = model.get_submodule(bank.router.path)
        hooks = [
            module.register_forward_pre_hook(lambda m, a, seen=seen: seen.append(a)),
            router.register_forward_hook(lambda m, a, o, given=given: given.append(o)),
        ]
        for sample in SAMPLES:
            with torch.no_grad():
                model(input_ids=sample.token_ids[None])
            _, chosen, weights = seen.pop()
            logits = given.pop()
            logits = logits[0] if isinstance(logits, tuple) else logits
            shown = found[bank.place.path, sample.id]
            assert torch.equal(shown[0], chosen)
            torch.testing.assert_close(shown[1], weights, rtol=1e-5, atol=1e-6)
            torch.testing.assert_close(
                shown[2], logits.reshape(shown[2].shape), rtol=1e-5, atol=1e-5
            )
        for hook in hooks:
            hook.remove()


def test_a_batch_shows_one_signal_per_bank_in_order(olmoe):
    (batch, last) = batched(SAMPLES, 3, positions="labels")
    signals = routing_of(olmoe, [batch, last])
    assert [signal.bank.layer for signal in signals] == [0, 1, 0, 1]
    first = signals[0]
    assert first.sample_ids == ("s0", "s1", "s2")
    assert first.sample_index == (0, 1, 2)
    assert signals[2].sample_ids == ("s3",)
    assert torch.equal(first.observed, batch.observed)
    assert torch.equal(first.token_ids, batch.token_ids)
    assert first.chosen.shape == first.weights.shape == (3, 9, 2)
    assert first.logits.shape == (3, 9, 6)
    assert not first.weights.requires_grad


def test_all_is_left_as_it_was():
    model = tiny_moe("mixtral")
    model.set_experts_implementation("eager")
    model.train()

    def fail(signal):
        raise RuntimeError(signal.bank.path)

    with assert_restores_model(model):
        routing_of(model, batched(SAMPLES))
        with pytest.raises(RuntimeError, match=r"layers\.0"):
            show_routing(model, find_experts(model), batched(SAMPLES), fail)
    assert model.get_experts_implementation() == {"": "eager"}


def test_routers_add_no_noise():
    model = tiny_moe("mixtral")
    wanted = by_sample(routing_of(model, batched(SAMPLES)))
    noisy = [m for m in model.modules() if hasattr(m, "jitter_noise")]
    for module in noisy:
        module.jitter_noise = 0.5
    model.train()
    found = by_sample(routing_of(model, batched(SAMPLES)))
    assert len(noisy) == 2
    for key, shown in wanted.items():
        assert all(map(torch.equal, found[key], shown)), key


def test_a_bank_that_is_told_nothing_is_refused():
    model = tiny_moe("olmoe")
    banks = [replace(bank, told_choice=False) for bank in find_experts(model)]
    with pytest.raises(FamilyError, match=r"layers\.0\.mlp\.experts: .* does not tell"):
        show_routing(model, banks, batched(SAMPLES), lambda signal: None)


def test_a_sample_that_is_read_nowhere_is_refused(olmoe):
    batches = batched(tiny_samples(5, 1))
    with pytest.raises(MeasureError, match="sample s1: no token counts"):
        routing_of(olmoe, batches)


@pytest.mark.parametrize("number", [0, 2])
def test_nothing_to_do_is_refused(olmoe, number):
    batches = [] if number else batched(SAMPLES)
    with pytest.raises(MeasureError, match="there is nothing to do: give banks of"):
        show_routing(olmoe, find_experts(olmoe)[:number], batches, lambda s: None)


def test_a_router_that_is_broken_is_named_with_bank_and_sample():
    model = tiny_moe("olmoe")
    samples = tiny_samples(5, 5)
    samples[1].token_ids[2] = 39
    samples[0].token_ids[samples[0].token_ids == 39] = 3
    with torch.no_grad():
        model.model.embed_tokens.weight[39] = torch.nan
    said = r"^model\.layers\.0\.mlp\.experts: a routing weight of sample s1 is not fin"
    with pytest.raises(MeasureError, match=said):
        routing_of(model, batched(samples))


def test_a_bank_that_runs_twice_or_never_is_refused(olmoe):
    layers = olmoe.model.layers
    first, second = layers[0].mlp, layers[1].mlp
    banks = find_experts(olmoe)
    try:
        layers[1].mlp = first
        with pytest.raises(
            MeasureError, match=r"layers\.0\.mlp\.experts: the model ru"
        ):
            show_routing(olmoe, banks[:1], batched(SAMPLES), lambda signal: None)
        layers[0].forward = lambda hidden_states, **_: hidden_states
        layers[1].mlp = second
        with pytest.raises(
            MeasureError, match=r"layers\.0\.mlp\.experts: the model nev"
        ):
            show_routing(olmoe, banks[:1], batched(SAMPLES), lambda signal: None)
    finally:
        layers[1].mlp = second
        vars(layers[0]).pop("forward", None)
