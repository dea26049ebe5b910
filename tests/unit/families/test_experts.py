import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForImageTextToText
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from driftmap.families.expert_names import hub_pieces
from driftmap.families.expert_tensors import expert_views, stored_views
from driftmap.families.experts import find_experts
from listed_experts import listed_moe
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


@pytest.mark.parametrize(
    ("family", "sizes", "num_weights"),
    [
        (
            "olmoe",
            {"num_experts": 64, "intermediate_size": 1024, "num_hidden_layers": 2},
            6_291_456,
        ),
        (
            "qwen3_moe",
            {"num_experts": 128, "moe_intermediate_size": 768, "num_hidden_layers": 2},
            4_718_592,
        ),
    ],
)
def test_true_sizes_are_read_without_weights(family, sizes, num_weights):
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(CONFIG_MAPPING[family](**sizes))
    bank = find_experts(model)[0]
    assert bank.num_weights == num_weights
    assert bank.place.num_experts == sizes["num_experts"]
    assert len(hub_pieces(model, bank)) == sizes["num_experts"]


def test_a_layer_may_have_two_banks():
    config = CONFIG_MAPPING["ernie4_5_vl_moe"]()
    config.text_config.num_hidden_layers = 3
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(config)
    banks = find_experts(model)
    assert [bank.place.layer for bank in banks] == [1, 1, 2, 2]
    for bank, kind in zip(banks, ("text_moe", "vision_moe") * 2, strict=True):
        assert bank.place.path.endswith(f"mlp.{kind}.experts")
        assert bank.router.path.endswith(f"mlp.{kind}.gate")


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


def test_packed_experts_lie_below_each_other():
    model = tiny_moe("dbrx")
    bank = find_experts(model)[0]
    mlp = model.transformer.blocks[0].ffn.experts.mlp
    views = expert_views(model, bank, 2)
    assert torch.equal(views["gate"], mlp.w1[24:36])
    assert torch.equal(views["up"], mlp.v1[24:36])
    assert torch.equal(views["down"], mlp.w2[24:36].T)


def test_experts_in_a_list_are_a_bank_too():
    model = listed_moe()
    fused = tiny_moe("olmoe")
    for bank, same in zip(find_experts(model), find_experts(fused), strict=True):
        assert bank.place == same.place
        assert bank.members == ("0", "1", "2", "3", "4", "5")
        assert not bank.switchable
        assert not bank.told_choice
        views, others = expert_views(model, bank, 4), expert_views(fused, same, 4)
        assert views.keys() == others.keys()
        for part, view in views.items():
            assert torch.equal(view, others[part])


def test_a_list_of_different_modules_is_no_bank():
    model = listed_moe()
    model.model.layers[0].mlp.experts[1] = torch.nn.Identity()
    assert [bank.place.layer for bank in find_experts(model)] == [1]


def test_experts_that_every_token_sees_are_no_bank():
    model = tiny_moe("inkling_text")
    for bank in find_experts(model):
        assert bank.place.path.endswith("mlp.experts")
        assert bank.shared == (f"model.layers.{bank.place.layer}.mlp.shared_experts",)


@pytest.mark.parametrize(
    ("family", "weight"),
    [
        ("afmoe", "model.layers.1.mlp.router.gate.weight"),
        ("dbrx", "transformer.blocks.1.ffn.router.layer.weight"),
        ("gemma4_text", "model.layers.1.router.proj.weight"),
        ("hunyuan_v1_moe", "model.layers.1.mlp.gate.wg.weight"),
        ("longcat_flash", "model.layers.0.mlp.router.classifier.weight"),
    ],
)
def test_routers_are_found_wherever_they_are_kept(family, weight):
    router = find_experts(tiny_moe(family))[-1].router
    assert router.weight == weight
    assert router.parameters == (weight,)


@pytest.mark.parametrize(
    ("family", "bias"),
    [
        ("afmoe", "model.layers.1.mlp.expert_bias"),
        ("ernie4_5_moe", "mlp.gate.moe_statics.e_score_correction_bias"),
        ("gpt_oss", None),
        ("minimax_m2", "model.layers.1.mlp.e_score_correction_bias"),
    ],
)
def test_a_bias_for_the_choice_alone_is_told_from_the_routers_own(family, bias):
    router = find_experts(tiny_moe(family))[-1].router
    assert (router.selection_bias or "").endswith(bias or "")
    assert (router.selection_bias is None) == (bias is None)
    assert len(router.parameters) == (2 if family == "gpt_oss" else 1)


def test_a_scale_per_expert_is_found():
    router = find_experts(tiny_moe("gemma4_text"))[1].router
    assert router.expert_scale == "model.layers.1.router.per_expert_scale"


def test_a_bank_that_computes_by_itself_is_not_switchable():
    assert all(bank.switchable for bank in find_experts(tiny_moe("olmoe")))
    (bank, _) = find_experts(tiny_moe("llama4_text"))
    assert not bank.switchable
    assert not bank.told_choice
    assert bank.router.logits_output == 1
