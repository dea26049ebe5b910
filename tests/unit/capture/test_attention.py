import math

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    modeling_utils,
)

from driftmap.capture import attention
from driftmap.capture.attention import observing
from driftmap.core.errors import FamilyError, MeasureError
from driftmap.families.attention import find_attention, seeing
from driftmap.signals.attention import AttentionCall
from laws.restores import assert_restores_model
from tiny import tiny_llama
from tiny_families import tiny_family, tiny_tokens


@torch.no_grad()
def read(model, ids, rows=None, **kwargs):
    places, kept = find_attention(model), []
    with observing(model, places, rows, kept.append):
        logits = model(ids, use_cache=False, **kwargs).logits
    return logits, kept


def call_of(**changes):
    """One sample, one head of width 1: three keys 0, ln 2, ln 4, and queries of 1."""
    key = torch.tensor([0.0, math.log(2), math.log(4)]).reshape(1, 1, 3, 1)
    query = torch.ones(1, 1, 3, 1)
    settings = {"place": 0, "query": query, "key": key, "value": key, "scaling": 1.0}
    return AttentionCall(**settings | changes)


def row_of(call, row=2):
    signal = attention._signal(call, torch.tensor([[row]]), ())
    return signal.weights[0, 0, 0].tolist(), signal.sink.item()


def test_rows_worked_by_hand():
    assert row_of(call_of())[0] == pytest.approx([1 / 7, 2 / 7, 4 / 7])
    assert row_of(call_of(), 1)[0] == pytest.approx([1 / 3, 2 / 3, 0])
    assert row_of(call_of(scaling=2.0))[0] == pytest.approx([1 / 21, 4 / 21, 16 / 21])
    assert row_of(call_of(scaling=None))[0] == pytest.approx([1 / 7, 2 / 7, 4 / 7])
    assert row_of(call_of(window=2))[0] == pytest.approx([0, 1 / 3, 2 / 3])


def test_masks_biases_and_sinks_worked_by_hand():
    seen = torch.tensor([True, False, True]).expand(1, 1, 3, 3)
    assert row_of(call_of(mask=seen))[0] == pytest.approx([1 / 5, 0, 4 / 5])
    added = torch.zeros(1, 1, 3, 3).masked_fill(~seen, torch.finfo(torch.float32).min)
    assert row_of(call_of(mask=added))[0] == pytest.approx([1 / 5, 0, 4 / 5])
    padding = torch.tensor([[0, 1, 1]])
    assert row_of(call_of(mask=padding))[0] == pytest.approx([0, 1 / 3, 2 / 3])
    bias = torch.tensor([math.log(4), 0.0, 0.0]).expand(1, 1, 3, 3)
    assert row_of(call_of(bias=bias))[0] == pytest.approx([4 / 10, 2 / 10, 4 / 10])
    weights, sink = row_of(call_of(sinks=torch.tensor([0.0])))
    assert weights == pytest.approx([1 / 8, 2 / 8, 4 / 8])
    assert sink == pytest.approx(1 / 8)
    capped = row_of(call_of(softcap=1.0))[0]
    raw = [math.exp(math.tanh(x)) for x in (0.0, math.log(2), math.log(4))]
    assert capped == pytest.approx([x / sum(raw) for x in raw])


def test_a_mask_that_is_no_tensor_is_refused():
    with pytest.raises(MeasureError, match="the attention mask is a str, which cannot"):
        row_of(call_of(mask="blocks"))


def test_shared_key_heads_equal_explicit_repetition():
    model = tiny_llama()
    calls = []
    with seeing(model, [p.path for p in find_attention(model)], calls.append):
        model(tiny_tokens(tokens=9), use_cache=False)
    for call in calls:
        key = call.key.repeat_interleave(call.num_heads // call.key.shape[1], dim=1)
        rows = torch.arange(9).expand(2, -1)
        shared = attention._signal(call, rows, ()).weights
        logits = call.query @ key.transpose(-1, -2) * call.scaling
        hidden = torch.ones(9, 9).triu(1).bool()
        wanted = logits.masked_fill(hidden, -torch.inf).softmax(-1)
        torch.testing.assert_close(shared, wanted, rtol=0, atol=1e-6)


def test_chosen_rows_are_those_of_the_whole_map_whatever_the_pieces(monkeypatch):
    model, ids = tiny_llama(), tiny_tokens(tokens=9)
    _, whole = read(model, ids)
    rows = torch.tensor([[8, 3], [5, 0]])
    _, some = read(model, ids, rows)
    monkeypatch.setattr(attention, "WEIGHTS_AT_ONCE", 2 * 4 * 9 * 4)
    _, pieces = read(model, ids)
    assert [signal.rows.shape[1] for signal in pieces] == [4, 4, 1] * 2
    for place, signal in enumerate(some):
        for sample in range(2):
            wanted = whole[place].weights[sample][:, rows[sample]]
            assert torch.allclose(signal.weights[sample], wanted, rtol=0, atol=1e-6)
    joined = torch.cat([signal.weights for signal in pieces[:3]], dim=2)
    assert torch.allclose(joined, whole[0].weights, rtol=0, atol=1e-6)


def test_a_window_hides_what_lies_before_it():
    torch.manual_seed(0)
    config = tiny_family("mistral").config
    config.sliding_window = 4
    model = AutoModelForCausalLM.from_config(config).eval()
    _, found = read(model, tiny_tokens(tokens=12))
    for signal in found:
        far = torch.ones(12, 12).tril(-4).bool()
        assert not signal.weights[..., far].any()
        assert not signal.visible[:, far].any()
        near = torch.ones(12, 12).tril().bool() & ~far
        assert signal.visible[:, near].all()
        assert torch.allclose(signal.weights.sum(-1), torch.ones(()), atol=1e-6)


def test_adapters_narrow_numbers_and_training_mode():
    model = tiny_llama()
    ids = tiny_tokens(tokens=9)
    tuned = get_peft_model(model, LoraConfig(target_modules=["q_proj"], r=2))
    tuned.eval()
    with torch.no_grad():
        for name, parameter in tuned.named_parameters():
            if "lora_B" in name:
                parameter.normal_()
    logits, found = read(tuned, ids)
    with tuned.disable_adapter():
        bare_logits, bare = read(tuned, ids)
    assert find_attention(tuned)[0].path == "model.layers.0.self_attn"
    assert not torch.equal(logits, bare_logits)
    assert not torch.allclose(found[0].weights, bare[0].weights)
    narrow = tiny_llama().bfloat16()
    logits, found = read(narrow, ids)
    assert logits.dtype == torch.bfloat16
    assert found[0].weights.dtype == torch.float32
    assert torch.allclose(found[0].weights.sum(-1), torch.ones(()), atol=1e-6)


@pytest.mark.parametrize("name", ["llama", "gemma2", "falcon", "bloom"])
def test_nothing_stays_behind_also_after_an_error(name):
    model = tiny_family(name)
    former = dict(modeling_utils.ALL_ATTENTION_FUNCTIONS._local_mapping)
    settings = model.config._attn_implementation
    forwards = {path: "forward" in vars(m) for path, m in model.named_modules()}

    def take(_signal):
        raise RuntimeError("stopped")

    with assert_restores_model(model):
        places = find_attention(model)
        with (
            pytest.raises(RuntimeError, match="stopped"),
            observing(model, places, None, take),
        ):
            model(tiny_tokens(), use_cache=False)
    assert modeling_utils.ALL_ATTENTION_FUNCTIONS._local_mapping == former
    assert model.config._attn_implementation == settings
    assert forwards == {p: "forward" in vars(m) for p, m in model.named_modules()}


def test_other_models_run_on_while_one_is_watched():
    watched, other, ids = tiny_llama(), tiny_family("gemma2"), tiny_tokens()
    plain, former = other(ids).logits, tiny_llama(seed=1)
    alone = former(ids).logits
    kept = []
    with observing(watched, find_attention(watched), None, kept.append):
        watched(ids, use_cache=False)
        assert torch.equal(other(ids).logits, plain)
        assert torch.equal(former(ids).logits, alone)
    assert len(kept) == 2


def test_a_place_that_did_not_run_is_named():
    model = tiny_llama()
    places = find_attention(model)
    embedded = model.model.embed_tokens(tiny_tokens())
    rotated = model.model.rotary_emb(embedded, torch.arange(7)[None])
    with (
        pytest.raises(MeasureError, match=r"layers\.1\.self_attn: it did not attend"),
        observing(model, places, None, lambda signal: None),
    ):
        model.model.layers[0](embedded, position_embeddings=rotated)


def test_a_cache_is_refused():
    model, ids = tiny_llama(), tiny_tokens()
    places = find_attention(model)
    cache = model(ids, use_cache=True).past_key_values
    with (
        pytest.raises(MeasureError, match="1 queries look at 8 keys; read whole texts"),
        observing(model, places, torch.tensor([[0], [0]]), lambda signal: None),
    ):
        model(ids[:, :1], past_key_values=cache)


def test_a_model_that_does_not_attend_is_refused():
    with pytest.raises(FamilyError, match="Linear: no module was found that attends"):
        find_attention(torch.nn.Linear(2, 2))


def test_attention_that_shows_nothing_is_refused():
    class OwnAttention(torch.nn.Module):
        def forward(self, hidden_states, **_kwargs):
            return hidden_states, None

    model = tiny_llama()
    model.model.layers[1].self_attn = OwnAttention()
    with pytest.raises(FamilyError, match="OwnAttention attends without showing how"):
        find_attention(model)


def test_no_whole_map_is_held_where_rows_are_asked_for():
    config = LlamaConfig(
        vocab_size=40, hidden_size=16, intermediate_size=16, num_hidden_layers=4,
        num_attention_heads=4, num_key_value_heads=2,
    )  # fmt: skip
    model = LlamaForCausalLM(config).eval()
    largest = []
    last = torch.tensor([[299]])

    def take(signal):
        largest.append(signal.weights.numel())

    with torch.no_grad(), observing(model, find_attention(model), last, take):
        model(tiny_tokens(samples=1, tokens=300), use_cache=False)
    assert largest == [4 * 300] * 4
