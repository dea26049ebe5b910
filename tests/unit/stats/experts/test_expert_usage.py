"""Do rates, shares, pairs and words of experts equal loops over tokens?"""

import json
from dataclasses import replace
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest

from driftmap.core.errors import MeasureError
from driftmap.core.places import BankPlace
from driftmap.results.expert_evidence import ChoiceRule
from driftmap.results.expert_usage import KeptRouting
from driftmap.results.experts import RoutingCounts
from driftmap.stats.experts.rates import (
    gate_share_score,
    rates,
    risk_difference,
    token_share_score,
)
from driftmap.stats.experts.sampled import risk_score
from driftmap.stats.experts.selection import choose
from driftmap.stats.experts.usage import (
    co_activation,
    first_choice,
    jensen_shannon,
    routing_drift,
    vocabulary_use,
)

BANK = BankPlace(path="b", layer=0, num_experts=6, num_chosen=3)
REAL = Path(__file__).parents[5] / "shared/data/olmoe_routing_counts"
LACKING = "needs the real routing counts of OLMoE in ../shared/data"


def kept(seed=0, num=40, bank=BANK, highest=None):
    rng = np.random.default_rng(seed)
    chosen = np.array(
        [rng.permutation(highest or bank.num_experts)[: bank.num_chosen]
         for _ in range(num)]
    )  # fmt: skip
    logits = rng.normal(size=(num, bank.num_experts))
    log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    ids = np.random.default_rng(3).integers(0, 5, size=num)
    return KeptRouting(
        bank=bank, sample_ids=("s",), sample=np.zeros(num, dtype=np.int64),
        position=np.arange(num), token_ids=ids, next_ids=np.append(ids[1:], -1),
        chosen=chosen, weights=rng.random(chosen.shape).astype(np.float32),
        log_probabilities=log_p.astype(np.float32),
    )  # fmt: skip


def counts(seed=0, num=5):
    rng = np.random.default_rng(seed)
    chosen = np.zeros((num, 2, 6), dtype=np.int64)
    gate, tokens = np.zeros(chosen.shape), rng.integers(2, 9, size=num)
    for sample in range(num):
        for layer in range(2):
            for _ in range(tokens[sample]):
                experts = rng.permutation(6)[:3]
                chosen[sample, layer, experts] += 1
                gate[sample, layer, experts] += rng.random(3)
    return RoutingCounts(
        banks=(BANK, replace(BANK, path="c", layer=1)), tokens=tokens, chosen=chosen,
        sample_ids=tuple(f"s{n}" for n in range(num)), gate=gate,
    )  # fmt: skip


@pytest.mark.parametrize("pool", ["example", "token"])
def test_risk_differences_of_a_bank_sum_to_nothing(pool):
    unsafe, safe = counts(1), counts(2, num=7)
    found = risk_difference(unsafe, safe, pool)
    assert np.abs(found.difference.sum(axis=1)).max() < 1e-12
    assert np.allclose(found.unsafe.sum(axis=1), 3)
    each = [c / t for c, t in zip(unsafe.chosen, unsafe.tokens, strict=True)]
    whole = sum(unsafe.chosen) / sum(unsafe.tokens)
    assert np.allclose(found.unsafe, np.mean(each, 0) if pool == "example" else whole)
    group = choose(found.difference, ChoiceRule(k=12, only_positive=True))
    assert (found.difference[group[:, 0], group[:, 1]] > 0).all()
    assert len(group) == (found.difference > 0).sum()


def test_shares_of_a_layer_sum_to_one():
    made = counts()
    alone = np.arange(5)
    token = token_share_score(made, alone).score
    gate = gate_share_score(made, alone).score
    assert np.allclose(token.sum(axis=1), 1)
    assert np.allclose(gate.sum(axis=1), 1)
    each = [c / (3 * t) for c, t in zip(made.chosen, made.tokens, strict=True)]
    assert np.allclose(token, np.mean(each, axis=0))
    mean = np.mean([g / t for g, t in zip(made.gate, made.tokens, strict=True)], axis=0)
    assert np.allclose(gate, mean / mean.sum(axis=1, keepdims=True))


def test_a_smaller_bank_keeps_its_gap():
    made = counts()
    small = replace(made, banks=(BANK, replace(BANK, path="c", num_experts=5)))
    for score in (rates(small), token_share_score(small, np.arange(5)).score):
        assert np.isnan(score[1, 5])
        assert np.isnan(score).sum() == 1
    gate = gate_share_score(small, np.arange(5)).score
    assert np.isnan(gate).sum() == 1
    for pool in ("example", "token"):
        risk = risk_score(small, small, pool, np.arange(5)).score
        assert np.isnan(risk[1, 5])
        assert np.isnan(risk).sum() == 1


def test_weights_of_nothing_have_no_shares():
    made = counts()
    gate = made.gate.copy()
    gate[:, 1] = 0
    with pytest.raises(MeasureError, match="c: the weights of its experts sum to 0"):
        gate_share_score(replace(made, gate=gate), np.arange(5))
    with pytest.raises(MeasureError, match="different banks of experts"):
        risk_difference(made, replace(made, banks=(BANK, BANK)))


def test_all_pairs_of_chosen_experts_count():
    made = kept()
    found = co_activation(made)
    both = np.zeros((6, 6), dtype=int)
    for experts in made.chosen.tolist():
        for e in experts:
            both[e, e] += 1
        for a, b in permutations(experts, 2):
            both[a, b] += 1
    assert np.array_equal(found.both, both)
    assert found.num_tokens == 40
    conditional = found.conditional
    others = conditional.sum(axis=1) - np.diag(conditional)
    assert np.allclose(others, BANK.num_chosen - 1)
    a, b = 1, 4
    assert found.lift[a, b] == pytest.approx(both[a, b] * 40 / both[a, a] / both[b, b])


def test_an_expert_that_never_came_has_no_company():
    found = co_activation(kept(highest=5))
    assert np.isnan(found.conditional[5]).all()
    assert np.isnan(found.lift[:, 5]).all()
    assert (found.conditional[:5, 5] == 0).all()


def test_experts_that_do_nothing_share_a_column():
    found = co_activation(kept(highest=8))
    assert found.both.shape == (7, 7)
    idle = (kept(highest=8).chosen >= 6).any(axis=1).sum()
    assert found.both[6, 6] == idle


def test_the_first_choice_is_the_largest_weight_in_any_slot():
    made = kept()
    rows = zip(made.chosen, made.weights, strict=True)
    best = [c[int(np.argmax(w))] for c, w in rows]
    assert first_choice(made).tolist() == best


def by_hand():
    """Token 7 goes 8 of 12 times to expert 2; token 1 is too rare."""
    experts = [2] * 8 + [0, 1, 1, 5] + [3] * 9
    ids = [7] * 12 + [1] * 9
    made = kept(num=21)
    first = np.zeros((21, 3), dtype=np.int64)
    first[:, 1] = experts
    first[:, [0, 2]] = 4
    weights = np.tile(np.float32([0.1, 0.8, 0.1]), (21, 1))
    nexts = np.array([*ids[1:], -1])
    return replace(
        made, chosen=first, weights=weights, token_ids=np.array(ids), next_ids=nexts
    )


def test_words_by_hand():
    found = vocabulary_use(by_hand(), "input", seed=0)
    assert (found.ids.tolist(), found.seen.tolist()) == ([7], [12])
    assert (found.favourite.tolist(), found.num_rare) == ([2], 1)
    assert found.share[0] == found.mean_share == pytest.approx(8 / 12)
    assert 3 / 12 <= found.shuffled < 0.75
    following = vocabulary_use(by_hand(), "next", seed=0)
    assert following.seen.tolist() == [11]
    told = np.repeat([5, -1], [11, 10])
    expected = vocabulary_use(by_hand(), "predicted", seed=0, predicted=told)
    assert (expected.ids.tolist(), expected.seen.tolist()) == ([5], [11])
    rare = vocabulary_use(kept(num=3), "input", seed=0)
    assert rare.mean_share is None


def test_shuffled_words_score_what_chance_gives():
    rng = np.random.default_rng(0)
    num = 4000
    made = kept(num=num)
    ids = rng.integers(0, 20, size=num)
    chosen = np.stack([ids % 6, (ids + 1) % 6, (ids + 2) % 6], axis=1)
    weights = np.tile(np.float32([0.8, 0.1, 0.1]), (num, 1))
    told = replace(made, token_ids=ids, chosen=chosen, weights=weights)
    found = vocabulary_use(told, "input", seed=0)
    assert found.mean_share == 1.0
    assert found.shuffled == pytest.approx(1 / 6 + 0.04, abs=0.04)


def test_routing_that_stays_has_not_drifted():
    found = routing_drift(kept(), kept())
    assert (found.divergence_nats, found.saturation) == (0.0, 1.0)
    assert found.token_kl_nats == pytest.approx(0.0, abs=1e-9)
    assert found.chance == 0.5


def test_drift_is_what_loops_give():
    before, after = kept(0), kept(1)
    found = routing_drift(before, after)
    pairs = list(zip(before.chosen.tolist(), after.chosen.tolist(), strict=True))
    same = [len(set(a) & set(b)) / 3 for a, b in pairs]
    assert found.saturation == pytest.approx(np.mean(same))
    divergence = 0.0
    p, q = (np.bincount(k.chosen.ravel()) / 120 for k in (before, after))
    for a, b in zip(p, q, strict=True):
        m = (a + b) / 2
        divergence += a * np.log(a / m) / 2 + b * np.log(b / m) / 2
    assert found.divergence_nats == pytest.approx(divergence)
    kl = np.exp(before.log_probabilities) * (
        before.log_probabilities - after.log_probabilities
    )
    assert found.token_kl_nats == pytest.approx(kl.sum(axis=1).mean(), rel=1e-5)
    bare = replace(after, log_probabilities=None)
    assert routing_drift(before, bare).token_kl_nats is None


def test_a_blind_choice_stays_by_chance():
    found = routing_drift(kept(0, num=4000), kept(1, num=4000))
    assert found.saturation == pytest.approx(found.chance, abs=0.02)


def test_a_probability_of_zero_before_adds_nothing():
    before, after = kept(0), kept(0)
    log_p = np.full((40, 6), -np.inf, dtype=np.float32)
    log_p[:, 0] = 0.0
    found = routing_drift(replace(before, log_probabilities=log_p), after)
    wanted = -after.log_probabilities[:, 0].mean()
    assert found.token_kl_nats == pytest.approx(wanted, rel=1e-5)


def test_other_tokens_are_no_drift():
    other = replace(kept(), position=np.arange(40) + 1)
    with pytest.raises(MeasureError, match="b: routing before and after is not of the"):
        routing_drift(kept(), other)


def test_divergence_has_its_bounds():
    a, b = np.array([3, 1, 0]), np.array([1, 3, 0])
    assert jensen_shannon(a, a * 7) == pytest.approx(0, abs=1e-15)
    assert jensen_shannon(a, b) == pytest.approx(jensen_shannon(b, a))
    assert 0 < jensen_shannon(a, b) < np.log(2)


@pytest.fixture(scope="module")
def real():
    if not REAL.exists():
        pytest.skip(LACKING)
    return json.loads((REAL / "expert_counts.json").read_text())["models"]


def as_counts(models, *domains, experts=64, chosen=8):
    """One sample per domain, as long as its texts."""
    layers = (0, 7, 15)
    held = np.array([[models[d][str(n)] for n in layers] for d in domains])
    banks = tuple(
        BankPlace(path=f"l.{n}", layer=n, num_experts=experts, num_chosen=chosen)
        for n in layers
    )
    return RoutingCounts(
        banks=banks, sample_ids=domains, tokens=held[:, 0].sum(axis=1) // chosen,
        chosen=held, gate=held.astype(float),
    )  # fmt: skip


def test_real_counts_obey_the_laws(real):
    base = real["olmoe"]["expert_counts"]
    arxiv, c4 = as_counts(base, "arxiv"), as_counts(base, "c4")
    assert c4.tokens.tolist() == [208896]
    found = risk_difference(arxiv, c4)
    assert np.abs(found.difference.sum(axis=1)).max() < 1e-12
    assert np.allclose(found.unsafe.sum(axis=1), 8)
    shares = token_share_score(c4, np.zeros(1, dtype=np.int64)).score
    assert np.allclose(shares.sum(axis=1), 1)
    # one expert of the first layer takes three times its part of c4
    assert rates(c4)[0, 41] == pytest.approx(78768 / 208896)
    assert rates(c4)[0].argmax() == 41


def test_real_tuning_moves_routing_less_than_another_domain_does(real):
    tulu = {
        name: as_counts(real[name]["expert_counts"], "tulu").chosen[0]
        for name in ("olmoe", "olmoe-sft", "olmoe-dpo")
    }
    other = as_counts(real["olmoe"]["expert_counts"], "github").chosen[0]
    for layer in range(3):
        base = tulu["olmoe"][layer]
        for tuned in ("olmoe-sft", "olmoe-dpo"):
            moved = jensen_shannon(base, tulu[tuned][layer])
            assert 0 < moved < 0.3 * jensen_shannon(base, other[layer])


def test_real_pairs_of_layers_are_a_sample_of_all_pairs(real):
    """Published pairs join slots of equal rank: 8 of the 64 pairs of a token."""
    pairs = json.loads((REAL / "olmoe_crosslayer_c4.json").read_text())["0-7"]
    table = np.zeros((64, 64), dtype=np.int64)
    for a, b, count in pairs:
        table[a, b] = count
    c4 = as_counts(real["olmoe"]["expert_counts"], "c4").chosen[0]
    assert np.array_equal(table.sum(axis=1), c4[0])
    assert np.array_equal(table.sum(axis=0), c4[1])
    assert table.sum() == 208896 * 8
