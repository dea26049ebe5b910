from dataclasses import replace

import pytest
import torch
from transformers import AutoModelForCausalLM
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from driftmap.core.errors import FamilyError
from driftmap.families.expert_probe import probe_experts
from driftmap.families.experts import find_experts
from laws.restores import assert_restores_model
from listed_experts import listed_moe
from tiny_experts import moe_config, moe_tokens, tiny_moe


def _refused(model, banks, message):
    with assert_restores_model(model), pytest.raises(FamilyError, match=message):
        probe_experts(model, banks, moe_tokens(), moe_tokens(seed=1))


def test_experts_in_a_list_pass_without_a_law():
    model = listed_moe()
    banks = find_experts(model)
    with assert_restores_model(model):
        found = probe_experts(model, banks, moe_tokens(), moe_tokens(seed=1))
    assert not found.laws
    assert set(found.lawless) == {bank.place.path for bank in banks}


def test_another_layers_router_is_seen_through():
    model = tiny_moe("olmoe")
    first, second = find_experts(model)
    mixed = (replace(first, router=second.router), second)
    _refused(model, mixed, r"^model.layers.0.mlp.experts: turning its experts and the")


def test_experts_that_are_used_otherwise_than_said_are_seen_through():
    model = tiny_moe("olmoe")
    block = model.model.layers[1].mlp
    own = type(block.experts).forward

    def next_expert(states, chosen, weights):
        return own(block.experts, states, (chosen + 1) % 6, weights)

    block.experts.forward = next_expert
    _refused(
        model, find_experts(tiny_moe("olmoe")), r"^model.layers.1.mlp.experts#expert.\d"
    )


def test_a_tensor_that_is_left_out_is_seen_through():
    model = tiny_moe("gpt_oss")
    banks = find_experts(model)
    short = tuple(replace(bank, tensors=bank.tensors[:2]) for bank in banks)
    _refused(model, short, r"turning its experts and the rows of")


def test_logits_that_are_no_numbers_are_refused():
    model = tiny_moe("olmoe")
    model.model.norm.weight.data[0] = torch.nan
    _refused(model, find_experts(model), r"^the model's logits are not finite")


def test_the_training_mode_of_every_module_comes_back():
    model = tiny_moe("olmoe").train()
    model.model.layers[0].eval()
    with assert_restores_model(model):
        probe_experts(model, find_experts(model), moe_tokens(), moe_tokens(seed=1))


@pytest.mark.parametrize(("count", "chosen"), [(1, 1), (4, 4)])
def test_one_expert_and_all_experts_are_a_bank_too(count, chosen):
    torch.manual_seed(0)
    sizes = {"num_experts": count, "num_experts_per_tok": chosen}
    config = CONFIG_MAPPING["olmoe"](**{**moe_config("olmoe").to_dict(), **sizes})
    model = AutoModelForCausalLM.from_config(config).eval()
    banks = find_experts(model)
    assert {bank.place.num_experts for bank in banks} == {count}
    with assert_restores_model(model):
        found = probe_experts(model, banks, moe_tokens(), moe_tokens(seed=1))
    assert len(found.laws) == 2
