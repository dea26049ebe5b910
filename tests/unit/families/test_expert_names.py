import pytest
import torch
from transformers import AutoModelForCausalLM

from driftmap.core.errors import FamilyError
from driftmap.families.expert_names import hub_pieces, hub_router_names, hub_views
from driftmap.families.experts import find_experts
from listed_experts import listed_moe
from tiny_experts import moe_config, tiny_moe


@pytest.mark.parametrize(
    ("family", "names"),
    [
        (
            "olmoe",
            [f"mlp.experts.3.{part}_proj.weight" for part in ("gate", "up", "down")],
        ),
        (
            "mixtral",
            [f"block_sparse_moe.experts.3.{w}.weight" for w in ("w1", "w3", "w2")],
        ),
        (
            "gpt_oss",
            [
                f"mlp.experts.{part}_proj{kind}[3]"
                for part in ("gate_up", "down")
                for kind in ("", "_bias")
            ],
        ),
        (
            "granitemoe",
            [f"block_sparse_moe.{way}_linear.weight[3]" for way in ("input", "output")],
        ),
        (
            "jamba",
            [
                f"feed_forward.experts.3.{part}_proj.weight"
                for part in ("gate", "up", "down")
            ],
        ),
    ],
)
def test_an_experts_tensors_are_called_as_on_the_hub(family, names):
    model = tiny_moe(family)
    bank = find_experts(model)[-1]
    found = [piece.name for piece in hub_pieces(model, bank)[3]]
    assert found == [f"model.layers.1.{name}" for name in names]


def test_names_need_no_numbers():
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(moe_config("mixtral"))
    bank = find_experts(model)[0]
    full = tiny_moe("mixtral")
    assert hub_pieces(model, bank) == hub_pieces(full, bank)


def test_a_loaded_model_has_the_names_of_its_files(tmp_path):
    model = tiny_moe("mixtral")
    bank = find_experts(model)[0]
    model.save_pretrained(tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert hub_pieces(loaded, find_experts(loaded)[0]) == hub_pieces(model, bank)


def test_gate_and_up_are_not_mixed_up():
    model = tiny_moe("mixtral")
    bank = find_experts(model)[0]
    views = hub_views(model, bank, hub_pieces(model, bank), 5)
    w1 = views["model.layers.0.block_sparse_moe.experts.5.w1.weight"]
    assert torch.equal(w1, model.model.layers[0].mlp.experts.gate_up_proj[5, :12])


def test_copying_into_views_puts_an_expert_back():
    model = tiny_moe("gpt_oss")
    bank = find_experts(model)[1]
    before = {name: p.clone() for name, p in model.named_parameters()}
    pieces = hub_pieces(model, bank)
    kept = {n: view.clone() for n, view in hub_views(model, bank, pieces, 2).items()}
    for view in hub_views(model, bank, pieces, 2).values():
        view.add_(1.0)
    for name, view in hub_views(model, bank, pieces, 2).items():
        view.copy_(kept[name])
    assert all(torch.equal(p, before[n]) for n, p in model.named_parameters())


def test_experts_in_a_list_keep_their_names():
    model = listed_moe()
    bank = find_experts(model)[0]
    names = [piece.name for piece in hub_pieces(model, bank)[1]]
    assert names == [
        f"model.layers.0.mlp.experts.1.{part}_proj.weight"
        for part in ("gate", "up", "down")
    ]


def test_a_routers_parameters_are_called_as_on_the_hub():
    model = tiny_moe("mixtral")
    router = find_experts(model)[0].router
    own, named = "model.layers.0.mlp.gate", "model.layers.0.block_sparse_moe.gate"
    assert hub_router_names(model, router) == {f"{own}.weight": f"{named}.weight"}


def test_rows_that_files_mix_are_refused():
    config = moe_config("inkling2_text")
    config.n_routed_experts = 6
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    with pytest.raises(
        FamilyError,
        match=r"^model.layers.0.mlp.experts: in files, model.llm.layers.0.mlp.experts."
        r"w13_weight, .* hold no piece that is all of expert 0's, so single experts",
    ):
        hub_pieces(model, find_experts(model)[0])
