import pytest
import torch
from peft import IA3Config, LoraConfig, get_peft_model
from torch import nn

from driftmap.core.errors import FamilyError, ModelError
from driftmap.core.places import Site
from driftmap.families.discover import find_layout
from driftmap.families.matrices import (
    effective_weight,
    set_site_weight,
    site_module,
    site_weight,
)
from driftmap.families.probe import probe
from laws.restores import assert_restores_model
from tiny import tiny_llama
from tiny_families import FAMILY_NAMES, tiny_family, tiny_tokens


def with_lora(model, *, seed=0, **settings):
    """Adapters on every linear map of the blocks, both factors random."""
    torch.manual_seed(seed)
    layout = find_layout(model)
    targets = sorted({site.path for site in layout.sites})
    config = LoraConfig(
        **{"r": 3, "lora_alpha": 6, "target_modules": targets} | settings
    )
    config.fan_in_fan_out = layout.sites[0].transposed
    adapted = get_peft_model(model, config)
    randomise(adapted)
    return adapted.eval()


def randomise(model) -> None:
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.copy_(torch.randn_like(parameter) * 0.2)


@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_sites_of_a_module_put_together_are_its_matrix(name):
    model = tiny_family(name)
    sites = find_layout(model).sites
    for path in {site.path for site in sites}:
        module = model.get_submodule(path)
        whole = torch.full_like(module.weight, torch.nan)
        whole = whole.T if sites[0].transposed else whole
        for site in sites:
            if site.path == path:
                rows = range(len(whole)) if site.split is None else site.split.rows()
                whole[list(rows)] = site_weight(model, site)
                assert site_weight(model, site).shape == site.shape
        expected = module.weight.T if sites[0].transposed else module.weight
        assert torch.equal(whole, expected)


@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_writing_reaches_the_site_and_nothing_else(name):
    model = tiny_family(name)
    sites = find_layout(model).sites
    kept = {site.key: site_weight(model, site).clone() for site in sites}
    for site in sites:
        values = torch.randn(site.shape)
        set_site_weight(model, site, values)
        for other in sites:
            expected = values if other is site else kept[other.key]
            assert torch.equal(site_weight(model, other), expected)
        set_site_weight(model, site, kept[site.key])


def test_a_weight_comes_in_the_models_own_dtype_and_without_gradient():
    model = tiny_llama().to(torch.bfloat16)
    site = find_layout(model).sites[0]
    weight = site_weight(model, site)
    assert weight.dtype == torch.bfloat16
    assert not weight.requires_grad
    effective = effective_weight(model, site)
    assert effective.dtype == torch.float32
    assert torch.equal(effective, weight.float())


def test_the_effective_weight_is_a_copy_also_in_float32():
    model = tiny_llama()
    site = find_layout(model).sites[0]
    with assert_restores_model(model):
        effective_weight(model, site).zero_()


@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_adapters_change_no_path_and_no_base_weight(name):
    model = tiny_family(name)
    layout = find_layout(model)
    kept = [site_weight(model, site).clone() for site in layout.sites]
    adapted = with_lora(model)
    assert find_layout(adapted) == layout
    assert find_layout(adapted.get_base_model()) == layout
    for site, weight in zip(layout.sites, kept, strict=True):
        assert torch.equal(site_weight(adapted, site), weight)
        outer = site_module(adapted, site)
        assert hasattr(outer, "lora_A")
        assert outer is site_module(adapted.get_base_model(), site)


@pytest.mark.parametrize("name", FAMILY_NAMES)
@pytest.mark.parametrize("rslora", [False, True])
def test_the_effective_weight_is_what_merging_writes(name, rslora):
    adapted = with_lora(tiny_family(name), use_rslora=rslora)
    layout = find_layout(adapted)
    with assert_restores_model(adapted):
        effective = [effective_weight(adapted, site) for site in layout.sites]
    for site, weight in zip(layout.sites, effective, strict=True):
        assert not torch.equal(weight, site_weight(adapted, site))
    merged = adapted.merge_and_unload()
    for site, weight in zip(layout.sites, effective, strict=True):
        torch.testing.assert_close(weight, site_weight(merged, site))


@pytest.mark.parametrize("name", ["llama", "gpt2", "gpt_neox"])
def test_what_an_adapter_adds_is_what_peft_says(name):
    adapted = with_lora(tiny_family(name))
    for site in find_layout(adapted).sites:
        module = site_module(adapted, site)
        delta = module.get_delta_weight("default").detach()
        delta = delta.T if site.transposed else delta
        delta = delta if site.split is None else delta[site.split.rows()]
        added = effective_weight(adapted, site) - site_weight(adapted, site)
        torch.testing.assert_close(added, delta, atol=1e-6, rtol=1e-5)


def test_bfloat16_factors_are_multiplied_in_float32():
    adapted = with_lora(tiny_llama()).to(torch.bfloat16)
    site = find_layout(adapted).sites[0]
    module = site_module(adapted, site)
    up, down = (
        factors["default"].weight.detach().float()
        for factors in (module.lora_B, module.lora_A)
    )
    expected = site_weight(adapted, site).float() + 2 * (up @ down)
    with assert_restores_model(adapted):
        assert torch.equal(effective_weight(adapted, site), expected)


def test_several_active_adapters_add_up_and_disabled_ones_add_nothing():
    adapted = with_lora(tiny_llama())
    adapted.add_adapter("other", LoraConfig(r=2, target_modules=["q_proj"]))
    randomise(adapted)
    q, down = find_layout(adapted).sites[0], find_layout(adapted).sites[6]
    deltas = {}
    for name in ("default", "other"):
        adapted.set_adapter(name)
        deltas[name] = effective_weight(adapted, q) - site_weight(adapted, q)
    assert torch.equal(effective_weight(adapted, down), site_weight(adapted, down))
    adapted.base_model.set_adapter(["default", "other"])
    both = effective_weight(adapted, q) - site_weight(adapted, q)
    torch.testing.assert_close(both, deltas["default"] + deltas["other"])
    with adapted.disable_adapter():
        assert torch.equal(effective_weight(adapted, q), site_weight(adapted, q))


def test_a_merged_adapter_is_in_the_effective_weight_once():
    adapted = with_lora(tiny_llama())
    site = find_layout(adapted).sites[0]
    effective = effective_weight(adapted, site)
    adapted.merge_adapter()
    torch.testing.assert_close(effective_weight(adapted, site), effective)
    message = (
        r"^model.layers.0.self_attn.q_proj: adapter default is merged into the "
        r"weight; call `unmerge_adapter\(\)` on the model first$"
    )
    with pytest.raises(ModelError, match=message):
        site_weight(adapted, site)
    with pytest.raises(ModelError, match=message):
        set_site_weight(adapted, site, torch.zeros(site.shape))
    site_module(adapted, site).enable_adapters(enabled=False)
    with pytest.raises(ModelError, match="is merged into the weight"):
        effective_weight(adapted, site)


def test_heads_and_embeddings_under_an_adapter_keep_their_paths():
    model = tiny_llama()
    layout = find_layout(model)
    config = LoraConfig(
        target_modules=["q_proj", "embed_tokens"], modules_to_save=["lm_head", "norm"]
    )
    assert find_layout(get_peft_model(model, config)) == layout


def test_the_probe_passes_under_an_adapter():
    adapted = with_lora(tiny_family("gpt_neox"))
    with assert_restores_model(adapted):
        probe(adapted, find_layout(adapted), tiny_tokens())


@pytest.mark.parametrize(
    "config",
    [
        LoraConfig(target_modules=["q_proj"], use_dora=True),
        IA3Config(target_modules=["q_proj"], feedforward_modules=[]),
        LoraConfig(target_modules=["v_proj"], modules_to_save=["q_proj"]),
    ],
    ids=["dora", "ia3", "trained in full"],
)
def test_other_adapters_than_plain_lora_are_refused(config):
    adapted = get_peft_model(tiny_llama(), config)
    site = find_layout(adapted).sites[0]
    assert site_weight(adapted, site).shape == site.shape
    with pytest.raises(ModelError, match=r"q_proj: its adapter .* is not plain LoRA"):
        effective_weight(adapted, site)


def test_a_site_of_another_model_is_refused():
    small, large = tiny_llama(), tiny_llama(hidden=32, layers=3)
    sites = find_layout(large).sites
    message = r"the model's module is \[16, 16\] \[out in\], the site asks for \[32, 32"
    with pytest.raises(FamilyError, match=message):
        site_weight(small, sites[0])
    with pytest.raises(FamilyError, match=r"has no module model.layers.2.self_attn"):
        site_module(small, sites[-7])
    norm = Site(path="model.norm", layer=0, part="norm", num_rows=1, num_columns=1)
    with pytest.raises(FamilyError, match="is a LlamaRMSNorm, no linear map"):
        site_module(small, norm)


def test_values_of_another_shape_or_dtype_are_refused():
    model = tiny_llama()
    site = find_layout(model).sites[1]
    message = r"got torch.float64 values of shape \[8, 16\], needs torch.float32 and \["
    with pytest.raises(ModelError, match=message):
        set_site_weight(model, site, torch.zeros(8, 16, dtype=torch.float64))
    with pytest.raises(ModelError, match=r"values of shape \[16, 8\], needs"):
        set_site_weight(model, site, torch.zeros(16, 8))


def test_weights_that_are_not_there_are_refused():
    model = tiny_llama()
    site = find_layout(model).sites[0]
    module = site_module(model, site)
    module.weight = nn.Parameter(module.weight.to("meta"))
    with pytest.raises(ModelError, match="q_proj: the weight is not in memory"):
        site_weight(model, site)
    packed = torch.zeros(128, 1, dtype=torch.uint8)
    module.weight = nn.Parameter(packed, requires_grad=False)
    with pytest.raises(
        ModelError, match=r"kept as torch.uint8; quantised weights have"
    ):
        effective_weight(model, site)
