import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model

from driftmap.core.errors import MeasureError, ModelError
from driftmap.families.discover import find_layout
from driftmap.families.matrices import effective_weight, site_weight
from driftmap.intervene.editing import change_norms, edited, of_equal_norm
from driftmap.intervene.regions import (
    Region,
    column_regions,
    module_regions,
    neuron_regions,
    row_regions,
)
from driftmap.intervene.weights import (
    disturbed,
    keep_only,
    noise,
    restore,
    scale,
    scaled,
    taken_from,
    zero,
)
from driftmap.results.groups import GroupOrigin, WeightGroup
from laws.restores import assert_restores_model
from tiny import tiny_llama
from tiny_families import FAMILY_NAMES, tiny_family, tiny_tokens

ORIGIN = GroupOrigin(model_sha256="m", base_sha256="m", rule="top")


def a_group(model, *, every=5):
    """Every fifth weight of every matrix but the second."""
    sites = find_layout(model).sites
    return WeightGroup(
        name="some",
        members={
            site: np.arange(0, site.num_weights, every)
            for number, site in enumerate(sites)
            if number != 1
        },
        origin=ORIGIN,
    )


def adapted(name="llama", seed=0, **settings):
    """A model with random adapters on every map of its blocks."""
    model = tiny_family(name)
    layout = find_layout(model)
    torch.manual_seed(seed)
    config = LoraConfig(
        r=3,
        lora_alpha=6,
        target_modules=sorted({site.path for site in layout.sites}),
        fan_in_fan_out=layout.sites[0].transposed,
        **settings,
    )
    wrapped = get_peft_model(model, config).eval()
    with torch.no_grad():
        for parameter_name, parameter in wrapped.named_parameters():
            if "lora_" in parameter_name:
                parameter.copy_(torch.randn_like(parameter) * 0.2)
    return wrapped


def logits(model):
    with torch.no_grad():
        return model(input_ids=tiny_tokens(), use_cache=False).logits


def expected_entries(group, site, before, change):
    """What one flat loop over the group's entries makes of a matrix."""
    flat = before.clone().reshape(-1).tolist()
    for index in group.at(site).tolist():
        flat[index] = change(flat[index])
    return torch.tensor(flat, dtype=before.dtype).reshape(before.shape)


@pytest.mark.parametrize("name", [*FAMILY_NAMES, "gpt_bigcode_by_head"])
def test_zeros_stand_where_the_group_is_and_nowhere_else(name):
    model = tiny_family(name)
    group = a_group(model)
    before = {s: site_weight(model, s).clone() for s in find_layout(model).sites}
    with assert_restores_model(model), zero(model, group):
        for site, weight in before.items():
            expected = expected_entries(group, site, weight, lambda value: 0.0)
            assert torch.equal(site_weight(model, site), expected)


def test_scaling_multiplies_the_groups_entries_alone():
    model = tiny_llama()
    group = a_group(model)
    before = {s: site_weight(model, s).clone() for s in find_layout(model).sites}
    with assert_restores_model(model), scale(model, group, -0.5):
        for site, weight in before.items():
            expected = expected_entries(group, site, weight, lambda value: -0.5 * value)
            assert torch.equal(site_weight(model, site), expected)


def test_zero_and_keep_only_split_every_matrix():
    model = tiny_llama()
    group = a_group(model)
    sites = find_layout(model).sites
    before = {site: site_weight(model, site).clone() for site in sites}
    with zero(model, group):
        without = {site: site_weight(model, site).clone() for site in sites}
    with assert_restores_model(model), keep_only(model, group, sites):
        for site in sites:
            alone = site_weight(model, site)
            assert torch.equal(alone + without[site], before[site])
            assert not torch.any((alone != 0) & (without[site] != 0))
        assert not torch.any(site_weight(model, sites[1]))


def test_keep_only_refuses_a_target_outside_its_matrices():
    model = tiny_llama()
    sites = find_layout(model).sites
    with (
        pytest.raises(MeasureError, match="is none of the 3 matrices"),
        keep_only(model, module_regions(sites), sites[:3]),
    ):
        pass


def test_restoring_takes_the_groups_values_from_the_other_model():
    model, other = tiny_llama(), tiny_llama(seed=1)
    group = a_group(model)
    with (
        assert_restores_model(model),
        restore(model, group, lambda site: site_weight(other, site)),
    ):
        for site in find_layout(model).sites:
            flat = site_weight(model, site).reshape(-1)
            theirs = site_weight(other, site).reshape(-1)
            inside = set(group.at(site).tolist())
            equal = (flat == theirs).tolist()
            assert equal == [number in inside for number in range(len(equal))]


def test_shuffling_keeps_the_values_of_each_matrix():
    model = tiny_llama()
    group = a_group(model)
    sites = find_layout(model).sites
    before = {site: site_weight(model, site).clone() for site in sites}
    with assert_restores_model(model), noise(model, group, seed=0, kind="shuffle"):
        for site in sites:
            index = torch.from_numpy(group.at(site))
            old, new = (
                m.reshape(-1)[index] for m in (before[site], site_weight(model, site))
            )
            assert torch.equal(old.sort().values, new.sort().values)
            assert site is sites[1] or not torch.equal(old, new)


def test_gaussian_noise_has_the_spread_of_the_groups_own_values():
    model = tiny_llama(hidden=64)
    site = find_layout(model).sites[0]
    region = {site: Region(weights=np.arange(0, site.num_weights, 2))}
    before = site_weight(model, site).clone()
    with noise(model, region, seed=3):
        change = (site_weight(model, site) - before).reshape(-1)
    assert not torch.any(change[1::2])
    spread = before.reshape(-1)[::2].std(correction=0)
    assert change[::2].std() == pytest.approx(float(spread), rel=0.05)
    assert change[::2].mean().abs() < 0.1 * spread


def test_noise_follows_the_seed_and_not_the_order_of_matrices():
    model = tiny_llama()
    sites = find_layout(model).sites
    forward = module_regions(sites)
    backward = dict(reversed(forward.items()))
    seen = []
    for regions, seed in ((forward, 0), (backward, 0), (forward, 1)):
        with noise(model, regions, seed):
            seen.append(logits(model))
    assert torch.equal(seen[0], seen[1])
    assert not torch.equal(seen[0], seen[2])


@pytest.mark.parametrize("name", ["llama", "gpt2", "gpt_neox", "phi3"])
def test_on_an_adapted_model_the_sum_of_weight_and_adapter_is_changed(name):
    model = adapted(name)
    group = a_group(model)
    sites = find_layout(model).sites
    merged = {site: effective_weight(model, site) for site in sites}
    with assert_restores_model(model):
        before = logits(model)
        with zero(model, group):
            for site, weight in merged.items():
                expected = expected_entries(group, site, weight, lambda value: 0.0)
                assert torch.equal(effective_weight(model, site), expected)
            assert not torch.allclose(logits(model), before, atol=1e-3)
        assert torch.equal(logits(model), before)


def test_an_adapted_model_computes_what_the_merged_one_does():
    model, merged = adapted(), adapted().merge_and_unload()
    group = a_group(model)
    with zero(model, group), zero(merged, group):
        torch.testing.assert_close(logits(model), logits(merged))


def test_a_whole_matrix_of_an_adapted_model_gives_exactly_nothing():
    model = adapted()
    site = find_layout(model).sites[0]
    seen = []
    module = model.get_base_model().get_submodule(site.path)
    handle = module.register_forward_hook(lambda m, i, out: seen.append(out))
    with zero(model, module_regions([site])):
        logits(model)
    handle.remove()
    assert not torch.any(seen[0])


def test_restoring_an_adapted_model_to_its_base_undoes_the_adapter_there():
    model = adapted()
    sites = find_layout(model).sites
    base = {site: site_weight(model, site).clone() for site in sites}
    with model.disable_adapter():
        untuned = logits(model)
    with restore(model, module_regions(sites), base.__getitem__):
        assert torch.equal(logits(model), untuned)


def test_interventions_nest_and_come_off_in_turn():
    model = adapted()
    sites = find_layout(model).sites
    group = a_group(model)
    with assert_restores_model(model), scale(model, group, 2.0):
        doubled = {site: effective_weight(model, site) for site in sites}
        with zero(model, module_regions(sites, layers=[0])):
            assert not torch.any(effective_weight(model, sites[0]))
        for site in sites:
            assert torch.equal(effective_weight(model, site), doubled[site])


@pytest.mark.parametrize("make", [tiny_llama, adapted])
def test_an_error_inside_the_block_leaves_no_trace(make):
    model = make()
    with (
        assert_restores_model(model),
        pytest.raises(RuntimeError, match="on purpose"),
        zero(model, a_group(model)),
    ):
        raise RuntimeError("on purpose")


@pytest.mark.parametrize("make", [tiny_llama, adapted])
def test_an_error_half_way_in_leaves_no_trace(make):
    model = make()
    sites = find_layout(model).sites

    def breaks(site, weight):
        if site == sites[5]:
            raise RuntimeError("half way")
        return torch.zeros_like(weight)

    with (
        assert_restores_model(model),
        pytest.raises(RuntimeError, match="half way"),
        edited(model, module_regions(sites), breaks),
    ):
        pass


def test_nan_infinities_and_negative_zeros_come_back_bit_by_bit():
    model = tiny_llama().to(torch.bfloat16)
    site = find_layout(model).sites[0]
    odd = [float("nan"), float("inf"), -0.0, 1e-40]
    with torch.no_grad():
        site_weight(model, site).view(-1)[:4] = torch.tensor(odd, dtype=torch.bfloat16)
    with assert_restores_model(model), zero(model, module_regions([site])):
        assert not torch.any(site_weight(model, site))


def test_a_value_that_is_not_finite_is_refused():
    model = tiny_llama()
    with (
        assert_restores_model(model),
        pytest.raises(MeasureError, match=r"not finite in torch.float32; change less"),
        scale(model, a_group(model), 1e300),
    ):
        pass


def test_a_group_of_a_larger_model_is_refused():
    model = tiny_llama()
    site = find_layout(model).sites[0]
    region = {site: Region(weights=np.array([0, site.num_weights]))}
    message = rf"weight {site.num_weights} is outside its {site.num_weights} weights"
    with pytest.raises(MeasureError, match=message), zero(model, region):
        pass


def test_an_adapter_with_a_bias_is_refused():
    model = adapted("gpt2", lora_bias=True)
    with (
        assert_restores_model(model),
        pytest.raises(ModelError, match="adapter default has a bias of its own"),
        zero(model, a_group(model)),
    ):
        pass


def test_rows_and_columns_are_those_of_the_matrix():
    model = tiny_family("gpt2")  # stored transposed, three parts in one module
    key = next(s for s in find_layout(model).sites if s.part == "k")
    with zero(model, row_regions(key, [1])):
        assert (site_weight(model, key) == 0).all(1).nonzero().tolist() == [[1]]
        stored = model.transformer.h[0].attn.c_attn.weight
        assert (stored == 0).all(0).nonzero().tolist() == [[16 + 1]]
    with zero(model, column_regions(key, [2])):
        assert (site_weight(model, key) == 0).all(0).nonzero().tolist() == [[2]]
        assert (stored[2] == 0).nonzero().tolist() == [[i] for i in range(16, 32)]


def test_a_neuron_without_its_weights_says_nothing():
    model = tiny_llama()
    layout = find_layout(model)
    down = next(s for s in layout.sites if s.part == "down" and s.layer == 1)
    seen = []
    module = model.get_submodule(down.path)
    handle = module.register_forward_hook(lambda m, given, out: seen.append(given[0]))
    logits(model)
    with zero(model, neuron_regions(layout.sites, 1, [3, 7])):
        logits(model)
        assert not torch.any(site_weight(model, down)[:, [3, 7]])
    handle.remove()
    changed = (seen[0] != seen[1]).flatten(0, 1).any(0).nonzero().flatten()
    assert changed.tolist() == [3, 7]
    assert not torch.any(seen[1][..., [3, 7]])


def test_neurons_of_a_layer_that_is_not_there_are_refused():
    sites = find_layout(tiny_llama()).sites
    with pytest.raises(MeasureError, match="layer 9: no matrix of an MLP is there"):
        neuron_regions(sites, 9, [0])


def test_edits_can_be_stretched_to_the_same_size_of_change():
    model, other = tiny_llama(), tiny_llama(seed=1)
    sites = find_layout(model).sites
    ours = {s: Region(weights=np.arange(0, s.num_weights, 7)) for s in sites}
    theirs = {s: Region(weights=np.arange(1, s.num_weights, 7)) for s in sites}
    from_other = taken_from(lambda site: site_weight(other, site))
    norms = change_norms(model, ours, from_other)
    stretched = of_equal_norm(disturbed(theirs, 0, "gaussian"), theirs, norms)
    for site in sites:
        before = site_weight(model, site).double()
        inside = theirs[site].mask(site)
        change = stretched(site, site_weight(model, site)) - before
        assert not torch.any(change[~inside])
        assert float(change.norm()) == pytest.approx(norms[site], rel=1e-6)
        old = site_weight(other, site).double().reshape(-1)[::7]
        expected = (old - before.reshape(-1)[::7]).norm()
        assert norms[site] == pytest.approx(float(expected), rel=1e-6)


def test_an_edit_that_changes_nothing_is_not_stretched():
    model = tiny_llama()
    regions = module_regions(find_layout(model).sites)
    norms = dict.fromkeys(regions, 1.0)
    with edited(model, regions, of_equal_norm(scaled(1.0), regions, norms)):
        with_it = logits(model)
    assert torch.equal(with_it, logits(model))
