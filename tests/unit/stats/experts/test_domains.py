from functools import partial

import numpy as np
import pytest

from driftmap.core.errors import DataError, MeasureError
from driftmap.core.places import BankPlace
from driftmap.results.experts import RoutingCounts
from driftmap.stats.experts.domains import routing_by_domain, specialised


def counted(chosen, num_experts=None):
    """Counts of samples at banks; two experts a token."""
    chosen = np.array(chosen, dtype=np.int64)
    sizes = num_experts or [chosen.shape[2]] * chosen.shape[1]
    return RoutingCounts(
        banks=tuple(
            BankPlace(path=f"layers.{k}.experts", layer=k, num_experts=n, num_chosen=2)
            for k, n in enumerate(sizes)
        ),
        sample_ids=tuple(f"s{k}" for k in range(len(chosen))),
        tokens=chosen[:, 0].sum(axis=1) // 2,
        chosen=chosen,
        gate=chosen.astype(np.float64),
    )


TWO_BANKS = counted(
    [
        [[4, 0, 0], [2, 2, 0]],
        [[2, 2, 0], [2, 2, 0]],
        [[0, 0, 4], [2, 2, 0]],
        [[0, 1, 3], [2, 2, 0]],
    ],
    num_experts=[3, 2],
)
KINDS = ("sums", "sums", "tales", "tales")


def test_shares_by_kind_by_hand():
    sums, tales = routing_by_domain(TWO_BANKS, KINDS)
    assert (sums.name, tales.name) == ("sums", "tales")
    assert (sums.num_tokens, tales.num_tokens) == (4, 4)
    np.testing.assert_allclose(sums.before, [[0.75, 0.25, 0], [0.5, 0.5, np.nan]])
    np.testing.assert_allclose(tales.before, [[0, 0.125, 0.875], [0.5, 0.5, np.nan]])
    assert sums.after is None


def test_variation_by_hand():
    found = specialised(TWO_BANKS, KINDS, seed=0, num_permutations=0)
    assert found.variation == pytest.approx((0.875, 0))
    assert found.chance == ()


def test_three_kinds_are_compared_in_pairs():
    counts = counted([[[2, 0]], [[0, 2]], [[1, 1]]])
    found = specialised(counts, ("a", "b", "c"), seed=0)
    assert found.variation == pytest.approx(((1 + 0.5 + 0.5) / 3,))
    assert found.chance == pytest.approx(found.variation)


def test_names_order_and_numbers_of_tokens_change_nothing():
    rng = np.random.default_rng(0)
    chosen = rng.integers(1, 9, size=(12, 2, 5))
    kinds = ["abc"[k % 3] for k in range(12)]
    seen = specialised(counted(chosen), kinds, seed=0).variation
    order = rng.permutation(12)
    moved = specialised(counted(chosen[order]), [kinds[k] for k in order], seed=0)
    assert moved.variation == pytest.approx(seen)
    renamed = specialised(counted(chosen * 7), [f"{k}!" for k in kinds], seed=0)
    assert renamed.variation == pytest.approx(seen)
    permuted = specialised(counted(chosen[:, :, ::-1]), kinds, seed=0)
    assert permuted.variation == pytest.approx(seen)


def test_chance_is_the_highest_of_shuffled_kinds():
    rng = np.random.default_rng(1)
    chosen = rng.integers(0, 9, size=(40, 3, 4))
    kinds = ["ab"[k % 2] for k in range(40)]
    few, many, again = (
        specialised(counted(chosen), kinds, seed=5, num_permutations=n)
        for n in (5, 50, 50)
    )
    assert many == again
    assert np.all(np.array(many.chance) >= few.chance)
    assert np.all(np.array(many.chance) > 0.5 * np.array(many.variation))


def test_kinds_that_part_ways_stand_far_above_chance():
    rng = np.random.default_rng(2)
    chosen = rng.integers(0, 3, size=(40, 1, 4))
    chosen[:20, 0, 0] += 20
    found = specialised(counted(chosen), ["a"] * 20 + ["b"] * 20, seed=0)
    assert found.variation[0] > 3 * found.chance[0]


def test_each_sample_needs_a_kind():
    with pytest.raises(DataError, match="3 kinds of text for 4 samples; give each"):
        routing_by_domain(TWO_BANKS, KINDS[:3])


def test_one_kind_cannot_differ():
    with pytest.raises(DataError, match=r"all 4 samples are \('a',\); give samples of"):
        specialised(TWO_BANKS, ("a",) * 4, seed=0)


@pytest.mark.parametrize("measure", [routing_by_domain, partial(specialised, seed=0)])
def test_a_sample_that_goes_nowhere_is_named(measure):
    counts = counted([[[2, 0]], [[0, 0]]])
    with pytest.raises(MeasureError, match=r"layers\.0\.experts: no token of .*'s1' w"):
        measure(counts, ("a", "b"))
