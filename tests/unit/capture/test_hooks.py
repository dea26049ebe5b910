"""Do the context managers do what they say and undo it, also after an error?"""

import pytest
import torch
from torch import nn

from driftmap.capture.hooks import (
    frozen,
    leaf_input,
    one_attention_kernel,
    watching,
)
from laws.restores import assert_restores_model


class Block(nn.Module):
    """Calls its inner map with its input given by name."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(3, 3)

    def forward(self, hidden_states):
        return self.inner(input=hidden_states) * 2


def test_frozen_restores_which_parameters_are_trainable():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    model[1].weight.requires_grad_(False)
    with assert_restores_model(model), frozen(model):
        assert not any(p.requires_grad for p in model.parameters())
    with assert_restores_model(model), pytest.raises(TypeError), frozen(model):
        model(None)


def test_watching_sees_inputs_given_by_name_and_may_change_the_output():
    block, seen = Block(), []
    values = torch.randn(2, 3)
    plain = block(values)

    def double(index, inputs, output):
        seen.append((index, inputs))
        return output * 2

    with assert_restores_model(block), watching([block.inner], double):
        doubled = block(values)
    assert torch.equal(doubled, plain * 2)
    assert [index for index, _ in seen] == [0]
    assert seen[0][1] is values
    assert torch.equal(block(values), plain)


def test_watching_lets_go_after_an_error():
    block = Block()
    watched = watching([block, block.inner], lambda *_: 1 / 0)
    with assert_restores_model(block), pytest.raises(ZeroDivisionError), watched:
        block(torch.zeros(1, 3))


@pytest.mark.parametrize("by_name", [False, True])
def test_leaf_input_cuts_the_graph_below(by_name):
    below, block = nn.Linear(3, 3), Block()
    with assert_restores_model(block), frozen(block), leaf_input(block):
        hidden = below(torch.randn(2, 3))
        output = block(hidden_states=hidden) if by_name else block(hidden)
        output.sum().backward()
    assert output.requires_grad
    assert below.weight.grad is None
    assert block.inner.weight.grad is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_only_wide_models_give_up_fast_attention(dtype):
    before = torch.backends.cuda.flash_sdp_enabled()
    with one_attention_kernel(nn.Linear(2, 2, dtype=dtype)):
        fast = torch.backends.cuda.flash_sdp_enabled()
    assert fast == (before and dtype == torch.bfloat16)
    assert torch.backends.cuda.flash_sdp_enabled() == before
