"""The logit lens against the model itself and norms and heads applied by hand."""

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch.nn import functional

from driftmap.capture import lens
from driftmap.capture.lens import answer_lens, logit_lens, next_token_lens
from driftmap.core.errors import MeasureError
from tiny import tiny_llama
from tiny_experts import tiny_moe
from tiny_families import FAMILY_NAMES, VOCAB, tiny_family

IDS = np.random.default_rng(0).integers(3, VOCAB, 9)


def logits_of(model, ids=IDS):
    with torch.no_grad():
        return model(torch.from_numpy(ids)[None]).logits[0].double()


@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_the_lens_at_the_last_block_is_the_model(name):
    model = tiny_family(name)
    found = answer_lens(model, IDS, 5, 7)
    p = logits_of(model).softmax(1)
    np.testing.assert_allclose(found.answer_p[-1], p[:, 5], rtol=1e-4)
    np.testing.assert_allclose(found.foil_p[-1], p[:, 7], rtol=1e-4)
    entropy = torch.special.entr(p).sum(1)
    np.testing.assert_allclose(found.entropy[-1], entropy, rtol=1e-4)
    np.testing.assert_array_equal(found.top_ids[-1], p.argmax(1))
    rank = (p > p[:, 5:6]).sum(1)
    np.testing.assert_array_equal(found.answer_rank[-1], rank)
    np.testing.assert_array_equal(found.kl[-1], np.zeros(9))
    assert (found.kl[0] > 1e-4).all()


@pytest.mark.parametrize("name", ["gpt_oss", "deepseek_v4"])
def test_mixtures_and_several_streams_are_the_model_too(name):
    model = tiny_moe(name)
    found = answer_lens(model, IDS, 5)
    p = logits_of(model).softmax(1)
    np.testing.assert_allclose(found.answer_p[-1], p[:, 5], rtol=1e-4)


def gemma_tail(model, state):
    logits = model.lm_head(model.model.norm(state))
    cap = model.config.final_logit_softcapping
    assert cap is not None
    return cap * torch.tanh(logits / cap)


@pytest.mark.parametrize(
    ("name", "tail"),
    [
        ("llama", lambda m, h: m.lm_head(m.model.norm(h))),
        ("gpt2", lambda m, h: m.lm_head(m.transformer.ln_f(h))),
        ("gemma2", gemma_tail),
        ("cohere", lambda m, h: m.lm_head(m.model.norm(h)) * m.config.logit_scale),
        ("granite", lambda m, h: m.lm_head(m.model.norm(h)) / m.config.logits_scaling),
    ],
)
def test_earlier_blocks_go_through_the_familys_own_norm_head_and_scaling(name, tail):
    model = tiny_family(name)
    with torch.no_grad():
        output = model(torch.from_numpy(IDS)[None], output_hidden_states=True)
        first = output.hidden_states[1][0]
        log_p = tail(model, first).double().log_softmax(1)
        last = output.logits[0].double().log_softmax(1)
    found = answer_lens(model, IDS, 5)
    np.testing.assert_allclose(found.answer_p[0], log_p[:, 5].exp(), rtol=1e-4)
    kl = functional.kl_div(log_p, last, reduction="none", log_target=True).sum(1)
    np.testing.assert_allclose(found.kl[0], kl, rtol=1e-3, atol=1e-6)
    entropy = torch.special.entr(log_p.exp()).sum(1)
    np.testing.assert_allclose(found.entropy[0], entropy, rtol=1e-4)


def test_the_next_token_is_read_at_the_one_before():
    model = tiny_llama()
    found = next_token_lens(model, IDS)
    p = logits_of(model).softmax(1)[torch.arange(8), torch.from_numpy(IDS[1:])]
    np.testing.assert_allclose(found.answer_p[-1], p, rtol=1e-4)
    assert found.positions.tolist() == list(range(8))


def test_some_tokens_and_few_at_a_time_change_nothing(monkeypatch):
    model = tiny_llama()
    whole = answer_lens(model, IDS, 5)
    monkeypatch.setattr(lens, "NUMBERS_AT_A_TIME", 2 * VOCAB)
    some = np.array([8, 1, 4])
    found = logit_lens(model, IDS, some, np.full(3, 5))
    np.testing.assert_allclose(found.answer_p, whole.answer_p[:, some], rtol=1e-5)
    np.testing.assert_allclose(found.kl, whole.kl[:, some], rtol=1e-4, atol=1e-6)


def test_adapters_are_looked_through():
    model = get_peft_model(tiny_llama(), LoraConfig(r=2, target_modules=["q_proj"]))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.fill_(0.3)
    found = answer_lens(model, IDS, 5)
    np.testing.assert_allclose(
        found.answer_p[-1], logits_of(model).softmax(1)[:, 5], rtol=1e-4
    )


def test_the_model_is_left_as_found_also_after_an_error():
    model = tiny_llama().train()
    before = logits_of(model.eval())
    model.train()
    answer_lens(model, IDS, 5)
    with pytest.raises(RuntimeError, match="out of bounds"):
        logit_lens(model, IDS, np.array([0]), np.array([VOCAB + 1]))
    assert all(module.training for module in model.modules())
    assert not any(module._forward_hooks for module in model.modules())
    assert not any("forward" in vars(module) for module in model.modules())
    assert torch.equal(logits_of(model.eval()), before)


def test_refusals():
    with pytest.raises(MeasureError, match=r"reads tokens \[9\] of a text of 9; give"):
        logit_lens(tiny_llama(), IDS, np.array([9]), np.array([5]))
    with pytest.raises(MeasureError, match=r"reads tokens \[\] of a text of 1"):
        next_token_lens(tiny_llama(), IDS[:1])
    broken = tiny_llama()
    with torch.no_grad():
        broken.lm_head.weight[3] = torch.nan
    with pytest.raises(MeasureError, match="block 1: a logit of its output is NaN"):
        answer_lens(broken, IDS, 5)
