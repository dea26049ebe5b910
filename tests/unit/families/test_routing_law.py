from dataclasses import replace

import pytest
import torch

from driftmap.core.errors import FamilyError
from driftmap.families.routing_law import RoutingLaw, SeenRouting, fit_law

PLAIN = RoutingLaw(
    score="softmax", ranking="softmax", renormalised=False, scale=1.0, num_chosen=2
)
GROUPED = RoutingLaw(
    score="sigmoid",
    ranking="sigmoid",
    renormalised=True,
    scale=2.5,
    num_chosen=2,
    biased=True,
    num_groups=3,
    num_kept_groups=1,
)
LAWS = {
    "plain": PLAIN,
    "renormalised": replace(PLAIN, renormalised=True),
    "scaled": replace(PLAIN, scale=16.0),
    "sigmoid": replace(PLAIN, score="sigmoid", ranking="sigmoid"),
    "sqrt_softplus": replace(
        PLAIN, score="sqrt_softplus", ranking="sqrt_softplus", renormalised=True
    ),
    "biased": replace(PLAIN, biased=True),
    "bias_on_logits": replace(PLAIN, score="sigmoid", ranking="identity", biased=True),
    "grouped": GROUPED,
    "best_of_group": replace(
        GROUPED, group_score="maximum", biased=False, num_kept_groups=2
    ),
}


def _seen(law: RoutingLaw, seed: int) -> SeenRouting:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(200, 6, generator=generator)
    bias = torch.tensor([0.4, -0.3, 0.2, 0.0, -0.2, 0.3]) if law.biased else None
    choice = law.choose(logits, bias)
    return SeenRouting(
        logits=logits, chosen=choice.indices, weights=choice.weights, bias=bias
    )


def _naive(logits: list[float], bias: list[float]) -> tuple[set[int], list[float]]:
    """DeepSeek-V3 with 3 groups of 2 of which 1 is kept, one token at a time."""
    scores = [1 / (1 + 2.718281828459045**-z) for z in logits]
    ranked = [score + b for score, b in zip(scores, bias, strict=True)]
    totals = [ranked[0] + ranked[1], ranked[2] + ranked[3], ranked[4] + ranked[5]]
    group = totals.index(max(totals))
    chosen = {2 * group, 2 * group + 1}
    total = sum(scores[expert] for expert in chosen)
    return chosen, [2.5 * scores[e] / total if e in chosen else 0.0 for e in range(6)]


def test_golden_numbers_of_the_plain_law():
    choice = PLAIN.choose(torch.tensor([[0.0, 2.0, 1.0]]))
    assert choice.indices.tolist() == [[1, 2]]
    torch.testing.assert_close(choice.weights, torch.tensor([[0.66524, 0.24473]]))


def test_groups_and_bias_choose_as_written_down_by_hand():
    seen = _seen(GROUPED, 0)
    assert seen.bias is not None
    for logits, chosen, weights in zip(
        seen.logits.tolist(), seen.chosen.tolist(), seen.weights.tolist(), strict=True
    ):
        experts, gates = _naive(logits, seen.bias.tolist())
        assert set(chosen) == experts
        assert weights == pytest.approx([gates[expert] for expert in chosen], abs=1e-5)


@pytest.mark.parametrize("name", LAWS)
def test_a_law_is_found_from_what_it_gives(name):
    law = LAWS[name]
    groups = (law.num_groups, law.num_kept_groups)
    found = fit_law("bank", _seen(law, 0), _seen(law, 1), groups)
    other = _seen(law, 2)
    choice = found.choose(other.logits, other.bias)
    assert torch.equal(choice.indices, other.chosen)
    torch.testing.assert_close(choice.weights, other.weights)
    if name not in ("renormalised", "best_of_group"):
        assert found == law


def test_a_bias_of_zero_is_still_added():
    seen = _seen(PLAIN, 0)
    nothing = torch.zeros(6)
    found = fit_law(
        "bank", replace(seen, bias=nothing), replace(_seen(PLAIN, 1), bias=nothing)
    )
    assert found.biased


def test_an_experts_own_scale_multiplies_its_weight():
    scale = torch.tensor([1.0, 2.0, 0.5, 3.0, 1.5, 0.1])
    seen = [
        replace(one, weights=one.weights * scale[one.chosen], expert_scale=scale)
        for one in (_seen(PLAIN, 0), _seen(PLAIN, 1))
    ]
    found = fit_law("bank", *seen)
    made = found.weights(seen[1].logits, seen[1].chosen, scale)
    torch.testing.assert_close(made, seen[1].weights)


def test_weights_that_no_rule_gives_are_refused():
    seen = _seen(PLAIN, 0)
    odd = replace(seen, weights=seen.weights**2)
    with pytest.raises(
        FamilyError,
        match=r"^m.experts: no known rule gives the weights of its router \(off by 0\.",
    ):
        fit_law("m.experts", odd, odd)


def test_a_law_of_one_batch_must_hold_on_another():
    other = _seen(PLAIN, 1)
    turned = replace(other, weights=other.weights.flip(-1))
    with pytest.raises(FamilyError, match=r"weights of its router .* the weight 0"):
        fit_law("m.experts", _seen(PLAIN, 0), turned)


def test_choices_that_no_rule_gives_are_refused():
    with pytest.raises(
        FamilyError,
        match=r"^m.experts: no known rule gives the choices .* \(right for \d+\.\d%",
    ):
        fit_law("m.experts", _seen(GROUPED, 0), _seen(GROUPED, 1))


def test_weights_that_are_not_told_are_refused():
    seen = _seen(PLAIN, 0)
    untold = replace(seen, weights=torch.full_like(seen.weights, torch.nan))
    with pytest.raises(FamilyError, match="off by inf"):
        fit_law("m.experts", untold, untold)
