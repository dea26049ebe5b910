"""Routers take experts last or first; what follows is by their own law."""

from itertools import pairwise

import pytest
import torch

from driftmap.core.errors import FamilyError, UsageError
from driftmap.families.bank_calls import telling
from driftmap.families.expert_routing import find_law, see_routing
from driftmap.families.experts import find_experts
from driftmap.intervene.rerouting import promoted_experts, suppressed_experts
from laws.restores import assert_restores_model
from tiny_experts import moe_tokens, tiny_moe

FAMILIES = ("olmoe", "mixtral", "gpt_oss", "deepseek_v3")
TOKENS = moe_tokens(samples=2, tokens=6, seed=5)


@pytest.fixture(scope="module", params=FAMILIES)
def model(request):
    return tiny_moe(request.param)


@pytest.fixture(scope="module")
def banks(model):
    return find_experts(model)


@pytest.fixture(scope="module")
def laws(model, banks):
    one, two = (
        see_routing(model, banks, moe_tokens(samples=8, tokens=12, seed=seed))
        for seed in (1, 2)
    )
    return {
        b.place.path: find_law(model, b, one[b.place.path], two[b.place.path])
        for b in banks
    }


def read(model, banks):
    """Logits of the model, and what every bank is told."""
    told = {}
    see = telling(model, banks, lambda b, t: told.update({b.place.path: t}))
    with see, torch.no_grad():
        return model(input_ids=TOKENS, use_cache=False).logits, told


def routed(model, bank):
    """Router logits, choices and weights of the last bank as the model made them."""
    return see_routing(model, [bank], TOKENS)[bank.place.path]


def by_hand(family, z, num_chosen):
    """Choice and weights of one token, by the formula that each family publishes."""
    if family == "gpt_oss":  # softmax over the chosen alone
        best = sorted(range(len(z)), key=lambda e: -z[e])[:num_chosen]
        p = torch.stack([z[e] for e in best]).softmax(0)
        return best, p
    p = z.softmax(0)
    best = sorted(range(len(z)), key=lambda e: -p[e])[:num_chosen]
    weights = torch.stack([p[e] for e in best])
    return best, weights / weights.sum() if family == "mixtral" else weights


def test_an_unchosen_expert_that_is_suppressed_changes_no_bit(model, banks, laws):
    one = TOKENS[:1, :1]
    with torch.no_grad():
        whole = model(input_ids=one).logits
    for bank in banks:
        busy = set(see_routing(model, banks, one)[bank.place.path].chosen[0].tolist())
        idle = [e for e in bank.experts if e.expert not in busy][:2]
        with suppressed_experts(model, banks, laws, idle), torch.no_grad():
            assert torch.equal(model(input_ids=one).logits, whole)


def test_tokens_that_never_went_there_keep_every_bit(model, banks, laws):
    bank = banks[-1]
    seen = routed(model, bank)
    expert = int(seen.chosen[0, 0])
    with suppressed_experts(model, banks, laws, [bank.experts[expert]]):
        _, told = read(model, banks)
    after = told[bank.place.path]
    went = (seen.chosen == expert).any(dim=1)
    assert bool(went.any())
    assert not (after.chosen == expert).any()
    assert torch.equal(after.chosen[~went], seen.chosen[~went])
    assert torch.equal(after.weights[~went], seen.weights[~went])
    assert not torch.equal(after.weights[went], seen.weights[went])


@pytest.mark.parametrize("first", [False, True])
def test_choice_and_weights_follow_the_published_formula(model, banks, laws, first):
    family = model.config.model_type
    if family == "deepseek_v3":
        pytest.skip("its groups are tried below; the other families go by formula")
    bank = banks[-1]
    seen = routed(model, bank)
    expert = int(seen.chosen[0, 0])
    change = promoted_experts if first else suppressed_experts
    with change(model, banks, laws, [bank.experts[expert]]):
        _, told = read(model, banks)
    after = told[bank.place.path]
    for token, row in enumerate(seen.logits):
        z = row.clone()
        z[expert] = z.max() + 0.01 if first else z.min() - 0.01
        if not first and expert not in seen.chosen[token]:
            continue
        best, weights = by_hand(family, z, bank.place.num_chosen)
        assert after.chosen[token].tolist() == best
        assert torch.allclose(after.weights[token], weights, atol=1e-5)


def test_promoted_experts_are_chosen_at_every_token(model, banks, laws):
    for bank in banks:
        wanted = [bank.experts[e] for e in (1, bank.place.num_experts - 1)]
        with promoted_experts(model, banks, laws, wanted):
            moved, told = read(model, banks)
        after = told[bank.place.path]
        for expert in wanted:
            assert (after.chosen == expert.expert).any(dim=1).all()
        assert all(len(set(row)) == len(row) for row in after.chosen.tolist())
        assert not torch.allclose(moved, read(model, banks)[0], atol=1e-4)


def test_groups_still_hold_for_the_others(model, banks, laws):
    if model.config.model_type != "deepseek_v3":
        pytest.skip("only this family has groups")
    bank = banks[-1]
    law = laws[bank.place.path]
    size = bank.place.num_experts // law.num_groups
    seen = routed(model, bank)
    expert = int(seen.chosen[0, 0])
    with suppressed_experts(model, banks, laws, [bank.experts[expert]]):
        _, told = read(model, banks)
    for row in told[bank.place.path].chosen.tolist():
        assert len({e // size for e in row}) <= law.num_kept_groups
        assert expert not in row


def test_everything_is_put_back(model, banks, laws):
    whole, _ = read(model, banks)
    experts = [bank.experts[0] for bank in banks]
    for change in (promoted_experts, suppressed_experts):
        with (
            assert_restores_model(model),
            pytest.raises(ZeroDivisionError),
            change(model, banks, laws, experts),
        ):
            raise ZeroDivisionError
    assert torch.equal(read(model, banks)[0], whole)


def test_an_error_in_the_second_bank_takes_back_the_first(model, banks, laws):
    known = {banks[0].place.path: laws[banks[0].place.path]}
    if len(banks) < 2:
        pytest.skip("this model has one bank")
    experts = [bank.experts[0] for bank in banks]
    for change in (promoted_experts, suppressed_experts):
        with assert_restores_model(model), pytest.raises(FamilyError) as caught:
            change(model, banks, known, experts).__enter__()
        assert "no rule of its router is known" in str(caught.value)
        assert "ablate them instead" in str(caught.value)


def test_too_many_of_a_bank_are_refused(model, banks, laws):
    bank = banks[-1]
    with pytest.raises(UsageError, match="3 experts are promoted, and a token gets 2"):
        promoted_experts(model, banks, laws, bank.experts[:3]).__enter__()
    law = laws[bank.place.path]
    most = bank.place.num_experts - law.num_chosen
    if law.num_groups == 1:
        with suppressed_experts(model, banks, laws, bank.experts[:most]):
            read(model, banks)
        many = bank.experts[: most + 1]
    else:
        many = bank.experts[:3]  # a group and a half: two kept groups may hold one
    with pytest.raises(UsageError, match="leaves a token 1 to choose from, and it"):
        suppressed_experts(model, banks, laws, many).__enter__()


def test_several_experts_go_one_after_the_other(model, banks, laws):
    """The more are suppressed, the less the model is as it was."""
    whole, _ = read(model, banks)
    seen = routed(model, banks[-1])
    busiest = torch.bincount(seen.chosen.flatten()).argsort(descending=True)
    moved = []
    for k in (0, 1, 2):
        experts = [banks[-1].experts[e] for e in busiest[:k].tolist()]
        with suppressed_experts(model, banks, laws, experts):
            moved.append((read(model, banks)[0] != whole).any(dim=2).sum().item())
    assert moved[0] == 0
    assert all(a <= b for a, b in pairwise(moved))
