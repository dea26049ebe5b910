import pytest
import torch

from driftmap.core.errors import FamilyError
from driftmap.families.discover import find_layout
from driftmap.families.expert_tensors import expert_views
from driftmap.families.matrices import effective_weight, set_site_weight, site_weight
from driftmap.families.tensors import find_tensors
from tiny_experts import tiny_moe

KINDS = ("olmoe", "mixtral", "gpt_oss", "deepseek_v3")


@pytest.mark.parametrize("family", KINDS)
def test_every_weight_of_a_bank_is_one_site_s(family):
    model = tiny_moe(family)
    layout = find_layout(model)
    for bank in layout.banks:
        sites = [site for site in layout.sites if site.path == bank.place.path]
        assert [site.expert for site in sites] == [
            expert for expert in range(bank.place.num_experts) for _ in range(3)
        ]
        assert [site.part for site in sites[:3]] == ["gate", "up", "down"]
        assert sites[4].key == f"{bank.place.path}#expert.1.up"
        for site in sites:
            views = expert_views(model, bank, site.expert)
            assert torch.equal(site_weight(model, site), views[site.part])


@pytest.mark.parametrize("family", KINDS)
def test_routers_are_sites_of_their_own(family):
    model = tiny_moe(family)
    layout = find_layout(model)
    routers = [site for site in layout.sites if site.part == "router"]
    assert [site.path for site in routers] == [b.router.path for b in layout.banks]
    for site, bank in zip(routers, layout.banks, strict=True):
        weight = model.get_parameter(bank.router.weight)
        assert torch.equal(site_weight(model, site), weight)
        assert site.key == bank.router.path


@pytest.mark.parametrize("family", KINDS)
def test_writing_an_expert_s_matrix_changes_that_alone(family):
    model = tiny_moe(family)
    layout = find_layout(model)
    before = {site: site_weight(model, site).clone() for site in layout.sites}
    (site,) = [s for s in layout.sites if s.key.endswith("#expert.3.up") and s.layer]
    set_site_weight(model, site, torch.ones(site.shape))
    assert torch.equal(effective_weight(model, site), torch.ones(site.shape))
    for other, weight in before.items():
        assert torch.equal(site_weight(model, other), weight) == (other != site)


def test_only_latent_attention_is_left_out_of_deepseek():
    layout = find_layout(tiny_moe("deepseek_v3"))
    assert {name.split(".")[3] for name in layout.uncovered} == {"self_attn"}
    assert find_layout(tiny_moe("gpt_oss")).uncovered == ()


def test_a_site_of_another_model_is_refused():
    site = next(s for s in find_layout(tiny_moe("olmoe")).sites if s.expert == 5)
    message = (
        r"^model.layers.0.mlp.experts#expert.5.gate: the model's gate_up_proj is "
        r"\[6, 16, 24\], the site asks for \[24, 16\]; was it found in another model\?$"
    )
    with pytest.raises(FamilyError, match=message):
        site_weight(tiny_moe("gpt_oss"), site)


def test_banks_that_no_one_else_can_run_stop_nothing():
    layout = find_layout(tiny_moe("longcat_flash"))
    assert layout.blocks == ("model.layers.0",)
    assert {site.part for site in layout.sites} == {"gate", "up", "down"}
    assert "model.layers.0.mlp.experts.down_proj" in layout.uncovered
    kinds = {rule.name: rule.kind for rule in find_tensors(tiny_moe("llama4_text"))}
    assert kinds["model.layers.0.feed_forward.router.weight"] == "other"
    assert kinds["model.layers.0.feed_forward.experts.down_proj"] == "other"
