"""Every family: experts go, are taken last and first, and all of it comes back."""

import pytest
import torch

from driftmap.families.expert_routing import find_law, see_routing
from driftmap.families.experts import find_experts
from driftmap.intervene.experts import ablated_experts
from driftmap.intervene.rerouting import promoted_experts, suppressed_experts
from tiny_experts import LAWLESS_NAMES, MOE_NAMES, moe_tokens, tiny_moe

TOKENS = moe_tokens(samples=6, tokens=10, seed=1)


def logits(model):
    with torch.no_grad():
        return model(input_ids=TOKENS, use_cache=False).logits


@pytest.mark.slow
@pytest.mark.parametrize("family", MOE_NAMES)
def test_experts_go_and_come_back(family):
    model = tiny_moe(family)
    banks = find_experts(model)
    bank, whole = banks[-1], logits(model)
    path = bank.place.path
    seen = see_routing(model, banks, TOKENS)[path]
    expert = bank.experts[int(seen.chosen[seen.chosen < len(bank.experts)][0])]
    with ablated_experts(model, banks, [expert]):
        assert not torch.equal(logits(model), whole)
    assert torch.equal(logits(model), whole)
    if family in LAWLESS_NAMES or not bank.told_choice:
        return
    other = see_routing(model, banks, moe_tokens(samples=6, tokens=10, seed=2))[path]
    laws = {path: find_law(model, bank, seen, other)}
    if bank.place.num_experts > laws[path].num_chosen:
        with suppressed_experts(model, banks, laws, [expert]):
            chosen = see_routing(model, banks, TOKENS)[path].chosen
        assert not (chosen == expert.expert).any()
    with promoted_experts(model, banks, laws, [expert]):
        chosen = see_routing(model, banks, TOKENS)[path].chosen
    assert (chosen == expert.expert).any(dim=1).all()
    assert torch.equal(logits(model), whole)
