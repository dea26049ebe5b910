"""Are the experts chosen that a plain loop over sorted scores would choose?"""

import numpy as np
import pytest

from driftmap.core.errors import MeasureError, UsageError
from driftmap.core.places import BankPlace
from driftmap.results.expert_evidence import ChoiceRule
from driftmap.results.experts import ExpertScores
from driftmap.stats.experts.likeness import jaccard
from driftmap.stats.experts.selection import (
    batch_overlaps,
    choose,
    counts_by_bank,
    group_shape,
    members,
    never_visited,
    normalised,
    places,
)

SCORES = np.array([[5.0, 1.0, 4.0, 0.0], [3.0, 2.0, 5.0, np.nan]])


def banks(num=2, experts=4):
    return tuple(
        BankPlace(path=f"b.{n}", layer=n, num_experts=experts, num_chosen=2)
        for n in range(num)
    )


def naive_order(scores):
    pairs = [
        (-s, b, e)
        for b, row in enumerate(scores)
        for e, s in enumerate(row)
        if not np.isnan(s)
    ]
    return [(b, e) for _, b, e in sorted(pairs)]


def test_ties_go_to_the_earlier_layer_and_expert():
    found = choose(SCORES, ChoiceRule(k=4))
    assert found.tolist() == [[0, 0], [1, 2], [0, 2], [1, 0]]


@pytest.mark.parametrize("k", [1, 3, 7, 24])
def test_global_is_the_head_of_the_sorted_list(k):
    scores = np.random.default_rng(k).integers(0, 6, size=(4, 6)).astype(float)
    assert list(map(tuple, choose(scores, ChoiceRule(k=k)))) == naive_order(scores)[:k]


@pytest.mark.parametrize("k", [2, 5, 9, 11])
def test_per_layer_takes_as_many_of_each_and_then_the_best_of_the_rest(k):
    scores = np.random.default_rng(k).random((4, 6))
    order = naive_order(scores)
    each = k // 4
    kept = [p for p in order if [q for q in order if q[0] == p[0]].index(p) < each]
    kept += [p for p in order if p not in kept][: k - len(kept)]
    found = choose(scores, ChoiceRule(k=k, selection="per_layer"))
    assert list(map(tuple, found)) == [p for p in order if p in kept]


def test_per_layer_gives_what_one_bank_lacks_to_the_others():
    scores = np.array([[1.0, 0.0], [3.0, 2.0]])
    rule = ChoiceRule(k=3, selection="per_layer", only_positive=True)
    assert choose(scores, rule).tolist() == [[1, 0], [1, 1], [0, 0]]


def test_top_p_is_the_shortest_prefix_that_reaches_the_share():
    shares = np.array([[0.1, 0.1, 0.8], [0.5, 0.3, 0.2]])
    for p, counts in ((0.2, (1, 1)), (0.8, (1, 2)), (0.9, (2, 3)), (1.0, (3, 3))):
        found = choose(shares, ChoiceRule(k=None, selection="top_p", p=p))
        assert counts_by_bank(found, 2) == counts


def test_all_experts_are_a_group():
    found = choose(SCORES, ChoiceRule(k=7))
    assert sorted(map(tuple, found)) == sorted(naive_order(SCORES))


def test_what_no_token_visits_is_never_chosen():
    unvisited = np.zeros(SCORES.shape, dtype=bool)
    unvisited[0, 0] = True
    found = choose(SCORES, ChoiceRule(k=7), unvisited)
    assert len(found) == 6
    assert [0, 0] not in found.tolist()


def test_layer_means_take_depth_out():
    scores = np.array([[100.0, 101.0], [1.0, 3.0]])
    assert choose(scores, ChoiceRule(k=1)).tolist() == [[0, 1]]
    by_layer = ChoiceRule(k=1, normalise="layer")
    assert choose(scores, by_layer).tolist() == [[1, 1]]
    assert np.allclose(normalised(scores)[1], [0.5, 1.5])


@pytest.mark.parametrize("row", [[0.0, 0.0], [1.0, -1.0], [-2.0, 1.0]])
def test_a_layer_without_positive_mean_is_refused(row):
    with pytest.raises(MeasureError, match=r"bank 1 have mean .* use `normalise none`"):
        normalised(np.array([[1.0, 2.0], row]))


def test_a_group_has_a_shape():
    scores = np.array([[100.0, 101.0, 1.0], [1.0, 3.0, 1.0]])
    tokens = np.array([[9, 10, 1], [2, 3, 2]])
    shape = group_shape(scores, ChoiceRule(k=2), None, tokens)
    assert shape.by_bank == (2, 0)
    assert shape.normalised is not None
    assert shape.normalised_by_bank == (1, 1)
    assert shape.normalised_jaccard == 1 / 3
    assert shape.chance == pytest.approx(2 / (2 * 6 - 2))
    assert shape.tau_traffic == pytest.approx(_tau(scores, tokens))
    signs = group_shape(scores - 40, ChoiceRule(k=2), None, tokens)
    assert signs.normalised is None


def _tau(a, b):
    a, b = a.ravel(), b.ravel()
    pairs = [(i, j) for i in range(a.size) for j in range(i)]
    signs = [(np.sign(a[i] - a[j]), np.sign(b[i] - b[j])) for i, j in pairs]
    same = sum(x * y for x, y in signs)
    return same / np.sqrt(sum(x != 0 for x, _ in signs) * sum(y != 0 for _, y in signs))


def test_names_and_rows_are_the_same_experts():
    chosen = choose(SCORES[:, :3], ChoiceRule(k=3))
    named = members(chosen, banks(experts=3))
    assert named[1].layer == 1
    assert named[0].key == "b.0#expert.0"
    assert np.array_equal(places(named, banks(experts=3)), chosen)
    with pytest.raises(MeasureError, match=r"b\.1#expert\.2: the model has no such"):
        places(named, banks(experts=2))


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (ChoiceRule(k=8), "8 experts were asked for, but there are 7"),
        (ChoiceRule(k=0), "choose from 1 to 7"),
        (ChoiceRule(k=None, selection="top_p"), "got the share None"),
        (ChoiceRule(k=None, selection="top_p", p=1.5), "got the share 1.5"),
    ],
)
def test_a_rule_that_cannot_be_meant_is_refused(rule, message):
    with pytest.raises(UsageError, match=message):
        choose(SCORES, rule)


def test_shares_are_neither_negative_nor_nothing():
    rule = ChoiceRule(k=None, selection="top_p", p=0.5)
    with pytest.raises(MeasureError, match="some scores are below 0"):
        choose(np.array([[1.0, -1.0]]), rule)
    with pytest.raises(MeasureError, match="bank 1 sum to 0"):
        choose(np.array([[1.0, 1.0], [0.0, 0.0]]), rule)


def test_two_empty_groups_are_alike():
    empty = np.empty((0, 2), dtype=np.int64)
    assert jaccard(empty, empty) == 1.0


def test_batches_choose_alike_or_not():
    batches = np.array(
        [[[5, 4, 0, 0]], [[5, 0, 4, 0]], [[5, 0, 4, 0]]], dtype=np.float32
    )
    assert batch_overlaps(batches, ChoiceRule(k=2)) == (1 / 3, 1.0)


def test_an_expert_without_tokens_was_never_visited():
    routed = np.zeros((3, 1, 4), dtype=np.int64)
    routed[1, 0, 2] = 5
    scores = ExpertScores(
        banks=banks(1), sample_ids=("a", "b", "c"), scores={}, examples={},
        routed_tokens=routed, batch_size=1, num_batches=3,
    )  # fmt: skip
    assert never_visited(scores).tolist() == [[True, True, False, True]]
