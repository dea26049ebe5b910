from types import SimpleNamespace

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

from driftmap.core.errors import FamilyError
from driftmap.families.expert_refusals import REFUSED
from driftmap.families.experts import find_experts
from tiny import tiny_llama
from tiny_experts import moe_config, tiny_moe


@pytest.mark.parametrize("family", sorted(REFUSED))
def test_experts_of_another_kind_are_refused_by_name(family):
    config = moe_config(family)
    auto = AutoModelForCausalLM
    if config.is_encoder_decoder:
        auto = AutoModelForSeq2SeqLM
        config.num_experts = config.encoder_layers = config.decoder_layers = 2
    with torch.device("meta"):
        model = auto.from_config(config)
    with pytest.raises(
        FamilyError,
        match=rf"^model type '{family}': {REFUSED[family]}, so that its experts cannot",
    ):
        find_experts(model)


def test_a_model_without_experts_is_told_from_one_whose_experts_are_unknown():
    with pytest.raises(FamilyError, match=r"^LlamaForCausalLM has no experts; use a"):
        find_experts(tiny_llama())
    model = tiny_llama()
    model.config.num_experts = 8
    with pytest.raises(
        FamilyError, match=r"^model type 'llama': its config says num_experts 8, but no"
    ):
        find_experts(model)


def test_quantised_experts_are_refused():
    model = tiny_moe("olmoe")
    experts = model.model.layers[1].mlp.experts
    experts.gate_up_proj.data = experts.gate_up_proj.data.to(torch.float8_e4m3fn)
    with pytest.raises(
        FamilyError,
        match=r"^model.layers.1.mlp.experts: its experts are quantised \(gate_up_proj "
        r"is kept as torch.float8_e4m3fn\)",
    ):
        find_experts(model)


def test_experts_spread_over_processes_are_refused():
    model = tiny_moe("olmoe")
    model.model.layers[0].mlp.experts._is_expert_parallel = True
    with pytest.raises(
        FamilyError, match=r"^model.layers.0.mlp.experts: its experts are spread over"
    ):
        find_experts(model)


def test_experts_under_an_adapter_are_refused():
    peft = pytest.importorskip("peft")
    names = ["mlp.experts.gate_up_proj"]
    config = peft.LoraConfig(target_modules=[], target_parameters=names)
    model = peft.get_peft_model(tiny_moe("olmoe"), config)
    with pytest.raises(
        FamilyError, match=r"mlp.experts: an adapter \(ParamWrapper\) changes its exp"
    ):
        find_experts(model)


def test_an_adapter_on_attention_changes_no_name():
    peft = pytest.importorskip("peft")
    plain = find_experts(tiny_moe("olmoe"))
    config = peft.LoraConfig(target_modules=["q_proj"])
    assert find_experts(peft.get_peft_model(tiny_moe("olmoe"), config)) == plain


def test_an_adapter_on_a_router_changes_no_name():
    peft = pytest.importorskip("peft")
    plain = find_experts(tiny_moe("afmoe"))
    config = peft.LoraConfig(target_modules=["router.gate"])
    adapted = peft.get_peft_model(tiny_moe("afmoe"), config)
    assert hasattr(adapted.base_model.model.model.layers[1].mlp.router.gate, "lora_A")
    assert find_experts(adapted) == plain


def test_a_parameter_of_unknown_purpose_is_named():
    model = tiny_moe("olmoe")
    experts = model.model.layers[0].mlp.experts
    experts.extra = torch.nn.Parameter(torch.zeros(6, 3, 2))
    with pytest.raises(
        FamilyError,
        match=r"^model.layers.0.mlp.experts: it is not known what its parameter extra "
        r"\[6, 3, 2\] is for; name it in",
    ):
        find_experts(model)


def test_marks_that_shapes_contradict_are_refused():
    model = tiny_moe("olmoe")
    model.model.layers[0].mlp.experts.is_transposed = True
    with pytest.raises(
        FamilyError,
        match=r"^model.layers.0.mlp.experts: it is not clear which axis .*"
        r"gate_up_proj \[24, 16\], down_proj \[16, 12\] .* `is_transposed` is True",
    ):
        find_experts(model)


def test_a_router_that_does_not_say_how_many_it_chooses_is_refused():
    model = tiny_moe("olmoe")
    block = model.model.layers[0].mlp
    del block.gate.top_k
    model.config = block.experts.config = SimpleNamespace(model_type="odd")
    with pytest.raises(
        FamilyError, match=r"nothing around it says how many experts a token gets"
    ):
        find_experts(model)


def test_a_bank_outside_the_layers_is_refused():
    model = tiny_moe("olmoe")
    block = model.model.layers[0].mlp
    holder = torch.nn.Module()
    holder.config = model.config
    holder.mlp = block
    with pytest.raises(FamilyError, match=r"^mlp.experts: its path does not tell"):
        find_experts(holder)
