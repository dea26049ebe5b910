"""Shares of a change: by hand, their laws, and what may be said of them."""

from dataclasses import replace

import numpy as np
import pytest

from driftmap.results.statistics import Interval
from driftmap.results.traces import RoleEffects, RoleLayer
from driftmap.results.where_it_acts import CrossTrace, SwapShare, WhereItActs
from driftmap.stats.claims.where import where_claims
from driftmap.stats.where import Owners, forms_share


def around(estimate, half=0.02, num=8):
    return Interval(
        estimate=estimate,
        low=estimate - half,
        high=estimate + half,
        level=0.95,
        num=num,
    )


def swaps(needed, enough, half=0.02, num=8):
    return tuple(
        SwapShare(
            kind="layer",
            name=f"layer {layer}",
            layers=(layer,),
            changed=True,
            needed=around(one, half, num),
            enough=around(other, half, num),
            needed_corrected=around(one, half, num),
            enough_corrected=around(other, half, num),
        )
        for layer, (one, other) in enumerate(zip(needed, enough, strict=True))
    )


FOUND = WhereItActs(
    identical=False,
    behaviour="taught answers",
    num_layers=3,
    num_asked=8,
    nll_base=around(5.0),
    nll_tuned=around(0.1),
    gap=around(4.9),
    shares_formed=True,
    swaps=swaps([0.0, 0.4, 0.01], [0.05, 0.6, 0.3]),
    sum_needed=0.41,
    sum_enough=0.95,
)


def test_a_share_is_a_ratio_of_sums_by_hand():
    owners = Owners.of(["a", "a", "b"], 0)
    found = owners.share(np.array([1.0, 2.0, 0.0]), np.array([2.0, 2.0, 2.0]))
    assert found.estimate == 0.5
    # a draw holds a twice, a and b, or b twice: 3 of 4, 3 of 6, 0 of 2
    assert (found.low, found.high, found.num) == (0.0, 0.75, 2)


def test_all_of_the_gap_is_one_and_none_of_it_nothing():
    owners, gap = Owners.of(list("abcd"), 0), np.array([1.0, 2.0, 3.0, 9.0])
    assert owners.share(gap, gap) == replace(owners.share(gap, gap), low=1.0, high=1.0)
    assert owners.share(0 * gap, gap).high == 0.0


def test_an_interval_for_many_is_wider():
    rng = np.random.default_rng(0)
    owners, values = Owners.of([str(n) for n in range(30)], 0), rng.normal(size=30)
    one, many = (owners.share(values, np.ones(30), num_tests=n) for n in (1, 20))
    assert many.low < one.low < one.high < many.high
    assert many.level == pytest.approx(1 - 0.05 / 20)


def test_intervals_cover_the_mean_they_should():
    rng = np.random.default_rng(1)
    inside = 0
    for seed in range(200):
        values = 1 + rng.normal(size=40)
        found = Owners.of([str(n) for n in range(40)], seed).mean(values)
        inside += found.low <= 1 <= found.high
    assert inside / 200 > 0.88


def test_a_small_or_unsure_gap_is_not_shared_out():
    assert forms_share(around(0.5))
    assert not forms_share(around(0.5, half=0.6))
    assert not forms_share(around(0.03, half=0.01))
    claims = where_claims(
        replace(FOUND, gap=around(0.01), shares_formed=False, swaps=())
    )
    (only,) = claims
    assert only.standing == "not-found"
    assert "nothing whose share a layer could have" in only.says


def test_layers_are_named_where_their_interval_lies_above_a_tenth():
    needed, enough = where_claims(FOUND)[1:3]
    assert (needed.standing, needed.layers) == ("found", (1,))
    assert "layer 1 with 0.40 (0.38 to 0.42)" in needed.says
    assert "n = 8, intervals hold for all 3 layers at once" in needed.says
    assert (enough.standing, enough.layers) == ("found", (1, 2))


def test_no_layer_is_named_where_all_lie_below_or_cannot_be_told():
    low = replace(FOUND, swaps=swaps([0.0, 0.05, 0.01], [0.0, 0.0, 0.0]))
    needed = where_claims(low)[1]
    assert (needed.standing, needed.layers) == ("not-found", ())
    assert "No single layer is needed" in needed.says
    assert "at most 0.05 (0.03 to 0.07)" in needed.says
    unsure = replace(FOUND, swaps=swaps([0.0, 0.2, 0.0], [0, 0, 0], half=0.3))
    assert where_claims(unsure)[1].standing == "inconclusive"
    few = replace(FOUND, swaps=swaps([0.0, 0.9, 0.0], [0, 0, 0], num=4))
    needed = where_claims(few)[1]
    assert (needed.standing, needed.layers) == ("inconclusive", ())
    assert "too few" in needed.says


def crossed(*brought, num=8):
    """The cross trace of single hidden states at the last token, layer by layer."""
    cells = tuple(
        RoleLayer(role="last", layer=layer, effect=around(one, num=num))
        for layer, one in enumerate(brought)
    )
    effects = RoleEffects(
        kind="hidden", window=None, cells=cells, best=(),
        total_effect=around(1.0, num=num), control_effect=None, high=1.0, low=0.0,
        num_facts=num, num_unknown=0, num_negative=0, pooled=False, method="wavefront",
    )  # fmt: skip
    cross = CrossTrace(direction="tuned into base", answer="new", effects=(effects,))
    return replace(FOUND, crosses=(cross,))


def test_an_answer_is_there_from_the_layer_on_that_all_later_ones_agree_with():
    assert where_claims(crossed(0.1, 0.9, 1.0))[3].layers == (1,)
    assert where_claims(crossed(0.9, 0.2, 1.0))[3].layers == (2,)
    assert "from layer 2 on" in where_claims(crossed(0.9, 0.2, 1.0))[3].says


def test_few_prompts_name_no_layer_that_an_answer_enters_at():
    assert len(where_claims(crossed(0.1, 0.9, 1.0, num=4))) == 3


def test_that_the_new_behaviour_gained_is_no_finding_of_places():
    assert where_claims(FOUND)[0].standing == "context"


def test_where_both_say_the_same_there_is_nothing_to_follow():
    same = WhereItActs(identical=False, behaviour="own words", num_layers=2, num_same=9)
    (claim,) = where_claims(same)
    assert "say the same to all 9 requests" in claim.says
    assert claim.standing == "not-found"
