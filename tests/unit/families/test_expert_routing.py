import pytest
import torch

from driftmap.core.errors import FamilyError
from driftmap.families.expert_routing import find_law, see_routing
from driftmap.families.experts import find_experts
from laws.restores import assert_restores_model
from tiny_experts import moe_tokens, tiny_moe


def test_what_is_seen_is_what_the_routers_gave():
    model = tiny_moe("deepseek_v3")
    (bank,) = find_experts(model)
    inputs = []
    router = model.get_submodule(bank.router.path)
    handle = router.register_forward_hook(lambda *given: inputs.append(given[1][0]))
    with assert_restores_model(model):
        seen = see_routing(model, [bank], moe_tokens())[bank.place.path]
    handle.remove()
    logits, weights, chosen = router(inputs[0])
    assert torch.equal(seen.logits, logits)
    assert torch.equal(seen.chosen, chosen)
    assert torch.equal(seen.weights, weights)
    assert seen.bias is router.e_score_correction_bias or torch.equal(
        seen.bias, router.e_score_correction_bias
    )


def test_the_law_of_a_router_with_groups_needs_groups_and_bias():
    model = tiny_moe("deepseek_v3")
    (bank,) = find_experts(model)
    path = bank.place.path
    first, second = (
        see_routing(model, [bank], moe_tokens(samples=8, tokens=24, seed=seed))[path]
        for seed in (0, 1)
    )
    law = find_law(model, bank, first, second)
    assert (law.score, law.renormalised, law.scale) == ("sigmoid", True, 2.5)
    assert (law.num_groups, law.num_kept_groups, law.biased) == (4, 2, True)
    plain = second.logits.sigmoid().topk(2).indices.sort().values
    same = (plain == second.chosen.sort().values).all(-1)
    assert same.float().mean() < 0.9


def test_zero_experts_have_logits_of_their_own():
    model = tiny_moe("longcat_flash")
    bank = find_experts(model)[0]
    seen = see_routing(model, [bank], moe_tokens())[bank.place.path]
    assert bank.place.num_experts == 6
    assert seen.logits.shape[1] == bank.router.num_rows == 8


def test_experts_that_are_not_told_a_choice_have_no_law():
    model = tiny_moe("llama4_text")
    bank = find_experts(model)[0]
    seen = see_routing(model, [bank], moe_tokens())[bank.place.path]
    assert seen.weights.isnan().all()
    with pytest.raises(FamilyError, match=r"is not told which experts were chosen, so"):
        find_law(model, bank, seen, seen)


def test_a_bank_that_is_never_called_is_named():
    model = tiny_moe("olmoe")
    banks = find_experts(model)
    model.model.layers[1].mlp.forward = lambda states: states
    with pytest.raises(
        FamilyError,
        match=r"^model.layers.1.mlp.experts: the model ran without calling it or its "
        r"router model.layers.1.mlp.gate",
    ):
        see_routing(model, banks, moe_tokens())
