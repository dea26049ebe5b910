"""Is every named parameter found, with what is known of how it is used?"""

import copy

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers.models.gemma3.modeling_gemma3 import Gemma3RMSNorm
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from driftmap.core.errors import FamilyError
from driftmap.families.norms import neutral_weight, normalizer
from driftmap.families.tensors import choose_tensors, find_tensors
from tiny import tiny_llama
from tiny_families import tiny_family


def test_a_rule_says_what_where_and_how_large():
    rules = {rule.name: rule for rule in find_tensors(tiny_family("gpt2"))}
    fused = rules["transformer.h.1.attn.c_attn.weight"]
    assert fused.kind == "linear"
    assert fused.transposed
    assert fused.shape == (48, 16)
    assert [place.name.partition("#")[2] for place in fused.places] == ["q", "k", "v"]
    assert [place.num_weights for place in fused.places] == [256, 256, 256]
    assert {(place.layer, place.half) for place in fused.places} == {(1, "attention")}
    bias = rules["transformer.h.1.mlp.c_fc.bias"]
    (place,) = bias.places
    assert (bias.kind, place.part, place.half) == ("bias", "bias", "mlp")
    assert rules["transformer.wpe.weight"].kind == "table"
    tied = rules["transformer.wte.weight"]
    assert [(use.path, use.kind) for use in tied.uses] == [
        ("transformer.wte", "table"),
        ("lm_head", "linear"),
    ]
    assert rules["transformer.ln_f.weight"].places[0].layer is None


def test_ties_are_told_by_the_parameters_and_not_by_the_config():
    model = tiny_llama()
    assert not any(rule.tied for rule in find_tensors(model))
    model.lm_head.weight = model.model.embed_tokens.weight
    assert not model.config.tie_word_embeddings
    (tied,) = (rule for rule in find_tensors(model) if rule.tied)
    assert tied.name == "model.embed_tokens.weight"


def test_places_are_chosen_by_slices():
    rules = find_tensors(tiny_family("phi3"))
    chosen = choose_tensors(rules, lambda place: place.part in ("v", "gate"))
    assert [place.name for rule in chosen for place in rule.places] == [
        f"model.layers.{layer}.{end}"
        for layer in (0, 1)
        for end in ("self_attn.qkv_proj.weight#v", "mlp.gate_up_proj.weight#gate")
    ]
    assert chosen[0].shape == (32, 16)


@pytest.mark.parametrize(
    ("norm", "neutral"),
    [
        (nn.LayerNorm(6), 0.0),
        (nn.LayerNorm(6, bias=False), 0.0),
        (LlamaRMSNorm(6), 0.0),
        (Gemma3RMSNorm(6), -1.0),
    ],
)
def test_a_norm_is_known_by_what_it_gives(norm, neutral):
    with torch.no_grad():
        for parameter in norm.parameters():
            parameter.copy_(torch.randn(6))
    before = copy.deepcopy(norm.state_dict())
    assert neutral_weight(norm) == neutral
    inputs = torch.randn(2, 3, 6)
    found = normalizer(norm, neutral)(inputs)
    center = inputs.mean(-1, keepdim=True) * isinstance(norm, nn.LayerNorm)
    size = (inputs - center).square().mean(-1, keepdim=True).sqrt()
    torch.testing.assert_close(found, (inputs - center) / size, rtol=1e-4, atol=1e-4)
    for name, values in norm.state_dict().items():
        assert torch.equal(values, before[name])


class SquaredNorm(LlamaRMSNorm):
    def forward(self, hidden_states):
        return super().forward(hidden_states) * self.weight


class MeanNorm(nn.Module):
    """Adds up over samples, so that one's gradient is not its own."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(16))

    def forward(self, hidden):
        return self.weight * (hidden - hidden.mean(0, keepdim=True))


class GatedNorm(LlamaRMSNorm):
    """Takes a second input, and reaches into it."""

    def forward(self, hidden_states, gate=None):
        return super().forward(hidden_states) * gate.to(torch.float32)


def test_a_norm_that_takes_more_is_not_known():
    assert neutral_weight(GatedNorm(6)) is None


@pytest.mark.parametrize("norm", [SquaredNorm(16), MeanNorm()])
def test_a_norm_of_another_form_is_of_no_known_kind(norm):
    model = tiny_llama()
    model.model.layers[0].input_layernorm = norm
    kinds = {rule.name: rule.kind for rule in find_tensors(model)}
    assert kinds["model.layers.0.input_layernorm.weight"] == "other"
    assert kinds["model.layers.1.input_layernorm.weight"] == "norm"


@pytest.mark.parametrize(
    "settings", [{"use_dora": True}, {"modules_to_save": ["lm_head"]}]
)
def test_adapters_whose_base_does_not_run_alone_are_refused(settings):
    config = LoraConfig(r=2, target_modules=["q_proj"], **settings)
    with pytest.raises(FamilyError, match="is not plain LoRA, so the gradient"):
        find_tensors(get_peft_model(tiny_llama(), config))


def test_numbers_without_a_gradient_are_refused():
    model = tiny_llama()
    table = nn.Parameter(torch.ones(3, dtype=torch.int8), requires_grad=False)
    model.model.layers[0].mlp.table = table
    with pytest.raises(FamilyError) as refusal:
        find_tensors(model)
    assert str(refusal.value) == (
        "model.layers.0.mlp.table: kept as torch.int8 in a LlamaMLP, so that it has no "
        "gradient; load the model in float32 or bfloat16"
    )
