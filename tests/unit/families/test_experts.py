import pytest
import torch
from transformers import AutoModelForCausalLM

from driftmap.core.errors import FamilyError
from driftmap.families.expert_tensors import expert_views, stored_views
from driftmap.families.experts import find_experts
from tiny import tiny_llama
from tiny_experts import moe_config, tiny_moe


def test_a_bank_names_its_place_its_tensors_and_its_router():
    (bank,) = find_experts(tiny_moe("deepseek_v3"))
    assert bank.place.path == "model.layers.1.mlp.experts"
    assert (bank.place.layer, bank.place.num_experts, bank.place.num_chosen) == (
        1,
        8,
        2,
    )
    assert [tensor.name for tensor in bank.tensors] == ["gate_up_proj", "down_proj"]
    assert bank.num_weights == 3 * 12 * 16
    assert bank.router.path == "model.layers.1.mlp.gate"
    assert bank.router.parameters == ("model.layers.1.mlp.gate.weight",)
    assert bank.router.selection_bias is not None
    assert bank.router.selection_bias.endswith("gate.e_score_correction_bias")
    assert bank.shared == ("model.layers.1.mlp.shared_experts",)


@pytest.mark.parametrize("family", ["olmoe", "mixtral", "qwen3_moe", "gpt_oss"])
def test_every_layer_has_a_bank(family):
    banks = find_experts(tiny_moe(family))
    assert [bank.place.layer for bank in banks] == [0, 1]


def test_a_model_without_weights_is_read_as_well():
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(moe_config("gpt_oss"))
    assert find_experts(model) == find_experts(tiny_moe("gpt_oss"))


def test_parts_are_the_rows_that_the_bank_gates():
    model = tiny_moe("gpt_oss")
    bank = find_experts(model)[0]
    module = model.model.layers[0].mlp.experts
    views = expert_views(model, bank, 3)
    assert torch.equal(views["gate"], module.gate_up_proj[3, :, ::2].T)
    assert torch.equal(views["up"], module.gate_up_proj[3, :, 1::2].T)
    assert torch.equal(views["up_bias"], module.gate_up_proj_bias[3, 1::2])
    assert torch.equal(views["down"], module.down_proj[3].T)


@pytest.mark.parametrize("family", ["olmoe", "gpt_oss"])
def test_writing_into_a_view_changes_that_expert_alone(family):
    model = tiny_moe(family)
    bank = find_experts(model)[1]
    before = {name: p.clone() for name, p in model.named_parameters()}
    for view in expert_views(model, bank, 2).values():
        view.zero_()
    for name, parameter in model.named_parameters():
        if name.startswith(bank.place.path):
            assert not parameter[2].any()
            before[name][2] = 0
        assert torch.equal(parameter, before[name])


def test_stored_views_are_contiguous_slices():
    model = tiny_moe("gpt_oss")
    views = stored_views(model, find_experts(model)[0], 1)
    parameter = model.model.layers[0].mlp.experts.gate_up_proj
    assert views["gate_up_proj"].data_ptr() == parameter[1].data_ptr()
    assert all(view.is_contiguous() for view in views.values())


def test_a_dense_model_has_no_experts():
    with pytest.raises(FamilyError, match=r"^LlamaForCausalLM has no experts; use"):
        find_experts(tiny_llama())
