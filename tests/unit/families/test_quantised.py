import importlib.util

import pytest
import torch
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel

from driftmap.core.errors import ModelError, UsageError
from driftmap.families.discover import find_layout
from driftmap.families.matrices import effective_weight, set_site_weight, site_weight
from driftmap.families.quantised import (
    BLOCK,
    four_bit,
    is_four_bit,
    known_to_peft,
    require_bitsandbytes,
)
from four_bit import needs_bitsandbytes, wide_llama
from tiny import tiny_llama

IDS = torch.tensor([[3, 4, 5, 6, 7]])

# Dettmers et al. 2023, appendix E.
NF4 = torch.tensor(
    [
        *(-1.0, -0.6961928, -0.5250731, -0.3949175, -0.2844414, -0.1847734),
        *(-0.0910500, 0.0, 0.0795803, 0.1609302, 0.2461123, 0.3379152),
        *(0.4407098, 0.5626170, 0.7229568, 1.0),
    ],
    dtype=torch.float64,
)


def dense(model):
    """The same model with plain maps of the weights that are read from it."""
    other = wide_llama().to(model.dtype)
    for site in find_layout(model).sites:
        set_site_weight(other, site, site_weight(model, site))
    return other


@needs_bitsandbytes
def test_every_block_holds_the_levels_of_nf4_nearest_to_its_weights():
    model = wide_llama()
    site = find_layout(model).sites[0]
    whole = site_weight(model, site).clone().double().view(-1, BLOCK)
    with four_bit(model):
        rounded = site_weight(model, site).double().view(-1, BLOCK)
    scale = whole.abs().amax(1, keepdim=True)
    gaps = (whole / scale)[..., None] - NF4
    nearest = NF4[gaps.abs().argmin(-1)]
    # The scales are rounded too, to within a few percent.
    kept = rounded.abs().amax(1, keepdim=True)
    torch.testing.assert_close(kept, scale, rtol=0.05, atol=0)
    torch.testing.assert_close(rounded / kept, nearest, rtol=1e-3, atol=1e-4)


@needs_bitsandbytes
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_four_bit_model_computes_with_the_weights_that_are_read(dtype):
    model = wide_llama().to(dtype)
    whole = model(IDS).logits
    with four_bit(model):
        found = model(IDS).logits
        expected = dense(model)(IDS).logits
    torch.testing.assert_close(found, expected, rtol=0.02, atol=0.02)
    assert (found - whole).abs().max() > 3 * (found - expected).abs().max()


@needs_bitsandbytes
def test_the_model_comes_back_with_every_bit_also_after_an_error():
    model = wide_llama()
    modules, before = [*model.modules()], model.state_dict()
    before = {name: tensor.clone() for name, tensor in before.items()}
    with pytest.raises(ZeroDivisionError), four_bit(model):
        1 // (not is_four_bit(model))
    assert [*model.modules()] == modules
    assert not is_four_bit(model)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name])


@needs_bitsandbytes
def test_maps_that_are_four_bit_already_stay():
    model = wide_llama()
    with four_bit(model):
        modules = [*model.modules()]
        with four_bit(model):
            assert [*model.modules()] == modules
        assert is_four_bit(model)


@needs_bitsandbytes
def test_embeddings_head_and_norms_keep_their_numbers():
    model = wide_llama()
    with four_bit(model):
        kept = {n for n, p in model.named_parameters() if p.is_floating_point()}
    paths = {site.path for site in find_layout(model).sites}
    assert kept == {
        name
        for name, _ in model.named_parameters()
        if name.removesuffix(".weight") not in paths
    }


@needs_bitsandbytes
def test_transposed_maps_with_biases_are_rounded_along_their_inputs():
    torch.manual_seed(0)
    model = GPT2LMHeadModel(
        GPT2Config(vocab_size=40, n_positions=16, n_embd=64, n_layer=1, n_head=2)
    ).eval()
    nn.init.normal_(model.transformer.h[0].attn.c_attn.bias)
    sites = find_layout(model).sites
    whole = {site: site_weight(model, site).clone() for site in sites}
    logits = model(IDS).logits
    with four_bit(model):
        for site in sites:
            rounded = site_weight(model, site)
            assert rounded.shape == site.shape
            assert 0 < (rounded - whole[site]).abs().max() < 0.2 * whole[site].max()
        assert 0 < (model(IDS).logits - logits).abs().max() < 0.2


@needs_bitsandbytes
def test_rounded_weights_cannot_be_overwritten():
    model = wide_llama()
    site = find_layout(model).sites[0]
    with four_bit(model):
        values = effective_weight(model, site)
        with pytest.raises(ModelError, match=r"q_proj: the weight is kept in 4 bits"):
            set_site_weight(model, site, values)


@needs_bitsandbytes
def test_a_matrix_that_comes_back_otherwise_is_refused():
    model = tiny_llama()
    modules = [*model.modules()]
    with (
        pytest.raises(ModelError, match=r"of 16 here, are no whole blocks of 64: use"),
        four_bit(model),
    ):
        pass
    assert [*model.modules()] == modules


@needs_bitsandbytes
def test_peft_is_told_for_a_moment_only():
    model = wide_llama()
    with known_to_peft(model):
        assert not hasattr(model, "is_loaded_in_4bit")
    with four_bit(model):
        with known_to_peft(model):
            assert model.is_loaded_in_4bit
        assert not hasattr(model, "is_loaded_in_4bit")


def test_missing_bitsandbytes_names_the_extra(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        UsageError,
        match=r"--tune qlora needs bitsandbytes.*`pip install 'driftmap\[qlora\]'`",
    ):
        require_bitsandbytes()
