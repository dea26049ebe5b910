"""Do banks that run only in their own way show the same, sample by sample?"""

import pytest
import torch

from driftmap.capture.expert_hooks import show_whole_experts
from driftmap.capture.expert_rows import show_experts
from driftmap.capture.hooks import frozen
from driftmap.core.errors import MeasureError
from driftmap.core.progress import Progress
from driftmap.families.expert_switch import runs_on_rows
from driftmap.families.experts import find_experts
from driftmap.signals.experts import ExpertGradients
from expert_oracles import (
    assert_same_gradients,
    gathered_experts,
    one_by_one_experts,
    shown_experts,
)
from laws.restores import assert_restores_model
from tiny_batches import batched, tiny_samples
from tiny_experts import tiny_moe

SAMPLES = tiny_samples(7, 4, 9, 5)
ODD = ["dbrx", "llama4_text", "longcat_flash"]


@pytest.fixture(scope="module")
def longcat():
    return tiny_moe("longcat_flash")


@pytest.fixture(scope="module")
def dbrx():
    return tiny_moe("dbrx")


def signals_of(model, batches):
    signals = []
    show_experts(model, find_experts(model), batches, signals.append)
    return signals


@pytest.mark.parametrize("name", ODD)
def test_families_that_run_themselves_equal_one_backward_per_sample(name):
    model = tiny_moe(name)
    banks = find_experts(model)
    assert not any(runs_on_rows(model, bank) for bank in banks)
    before = model.get_experts_implementation()
    with assert_restores_model(model):
        found = shown_experts(model, batched(SAMPLES, 3, side="left", extra=2))
    assert model.get_experts_implementation() == before
    assert_same_gradients(found, one_by_one_experts(model, SAMPLES))


def test_both_paths_agree():
    model = tiny_moe("gpt_oss")
    banks = find_experts(model)

    def show(take):
        with frozen(model):
            show_whole_experts(model, banks, batched(SAMPLES, 2), take, Progress())

    by_hooks = gathered_experts(banks, show)
    assert_same_gradients(by_hooks, shown_experts(model, batched(SAMPLES)))


def test_tokens_are_counted_where_the_bank_is_told(longcat):
    """A number beyond the bank's experts is one that does nothing."""
    told = []
    (found,) = find_experts(longcat)
    module = longcat.get_submodule(found.place.path)
    handle = module.register_forward_pre_hook(lambda m, args: told.append(args[1]))
    signals = signals_of(longcat, batched(SAMPLES[:1]))
    handle.remove()
    counts = torch.bincount(told[0].flatten()).tolist()
    assert sum(counts[found.place.num_experts :]) > 0
    wanted = tuple(counts[: found.place.num_experts])
    assert [signal.num_routed for signal in signals] == [wanted] * 2


def test_llama4_does_not_tell_who_saw_what():
    signals = signals_of(tiny_moe("llama4_text"), batched(SAMPLES))
    assert {signal.num_routed for signal in signals} == {None}


def test_signals_are_of_one_sample_and_gone_at_once(dbrx):
    shown = []

    def take(signal):
        assert isinstance(signal, ExpertGradients)
        alive = [p.grad for p in dbrx.parameters() if p.grad is not None]
        assert [gradient.data_ptr() for gradient in alive] == [
            signal.gradients.data_ptr()
        ]
        shown.append((signal.sample_id, signal.sample_index, signal.num_counted))

    show_experts(dbrx, find_experts(dbrx), batched(SAMPLES, 3), take)
    assert sorted(set(shown)) == [(f"s{i}", i, 3) for i in range(4)]
    assert len(shown) == 4 * 2 * 3


def test_what_was_there_before_is_put_back(longcat):
    stored = longcat.model.layers[0].mlp.experts.down_proj
    stored.grad = torch.ones_like(stored)
    wanted = one_by_one_experts(longcat, SAMPLES)
    try:
        with assert_restores_model(longcat):
            found = shown_experts(longcat, batched(SAMPLES))
    finally:
        stored.grad = None
    assert_same_gradients(found, wanted)


def test_all_is_put_back_after_an_error(longcat):
    def fail(signal):
        raise RuntimeError(signal.tensor)

    with assert_restores_model(longcat), pytest.raises(RuntimeError, match="down"):
        show_experts(longcat, find_experts(longcat), batched(SAMPLES), fail)


def test_a_weight_that_is_no_number_is_named_with_bank_and_sample():
    model = tiny_moe("dbrx")
    with torch.no_grad():
        model.transformer.blocks[1].ffn.experts.mlp.w2.fill_(torch.nan)
    said = r"^transformer\.blocks\.1\.ffn\.experts: the output for sample s0 is not fin"
    with pytest.raises(MeasureError, match=said):
        signals_of(model, batched(SAMPLES))


def test_a_gradient_that_is_no_number_is_named_with_bank_and_sample(longcat):
    def poison(module, inputs, output):
        if output.requires_grad:
            output.register_hook(lambda gradient: gradient * torch.nan)

    said = r"^model\.layers\.0\.mlp\.experts: the gradient of sample s0 is not finite"
    handle = longcat.model.layers[0].mlp.experts.register_forward_hook(poison)
    try:
        with pytest.raises(MeasureError, match=said):
            signals_of(longcat, batched(SAMPLES))
    finally:
        handle.remove()


def test_a_bank_that_no_gradient_comes_back_to_is_named(dbrx):
    blocks = dbrx.transformer.blocks
    handle = blocks[1].register_forward_hook(lambda m, i, o: o.detach())
    said = (
        r"^transformer\.blocks\.0\.ffn\.experts: no gradient came back to this bank; d"
    )
    try:
        with pytest.raises(MeasureError, match=said):
            signals_of(dbrx, batched(SAMPLES))
    finally:
        handle.remove()
