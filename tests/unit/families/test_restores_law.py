"""Does the law notice every trace it promises to notice?"""

import pytest
import torch

from laws.restores import assert_restores_model
from tiny import tiny_llama


def hook(model):
    model.model.layers[0].register_forward_hook(lambda *_: None)


def parameter_hook(model):
    model.lm_head.weight.register_hook(lambda grad: grad)


def last_bit(model):
    model.lm_head.weight.data.view(torch.int32)[0, 0] ^= 1


def mode(model):
    model.model.layers[0].train()


def gradient(model):
    model.lm_head.weight.grad = torch.zeros_like(model.lm_head.weight)


def freezing(model):
    model.lm_head.weight.requires_grad_(False)


def another_module(model):
    model.model.layers[0].mlp = torch.nn.Identity()


@pytest.mark.parametrize(
    ("trace", "kind"),
    [
        (hook, "hooks"),
        (parameter_hook, "parameter hooks"),
        (last_bit, "bytes"),
        (mode, "training mode"),
        (gradient, "grad"),
        (freezing, "requires_grad"),
        (another_module, "modules"),
    ],
)
def test_each_trace_is_noticed(trace, kind):
    model = tiny_llama()
    with (
        pytest.raises(AssertionError, match=f"^{kind} changed at"),
        assert_restores_model(model),
    ):
        trace(model)


def test_a_nan_that_stays_is_no_change():
    model = tiny_llama()
    model.lm_head.weight.data[0, 0] = torch.nan
    with assert_restores_model(model):
        model(torch.tensor([[1, 2]]))
