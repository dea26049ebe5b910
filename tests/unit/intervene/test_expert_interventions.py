"""Experts go, or hold other values, for as long as a block runs."""

from dataclasses import replace

import pytest
import torch

from driftmap.core.errors import FamilyError, MeasureError
from driftmap.core.places import ExpertPlace
from driftmap.families.bank_calls import telling
from driftmap.families.expert_tensors import stored_views
from driftmap.families.experts import find_experts
from driftmap.intervene.experts import (
    ModelParts,
    ablated_experts,
    copied_parts,
    exchanged_parts,
)
from driftmap.intervene.replay import recorded_choices, replayed_choices
from laws.restores import assert_restores_model
from tiny_experts import moe_tokens, tiny_moe

FAMILIES = ("olmoe", "gpt_oss", "deepseek_v3")
TOKENS = moe_tokens(samples=2, tokens=4)


@pytest.fixture(scope="module", params=FAMILIES)
def model(request):
    return tiny_moe(request.param)


@pytest.fixture(scope="module")
def banks(model):
    return find_experts(model)


def logits(model, tokens=TOKENS, **more):
    with torch.no_grad():
        return model(input_ids=tokens, use_cache=False, **more).logits


def routing(model, banks):
    """What every bank is told, seen from outside."""
    seen = {}

    def see(bank, told):
        seen[bank.place.path] = told

    with telling(model, banks, see):
        logits(model)
    return seen


def test_an_ablated_expert_is_one_whose_last_map_gives_zeros(model, banks):
    bank = banks[-1]
    expert = bank.experts[int(routing(model, banks)[bank.place.path].chosen[0, 0])]
    whole = logits(model)
    with ablated_experts(model, banks, [expert]):
        without = logits(model)
    assert not torch.allclose(without, whole, atol=1e-3)
    views = stored_views(model, bank, expert.expert)
    last = [views[t.name] for t in bank.tensors if t.parts == ("down",)]
    kept = [view.clone() for view in last]
    for view in last:
        view.zero_()
    assert torch.allclose(without, logits(model), atol=1e-6)
    for view, before in zip(last, kept, strict=True):
        view.copy_(before)
    assert torch.equal(logits(model), whole)


def test_an_unvisited_expert_changes_no_bit(model, banks):
    bank, tokens = banks[0], TOKENS[:1, :1]
    seen = {}
    with telling(model, banks, lambda b, told: seen.update({b.place.path: told})):
        whole = logits(model, tokens)
    busy = set(seen[bank.place.path].chosen.flatten().tolist())
    expert = min(set(range(bank.place.num_experts)) - busy)
    with ablated_experts(model, banks, [bank.experts[expert]]):
        assert torch.equal(logits(model, tokens), whole)


def test_nothing_taken_changes_no_bit(model, banks):
    whole = logits(model)
    with ablated_experts(model, banks, []):
        assert torch.equal(logits(model), whole)


def test_other_slots_keep_their_weights(model, banks):
    bank = banks[-1]
    before = routing(model, banks)[bank.place.path]
    gone = int(before.chosen[0, 0])
    with ablated_experts(model, banks, [bank.experts[gone]]):
        after = routing(model, banks)[bank.place.path]
    assert torch.equal(after.chosen, before.chosen)
    there = before.chosen == gone
    assert bool(there.any())
    assert torch.equal(after.weights[~there], before.weights[~there])
    assert not after.weights[there].any()


def test_an_error_inside_puts_everything_back(model, banks):
    expert = banks[-1].experts[0]
    parts = copied_parts(model, banks, [expert], banks[0].router.parameters)
    with (
        assert_restores_model(model),
        pytest.raises(ZeroDivisionError),
        ablated_experts(model, banks, banks[0].experts),
        exchanged_parts(model, banks, _zeros(parts)),
        recorded_choices(model, banks) as recorded,
        replayed_choices(model, banks, recorded),
    ):
        raise ZeroDivisionError


def _zeros(parts):
    return ModelParts(
        experts={
            place: {name: torch.zeros_like(t) for name, t in own.items()}
            for place, own in parts.experts.items()
        },
        parameters={n: torch.zeros_like(t) for n, t in parts.parameters.items()},
    )


def test_a_family_that_tells_no_choice_is_silenced_in_its_weights(model, banks):
    mute = [replace(bank, told_choice=False) for bank in banks]
    experts = [banks[0].experts[1], banks[-1].experts[2], banks[-1].experts[3]]
    with ablated_experts(model, banks, experts):
        told = logits(model)
    with assert_restores_model(model), ablated_experts(model, mute, experts):
        assert torch.allclose(logits(model), told, atol=1e-6)
    with pytest.raises(FamilyError, match="does not tell its experts which tokens"):
        recorded_choices(model, mute).__enter__()


@pytest.mark.parametrize("expert", [99, -1])
def test_an_expert_of_another_model_is_refused(model, banks, expert):
    wrong = replace(banks[0].experts[0], expert=expert)
    with pytest.raises(MeasureError, match="the model has no such expert"):
        ablated_experts(model, banks, [wrong]).__enter__()
    elsewhere = ExpertPlace(path="elsewhere", layer=0, expert=0)
    with pytest.raises(MeasureError, match=r"elsewhere#expert\.0: the model has no"):
        copied_parts(model, banks, [elsewhere])


def test_parts_of_another_model_are_put_in_and_taken_out(model, banks):
    other = tiny_moe(model.config.model_type, seed=1)
    every = [expert for bank in banks for expert in bank.experts]
    routers = [name for bank in banks for name in bank.router.parameters]
    rest = copied_parts(other, banks, every, routers)
    rest_names = [n for n, _ in model.named_parameters()]
    banked = {b.place.path for b in banks}
    outside = [n for n in rest_names if n.rpartition(".")[0] not in banked]
    parts = ModelParts(
        experts=rest.experts,
        parameters={n: other.get_parameter(n).detach().clone() for n in outside},
    )
    whole = logits(model)
    with assert_restores_model(model), exchanged_parts(model, banks, parts):
        moved = logits(model)
        for name, value in model.named_parameters():
            assert torch.equal(value, other.get_parameter(name)), name
    assert not torch.equal(moved, whole)
    assert torch.equal(logits(model), whole)


def test_parts_of_another_shape_are_refused(model, banks):
    name = banks[0].router.parameters[0]
    parts = ModelParts(parameters={name: torch.zeros(1, 2)})
    with (
        assert_restores_model(model),
        pytest.raises(MeasureError, match=r"and \(1, 2\) where the values come from"),
    ):
        exchanged_parts(model, banks, parts).__enter__()


def test_choices_of_the_same_model_change_no_bit(model, banks):
    with recorded_choices(model, banks) as recorded:
        whole = logits(model)
    with replayed_choices(model, banks, recorded):
        assert torch.equal(logits(model), whole)


def test_choices_of_another_router_are_what_that_router_chose(model, banks):
    """With one bank no hidden state comes between, so replay is the old router."""
    last = [banks[-1]]
    names = last[0].router.parameters
    old = copied_parts(model, banks, (), names)
    generator = torch.Generator().manual_seed(3)
    new = ModelParts(
        parameters={
            name: torch.randn(value.shape, generator=generator)
            for name, value in old.parameters.items()
        }
    )
    with recorded_choices(model, last) as recorded:
        before = logits(model)
    with exchanged_parts(model, banks, new):
        assert not torch.allclose(logits(model), before, atol=1e-4)
        with replayed_choices(model, last, recorded):
            assert torch.allclose(logits(model), before, atol=1e-6)


def test_batches_that_were_not_recorded_are_refused(model, banks):
    with recorded_choices(model, banks) as recorded:
        logits(model, TOKENS)
    mask = torch.ones_like(TOKENS)
    mask[0, -1] = 0
    with replayed_choices(model, banks, recorded):
        for tokens, more in ((TOKENS[:1], {}), (TOKENS, {"attention_mask": mask})):
            with pytest.raises(MeasureError, match="no choice was recorded for these"):
                logits(model, tokens, **more)


def test_hidden_states_without_tokens_are_refused(model, banks):
    embedded = model.get_input_embeddings()(TOKENS).detach()
    with (
        recorded_choices(model, banks),
        pytest.raises(MeasureError, match="recorded and replayed on whole texts"),
    ):
        model(inputs_embeds=embedded)
