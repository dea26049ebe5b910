"""Do banks that run only in their own way show the same, sample by sample?"""

import pytest
import torch
from transformers import AutoModelForCausalLM
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

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
SIZES = {
    "vocab_size": 40,
    "hidden_size": 16,
    "intermediate_size": 12,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 4,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "initializer_range": 0.2,
}
ODD = {
    "dbrx": {
        "d_model": 16,
        "n_heads": 4,
        "n_layers": 2,
        "max_seq_len": 64,
        "attn_config": {"kv_n_heads": 2, "clip_qkv": 8.0, "rope_theta": 1e4},
        "ffn_config": {
            "hidden_size": 16,
            "ffn_hidden_size": 12,
            "moe_num_experts": 6,
            "moe_top_k": 2,
        },
    },
    "llama4_text": {
        "num_local_experts": 4,
        "num_experts_per_tok": 1,
        "intermediate_size_mlp": 12,
        "moe_layers": [0, 1],
    },
    "longcat_flash": {
        "kv_lora_rank": 8,
        "q_lora_rank": 8,
        "qk_rope_head_dim": 4,
        "qk_nope_head_dim": 4,
        "v_head_dim": 4,
        "num_key_value_heads": 4,
        "n_routed_experts": 4,
        "zero_expert_num": 2,
        "moe_topk": 2,
        "expert_ffn_hidden_size": 12,
        "ffn_hidden_size": 12,
        "num_hidden_layers": 4,
    },
}


def odd_moe(name):
    torch.manual_seed(0)
    config = CONFIG_MAPPING[name](**{**SIZES, **ODD[name]})
    model = AutoModelForCausalLM.from_config(config).float().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if not parameter.any():
                parameter += 0.2 * torch.randn_like(parameter)
    return model


@pytest.fixture(scope="module")
def longcat():
    return odd_moe("longcat_flash")


def signals_of(model, batches):
    signals = []
    show_experts(model, find_experts(model), batches, signals.append)
    return signals


@pytest.mark.parametrize("name", ODD)
def test_families_that_run_themselves_equal_one_backward_per_sample(name):
    model = odd_moe(name)
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
    """A number of four or more is an expert that does nothing."""
    told = []
    bank = longcat.model.layers[0].mlp.experts
    handle = bank.register_forward_pre_hook(lambda m, args: told.append(args[1]))
    signals = signals_of(longcat, batched(SAMPLES[:1]))
    handle.remove()
    path = find_experts(longcat)[0].place.path
    mine = [signal for signal in signals if signal.bank.path == path]
    counts = torch.bincount(told[0].flatten(), minlength=6)
    assert counts[4:].sum() > 0
    assert [signal.num_routed for signal in mine] == [tuple(counts[:4].tolist())] * 2


def test_llama4_does_not_tell_who_saw_what():
    signals = signals_of(odd_moe("llama4_text"), batched(SAMPLES))
    assert {signal.num_routed for signal in signals} == {None}


def test_signals_are_of_one_sample_and_gone_at_once(longcat):
    shown = []

    def take(signal):
        assert isinstance(signal, ExpertGradients)
        alive = [p.grad for p in longcat.parameters() if p.grad is not None]
        assert [gradient.data_ptr() for gradient in alive] == [
            signal.gradients.data_ptr()
        ]
        shown.append((signal.sample_id, signal.sample_index, signal.num_counted))

    show_experts(longcat, find_experts(longcat), batched(SAMPLES, 3), take)
    assert sorted(set(shown)) == [(f"s{i}", i, 3) for i in range(4)]
    assert len(shown) == 4 * 2 * 2


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
    model = odd_moe("longcat_flash")
    with torch.no_grad():
        model.model.layers[1].mlp.experts.down_proj.fill_(torch.nan)
    said = r"^model\.layers\.1\.mlp\.experts: the output for sample s0 is not finite"
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


def test_a_bank_that_no_gradient_comes_back_to_is_named(longcat):
    handle = longcat.model.layers[1].register_forward_hook(lambda m, i, o: o.detach())
    said = r"^model\.layers\.0\.mlp\.experts: no gradient came back to this bank; does"
    try:
        with pytest.raises(MeasureError, match=said):
            signals_of(longcat, batched(SAMPLES))
    finally:
        handle.remove()
