from dataclasses import replace

import pytest
import torch

from driftmap.core.errors import FamilyError
from driftmap.core.places import RowBlocks
from driftmap.families.discover import find_layout
from driftmap.families.probe import probe
from laws.restores import assert_restores_model
from tiny import tiny_llama
from tiny_families import tiny_family, tiny_tokens


def test_a_matrix_the_model_does_not_use_is_named():
    model = tiny_llama()
    model.model.layers[1].mlp.down_proj.weight.data.zero_()
    with (
        assert_restores_model(model),
        pytest.raises(FamilyError, match=r"^model.layers.1.mlp.gate_proj: zeroing it "),
    ):
        probe(model, find_layout(model), tiny_tokens())


def test_a_single_token_tells_nothing_of_queries():
    model = tiny_llama()
    with pytest.raises(FamilyError, match=r"q_proj: zeroing it changes no logit, so"):
        probe(model, find_layout(model), torch.tensor([[5]]))


def test_the_training_mode_of_every_module_comes_back():
    model = tiny_llama().train()
    model.model.layers[0].eval()
    with assert_restores_model(model):
        probe(model, find_layout(model), tiny_tokens())


def test_half_precision_is_restored_bit_for_bit():
    model = tiny_family("gpt2").to(torch.bfloat16)
    with assert_restores_model(model):
        probe(model, find_layout(model), tiny_tokens())


def test_an_error_inside_a_forward_pass_restores_the_model():
    model = tiny_llama()
    layout = find_layout(model)
    calls = []

    def third_call_fails(*_):
        calls.append(1)
        if len(calls) == 3:
            raise RuntimeError("out of memory")

    hook = model.lm_head.register_forward_pre_hook(third_call_fails)
    with (
        assert_restores_model(model),
        pytest.raises(RuntimeError, match="out of memory"),
    ):
        probe(model, layout, tiny_tokens())
    hook.remove()


def test_logits_that_are_no_numbers_are_refused():
    model = tiny_llama()
    model.model.norm.weight.data[0] = torch.nan
    with pytest.raises(FamilyError, match=r"^the model's logits are not finite"):
        probe(model, find_layout(model), tiny_tokens())


@pytest.mark.parametrize(
    ("split", "message"),
    [
        (
            RowBlocks(start=0, length=15, stride=48, count=1),
            r"^transformer.h.0.attn.c_attn: row 15 belongs to none of q, k, v$",
        ),
        (
            RowBlocks(start=0, length=17, stride=48, count=1),
            r"^transformer.h.0.attn.c_attn: row 16 belongs twice to q, k, v$",
        ),
    ],
)
def test_rows_left_over_or_taken_twice_are_named(split, message):
    model = tiny_family("gpt2")
    layout = find_layout(model)
    first = replace(layout.sites[0], split=split, num_rows=split.length)
    with pytest.raises(FamilyError, match=message):
        probe(model, replace(layout, sites=(first, *layout.sites[1:])), tiny_tokens())


@pytest.mark.parametrize("field", ["embedding", "head"])
def test_a_path_that_leads_nowhere_is_named(field):
    model = tiny_llama()
    layout = replace(find_layout(model), **{field: "model.nowhere"})
    with pytest.raises(FamilyError, match=r"^model.nowhere: the model has no such"):
        probe(model, layout, tiny_tokens())


def test_shapes_are_checked_under_the_tests():
    from beartype.roar import BeartypeCallHintParamViolation as Violation
    from jaxtyping import TypeCheckError

    model = tiny_llama()
    with pytest.raises((Violation, TypeCheckError)):
        probe(model, find_layout(model), torch.zeros(3, dtype=torch.int64))
