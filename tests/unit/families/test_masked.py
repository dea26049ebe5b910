import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn

from driftmap.core.places import RowBlocks, Site
from driftmap.families import masked
from driftmap.families.masked import (
    FrozenEntries,
    mask_adapter,
    masked_product,
    module_entries,
    site_entries,
)
from driftmap.families.matrices import effective_weight

SCALE = 0.7


def operands(num_tokens=5, num_rows=6, num_columns=7, rank=3, share=0.4):
    torch.manual_seed(0)
    x, down, up = (
        torch.randn(*shape, dtype=torch.float64, requires_grad=True)
        for shape in ((num_tokens, num_columns), (rank, num_columns), (num_rows, rank))
    )
    mask = torch.rand(num_rows, num_columns) < share
    return x, down, up, mask


def entries(mask):
    return FrozenEntries(
        index=mask.flatten().nonzero()[:, 0],
        num_rows=mask.shape[0],
        num_columns=mask.shape[1],
    )


@pytest.mark.parametrize("block", [1, 15, 2**24])
@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_values_are_the_adapters_less_what_passes_frozen_entries(
    monkeypatch, block, share
):
    monkeypatch.setattr(masked, "BLOCK_ENTRIES", block)
    x, down, up, mask = operands(share=share)
    y = masked_product(x, down, up, SCALE, entries(mask))
    expected = SCALE * (x @ down.T) @ up.T
    for t in range(len(x)):
        for i, j in mask.nonzero().tolist():
            expected[t, i] -= x[t, j] * SCALE * (up[i] @ down[:, j])
    assert (y - expected).abs().max() <= 1e-14


@pytest.mark.parametrize("block", [1, 15, 2**24])
def test_gradients_are_those_of_the_dense_form(monkeypatch, block):
    monkeypatch.setattr(masked, "BLOCK_ENTRIES", block)
    x, down, up, mask = operands()
    towards = torch.randn(len(x), len(up), dtype=torch.float64)
    masked_product(x, down, up, SCALE, entries(mask)).backward(towards)
    found = [t.grad.clone() for t in (x, down, up)]
    for t in (x, down, up):
        t.grad = None
    free = torch.where(mask, 0.0, 1.0).double()
    (x @ (SCALE * (up @ down) * free).T).backward(towards)
    for got, t in zip(found, (x, down, up), strict=True):
        assert (got - t.grad).abs().max() <= 1e-14


def test_more_axes_of_tokens_pass_through():
    x, down, up, mask = operands(num_tokens=6)
    flat = masked_product(x, down, up, SCALE, entries(mask))
    y = masked_product(x.reshape(2, 3, 7), down, up, SCALE, entries(mask))
    assert torch.equal(y.reshape(6, 6), flat)


class Lone(nn.Module):
    """One linear map, so that PEFT has something to wrap."""

    def __init__(self):
        super().__init__()
        self.map = nn.Linear(7, 6)

    def forward(self, x):
        return self.map(x)


SITE = Site(path="map", layer=0, part="q", num_rows=6, num_columns=7)


def masked_map(mask, dtype=torch.float32, dropout=0.0):
    torch.manual_seed(1)
    model = Lone().to(dtype)
    config = LoraConfig(r=3, lora_alpha=6, target_modules=["map"], lora_dropout=dropout)
    wrapped = get_peft_model(model, config)
    layer = wrapped.base_model.model.map
    torch.nn.init.normal_(layer.lora_B["default"].weight)
    mask_adapter(layer, "default", entries(mask).index.numpy())
    return wrapped, layer


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_effective_weight_is_the_base_at_frozen_entries_bit_for_bit(dtype):
    mask = operands()[3]
    wrapped, layer = masked_map(mask, dtype)
    base = layer.base_layer.weight.detach().float()
    change = layer.lora_B["default"].weight @ layer.lora_A["default"].weight * 2
    found = effective_weight(wrapped, SITE)
    assert torch.equal(found[mask], base[mask])
    assert torch.equal(found[~mask], (base + change)[~mask])
    assert not torch.equal(found, base)


def test_map_runs_on_its_effective_weight():
    wrapped, layer = masked_map(operands()[3])
    x = torch.randn(4, 7)
    expected = x @ effective_weight(wrapped, SITE).T + layer.base_layer.bias
    assert torch.allclose(wrapped(x), expected, atol=1e-6)


def test_dropped_inputs_are_dropped_at_frozen_entries_too():
    # Everything is frozen: whatever is dropped, nothing is added.
    wrapped, layer = masked_map(torch.ones(6, 7, dtype=torch.bool), dropout=0.5)
    x = torch.randn(4, 7)
    assert torch.equal(wrapped.train()(x), layer.base_layer(x))


def test_fused_map_is_run_whole_and_read_in_parts():
    mask = torch.zeros(6, 7, dtype=torch.bool)
    mask[4, 2] = True
    wrapped, layer = masked_map(mask)
    halves = [
        Site(
            path="map",
            layer=0,
            part=part,
            num_rows=3,
            num_columns=7,
            split=RowBlocks(start=start, length=3, stride=3, count=1),
        )
        for part, start in (("q", 0), ("k", 3))
    ]
    base = layer.base_layer.weight
    moved = torch.cat([effective_weight(wrapped, half) for half in halves]) != base
    assert torch.equal(~moved, mask)


def test_entries_of_fused_maps_there_and_back():
    # Rows of a head-wise fused map: q takes 0 1 6 7, k takes 2 3 8 9.
    q, k = (
        Site(
            path="map",
            layer=0,
            part=part,
            num_rows=4,
            num_columns=3,
            split=RowBlocks(start=start, length=2, stride=6, count=2),
        )
        for part, start in (("q", 0), ("k", 2))
    )
    members = {q: np.array([0, 7]), k: np.array([2, 11])}
    whole = module_entries(members)
    assert whole["map"].tolist() == [0, 8, 19, 29]
    assert site_entries(whole["map"], q).tolist() == [0, 7]
    assert site_entries(whole["map"], k).tolist() == [2, 11]
    assert module_entries({q: np.array([], dtype=np.int64)}) == {}
