"""A twin has a model's weights, and what is done to one stays in the one."""

import torch
from torch import nn

from driftmap.load.twin import twin
from tiny import tiny_llama

IDS = torch.tensor([[5, 6, 7]])


def test_a_twin_says_the_same_and_takes_no_memory():
    model = tiny_llama()
    other = twin(model)
    assert torch.equal(other(IDS).logits, model(IDS).logits)
    pairs = zip(model.parameters(), other.parameters(), strict=True)
    assert all(a.data_ptr() == b.data_ptr() and a is not b for a, b in pairs)


def test_an_exchanged_weight_stays_in_one_of_the_two():
    model = tiny_llama()
    before = model(IDS).logits
    other = twin(model)
    mlp = other.model.layers[0].mlp
    mlp.down_proj.weight.data = torch.zeros_like(mlp.down_proj.weight)
    mlp.up_proj = nn.Linear(16, 32)
    assert torch.equal(model(IDS).logits, before)
    assert not torch.equal(other(IDS).logits, before)


def test_tied_weights_stay_tied():
    model = tiny_llama()
    model.lm_head.weight = model.model.embed_tokens.weight
    other = twin(model)
    assert other.lm_head.weight is other.model.embed_tokens.weight
