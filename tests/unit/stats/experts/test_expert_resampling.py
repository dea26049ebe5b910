"""Do resampled scores equal those of examples that are really repeated?"""

import numpy as np
import pytest

from driftmap.core.errors import MeasureError
from driftmap.core.places import BankPlace
from driftmap.results.expert_evidence import ChoiceRule
from driftmap.results.experts import ExpertScores, RoutingCounts
from driftmap.stats.experts.agreement import Method, agreement
from driftmap.stats.experts.resampling import bootstrap, split_halves
from driftmap.stats.experts.sampled import (
    SampledScore,
    Side,
    cluster_numbers,
    contrast_score,
    gradient_score,
    risk_score,
    share_score,
)

BANKS = tuple(
    BankPlace(path=f"b.{n}", layer=n, num_experts=4, num_chosen=2) for n in range(2)
)
CLUSTERS = cluster_numbers(["a", "b", "a", "c", "d", "b"])


def examples(seed=0, num=6):
    return np.random.default_rng(seed).gamma(2.0, size=(num, 2, 4)).astype(np.float32)


def gradients(seed=0):
    maps = examples(seed)
    routed = np.random.default_rng(seed + 9).integers(0, 5, size=(6, 2, 4))
    routed[:, 0, 3] = 0
    maps[:, 0, 3] = 0
    return ExpertScores(
        banks=BANKS, sample_ids=tuple("uvwxyz"), batch_size=2, num_batches=3,
        scores={}, examples={"mean_example_abs": maps}, routed_tokens=routed,
    )  # fmt: skip


def routed(seed):
    rng = np.random.default_rng(seed)
    tokens = rng.integers(4, 9, size=6)
    chosen = rng.integers(0, 4, size=(6, 2, 4))
    return RoutingCounts(
        banks=BANKS, sample_ids=tuple("uvwxyz"), tokens=tokens, chosen=chosen,
        gate=chosen / 2,
    )  # fmt: skip


COUNTS = np.array([[1.0, 1, 1, 1], [2, 0, 2, 0], [0, 3, 0, 1]])


def repeated(draw):
    """Numbers of examples, as often as their cluster was drawn."""
    return [n for n in range(6) for _ in range(int(draw[CLUSTERS[n]]))]


@pytest.mark.parametrize("statistic", ["mean_example_abs", "per_token"])
def test_a_draw_is_the_score_of_repeated_examples(statistic):
    scores = gradients()
    sampled = gradient_score(scores, statistic, CLUSTERS)
    for draw, found in zip(COUNTS, sampled.drawn(COUNTS), strict=True):
        rows = repeated(draw)
        size = scores.examples["mean_example_abs"][rows].astype(float).sum(axis=0)
        tokens = scores.routed_tokens[rows].sum(axis=0)
        divided = np.where(tokens > 0, tokens, 1)
        divided = divided if statistic == "per_token" else len(rows)
        wanted = size / divided
        if statistic == "per_token":
            wanted = np.where(tokens > 0, wanted, 0)
        assert np.allclose(found, wanted)


@pytest.mark.parametrize("pool", ["example", "token"])
def test_pairs_are_drawn_together(pool):
    unsafe, safe = routed(1), routed(2)
    sampled = risk_score(unsafe, safe, pool, CLUSTERS)
    for draw, found in zip(COUNTS, sampled.drawn(COUNTS, COUNTS), strict=True):
        rows = repeated(draw)
        rates = []
        for side in (unsafe, safe):
            own, tokens = side.chosen[rows], side.tokens[rows]
            each = np.mean([c / t for c, t in zip(own, tokens, strict=True)], axis=0)
            rates.append(each if pool == "example" else own.sum(axis=0) / tokens.sum())
        assert np.allclose(found, rates[0] - rates[1])
    same = risk_score(unsafe, unsafe, pool, CLUSTERS).resampled(50, seed=0)
    assert np.abs(same).max() < 1e-12


def test_sides_of_a_contrast_are_drawn_apart():
    one = share_score("s", examples(), CLUSTERS)
    sampled = contrast_score(one, one)
    assert np.abs(sampled.score).max() < 1e-12
    assert np.abs(sampled.resampled(50, seed=0)).max() > 0.1


def test_statistics_of_batches_cannot_be_drawn_again():
    assert gradient_score(gradients(), "mean_batch_abs", CLUSTERS) is None


def test_two_examples_by_hand():
    maps = np.array([[[1.0, 0.0]], [[0.0, 0.6]]])
    sampled = share_score("s", maps, np.array([0, 1]))
    found = bootstrap(sampled, ChoiceRule(k=1), None, seed=0, num_resamples=600)
    # aa and ab choose the first expert, bb the second: 3 to 1
    assert found.frequency[0] == pytest.approx([0.75, 0.25], abs=0.06)
    assert found.score.tolist() == [[0.5, 0.3]]
    assert (found.low[0, 0], found.high[0, 0]) == (0.0, 1.0)
    assert (found.rank_low[0, 1], found.rank_high[0, 1]) == (1.0, 2.0)
    assert found.jaccard.estimate == pytest.approx(0.75, abs=0.06)
    assert found.num_clusters == 2


@pytest.mark.parametrize(
    "rule",
    [
        ChoiceRule(k=3),
        ChoiceRule(k=3, normalise="layer"),
        ChoiceRule(k=5, selection="per_layer"),
    ],
)
def test_frequencies_sum_to_the_size_of_the_group(rule):
    sampled = gradient_score(gradients(), "mean_example_abs", CLUSTERS)
    unvisited = np.zeros((2, 4), dtype=bool)
    unvisited[0, 3] = True
    found = bootstrap(sampled, rule, unvisited, seed=1, num_resamples=80)
    assert found.frequency.sum() == pytest.approx(rule.k)
    assert found.frequency[0, 3] == 0
    assert (found.low <= found.score + 1e-12).all()
    assert (found.score <= found.high + 1e-12).all()
    ranks = np.sort(found.rank_low.ravel())
    assert ranks[0] >= 1
    assert found.rank_high.max() <= 8


def test_equal_examples_leave_nothing_to_chance():
    maps = np.repeat(examples(num=1), 6, axis=0)
    sampled = share_score("s", maps, CLUSTERS)
    found = bootstrap(sampled, ChoiceRule(k=2), None, seed=0, num_resamples=40)
    assert np.allclose(found.low, found.high)
    assert found.stable.sum() == 2
    assert found.jaccard.low == 1.0
    halves = split_halves(sampled, ChoiceRule(k=2), None, seed=0)
    assert halves.full.jaccard.low == 1.0
    assert halves.full.tau.low == pytest.approx(1.0)


def test_examples_of_one_goal_are_one_unit():
    maps = np.concatenate([examples(num=3)] * 2)
    apart = bootstrap(
        share_score("s", maps, np.arange(6)), ChoiceRule(k=1), None, 0, 300
    )
    together = bootstrap(
        share_score("s", maps, np.arange(6) % 3), ChoiceRule(k=1), None, 0, 300
    )
    widths = [(found.high - found.low).mean() for found in (apart, together)]
    assert widths[1] / widths[0] == pytest.approx(np.sqrt(2), rel=0.25)


def test_a_bank_with_fewer_experts_keeps_its_gap():
    maps = examples()
    maps[:, 1, 3] = np.nan
    found = bootstrap(share_score("s", maps, CLUSTERS), ChoiceRule(k=7), None, 0, 20)
    for values in (found.score, found.low, found.rank_low, found.frequency):
        assert np.isnan(values[1, 3])
        assert np.isnan(values).sum() == 1
    assert np.nansum(found.frequency) == pytest.approx(7)
    assert np.nanmax(found.rank_high) <= 7


def test_halves_are_disjoint_and_as_large_as_can_be():
    # one example alone sees each expert: a half that holds it ranks that expert first
    maps = np.zeros((8, 1, 8))
    maps[np.arange(8), 0, np.arange(8)] = np.arange(8) + 1.0
    sampled = share_score("s", maps, np.arange(8))
    found = split_halves(sampled, ChoiceRule(k=4), None, seed=0, num_splits=30)
    assert [p.num_clusters for p in found.curve] == [2, 4, 8]
    assert found.full.jaccard.estimate == 0.0
    assert found.full.jaccard.high == 0.0
    assert found.full.chance == pytest.approx(4 / (2 * 8 - 4))


def test_blind_halves_overlap_as_chance_says():
    points = []
    for seed in range(16):
        maps = np.random.default_rng(seed).normal(size=(12, 4, 32))
        sampled = share_score("s", maps, np.arange(12))
        found = split_halves(sampled, ChoiceRule(k=13), None, seed=0, num_splits=4)
        points.append(found.full)
    assert points[0].chance == pytest.approx(13 / (2 * 128 - 13))
    seen = np.mean([point.jaccard.estimate for point in points])
    assert seen == pytest.approx(points[0].chance, abs=0.02)
    assert np.mean([p.tau.estimate for p in points]) == pytest.approx(0.0, abs=0.03)


def test_one_goal_has_no_halves():
    sampled = share_score("s", examples(), np.zeros(6, dtype=np.int64))
    assert split_halves(sampled, ChoiceRule(k=2), None, seed=0) is None


def test_the_seed_says_all():
    sampled = share_score("s", examples(), CLUSTERS)
    one, same, other = (
        bootstrap(sampled, ChoiceRule(k=2), None, seed, 30) for seed in (3, 3, 4)
    )
    assert np.array_equal(one.low, same.low)
    assert not np.array_equal(one.low, other.low)


def test_a_draw_without_layer_means_is_refused():
    maps = np.zeros((2, 1, 2))
    maps[0], maps[1] = 1.0, -0.5
    sampled = share_score("s", maps, np.arange(2))
    with pytest.raises(MeasureError, match=r"bank 0 have mean -0\.5"):
        bootstrap(sampled, ChoiceRule(k=1, normalise="layer"), None, seed=0)


def test_methods_beside_each_other():
    maps = examples()
    one = share_score("one", maps, CLUSTERS)
    rule = ChoiceRule(k=3)
    methods = [
        Method(name="one", score=one.score, rule=rule, sampled=one),
        Method(name="same", score=2 * one.score, rule=rule,
               sampled=share_score("same", 2 * maps, CLUSTERS)),
        Method(name="none", score=-one.score, rule=rule),
    ]  # fmt: skip
    found = agreement(methods, seed=0, num_resamples=60)
    assert found.methods == ("one", "same", "none")
    same, _, against = found.pairs[0], found.pairs[1], found.pairs[2]
    assert (same.left, same.right) == ("one", "same")
    # examples are drawn together, so equal methods stay equal
    assert (same.jaccard.low, same.jaccard.estimate, same.jaccard.high) == (1, 1, 1)
    assert same.tau.low == pytest.approx(1.0)
    assert sum(same.shared_by_bank) == 3
    assert len(same.shared_interval) == 2
    left = np.bincount(np.argsort(-one.score.ravel())[:3] // 4, minlength=2)
    assert same.chance_by_bank == pytest.approx(tuple(left**2 / 4))
    assert same.chance == pytest.approx(3 / (2 * 8 - 3))
    assert (against.left, against.right) == ("same", "none")
    assert against.tau.estimate == pytest.approx(-1.0)
    assert (against.jaccard.low, against.jaccard.high, against.jaccard.num) == (0, 1, 0)
    assert against.shared_interval == ()


def test_a_map_that_does_not_vary_has_no_rank_correlation():
    flat = Method(name="flat", score=np.ones((2, 4)), rule=ChoiceRule(k=1))
    other = Method(name="o", score=examples()[0].astype(float), rule=ChoiceRule(k=1))
    assert agreement([flat, other], seed=0).pairs[0].tau is None


def test_a_side_has_as_many_clusters_as_numbers():
    side = Side(values=examples(), clusters=CLUSTERS)
    assert side.num_clusters == 4
    assert SampledScore(name="s", own=side).num_clusters == 4
