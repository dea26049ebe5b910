"""Figures of a study against naive loops over the gradients themselves."""

import json
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from scipy.stats import rankdata, spearmanr

from driftmap.results.baselines import Baseline, Beside, Projection
from driftmap.results.plain import from_plain, to_plain
from driftmap.results.retrieval import RetrievalSettings, RetrievalStudy
from driftmap.stats.refusal_rates import mcnemar, separation
from driftmap.stats.retrieval.study import study_pairs
from made_pairs import made_pairs, measured, places, with_candidates

FAST = RetrievalSettings(num_resamples=50, recall_at=(1, 3))


def study(made, settings=FAST, seed=0, **beside):
    return study_pairs(
        made.products, made.truth, settings, seed=seed, beside=Beside(**beside)
    )


def only(made, settings=FAST, seed=0, **beside):
    (of_set,) = study(made, settings, seed, **beside).sets
    return of_set


@cache
def plain():
    """What nothing stands beside, read once."""
    return study(MADE)


def reading(of_set, name, kind=None):
    return next(
        r
        for r in of_set.readings
        if r.unit.name == name and kind in (None, r.unit.kind)
    )


def cosine(one, other):
    return one @ other / np.sqrt((one @ one) * (other @ other))


def cosines(made, columns, weights=None):
    """Of concatenated gradients, pair by pair."""
    roots = np.sqrt(np.ones(len(made.queries)) if weights is None else weights)
    asked = np.concatenate([roots[n] * made.queries[n] for n in columns], axis=1)
    found = np.concatenate([roots[n] * made.originals[n] for n in columns], axis=1)
    return np.array([[cosine(q, o) for o in found] for q in asked])


MADE = made_pairs(num_originals=7, versions=2, signal=0.6)
COLUMNS = {
    "full": range(6),
    "tensor.2.o": [2],
    "q": [1, 4],
    "layer 0": [1, 2, 3],
    "attention": [1, 2, 4],
    "layer 1 mlp": [5],
    "layer 0 attention": [1, 2],
    "embed": [0],
}


@pytest.mark.parametrize("name", COLUMNS)
def test_every_unit_reads_the_cosines_of_its_joined_gradients(name):
    found = reading(plain().sets[0], name)
    scores, truth = cosines(MADE, COLUMNS[name]), MADE.truth.original
    rows = range(len(truth))
    right = np.array([scores[n, truth[n]] for n in rows])
    others = [np.delete(scores[n], truth[n]) for n in rows]
    ranks = np.array([1 + (others[n] > right[n]).sum() for n in rows])
    margins = [(right[n] - others[n].max()) / others[n].std() for n in rows]
    matching = np.eye(7, dtype=bool)[truth]
    assert found.accuracy.value.estimate == pytest.approx((ranks == 1).mean())
    assert found.reciprocal_rank.value.estimate == pytest.approx((1 / ranks).mean())
    assert found.recall[1].score.value.estimate == pytest.approx((ranks <= 3).mean())
    assert found.median_rank == np.median(ranks)
    assert found.margin.estimate == pytest.approx(np.mean(margins))
    area = separation(scores.ravel(), matching.ravel())
    assert found.auc.value.estimate == pytest.approx(area)
    assert found.closeness.match.estimate == pytest.approx(right.mean())
    assert found.closeness.background.estimate == pytest.approx(np.mean(others))
    in_sd = (right.mean() - np.mean(others)) / np.std(others)
    assert found.closeness.gap_in_sd == pytest.approx(in_sd)
    assert found.unit.num_tensors == len(COLUMNS[name])


def test_chance_stands_beside_every_rate():
    found = plain().sets[0].readings[0]
    assert found.accuracy.chance == pytest.approx(1 / 7)
    assert found.recall[1].score.chance == pytest.approx(3 / 7)
    harmonic = sum(1 / n for n in range(1, 8))
    assert found.reciprocal_rank.chance == pytest.approx(harmonic / 7)
    assert found.auc.chance == 0.5


def test_a_part_of_one_layer_has_the_mean_of_its_tensors_beside_the_joined_cosine():
    of_set = plain().sets[0]
    layer = reading(of_set, "layer 0")
    inside = [reading(of_set, f"tensor.{n}") for n in ("1.q", "2.o", "3.down")]
    accuracy = np.mean([r.accuracy.value.estimate for r in inside])
    match = np.mean([r.closeness.match.estimate for r in inside])
    assert layer.tensor_means.accuracy == pytest.approx(accuracy)
    assert layer.tensor_means.match == pytest.approx(match)
    assert reading(of_set, "embed", "part").tensor_means is None


def test_agreement_is_the_uncentred_cosine_and_the_mean_rank_correlation():
    found = reading(plain().sets[0], "tensor.2.o").agreement
    one, full = cosines(MADE, [2]), cosines(MADE, range(6))
    assert found.cosine == pytest.approx(cosine(one.ravel(), full.ravel()))
    correlations = [spearmanr(a, b).statistic for a, b in zip(one, full, strict=True)]
    assert found.spearman == pytest.approx(np.mean(correlations))


def test_truth_largest_everywhere_gives_one_with_wilsons_interval():
    made = made_pairs(num_originals=9, signal=1e4)
    of_set = only(made)
    for found in of_set.readings:
        assert found.accuracy.value.estimate == 1
        assert found.accuracy.method == "wilson"
        assert found.accuracy.value.low == pytest.approx(9 / (9 + 1.959964**2))
        assert found.auc.value.estimate == 1
        assert found.median_rank == 1
    assert of_set.num_wrong["full"] == 0
    assert "saturated" in [caution.name for caution in of_set.cautions]


def test_random_gradients_give_chance_inside_the_interval():
    made = made_pairs(num_originals=24, versions=2, signal=0.0, seed=3)
    full = only(made, replace(FAST, num_resamples=400)).readings[0]
    rates = [full.accuracy, full.reciprocal_rank, full.auc, full.recall[1].score]
    assert all(s.value.low <= s.chance <= s.value.high for s in rates)
    gap = full.closeness.gap
    assert gap.low <= 0 <= gap.high


def test_permuted_candidates_change_nothing():
    order = np.random.default_rng(1).permutation(7)
    products = with_candidates(MADE.products, [order.tolist()] * 14)
    moved = replace(MADE, products=products)
    moved_set, close = only(moved), pytest.approx
    for one, other in zip(plain().sets[0].readings, moved_set.readings, strict=True):
        assert one.accuracy == other.accuracy
        assert one.recall == other.recall
        assert one.auc.value.estimate == close(other.auc.value.estimate)
        assert one.margin.estimate == close(other.margin.estimate)
    taken, again = (
        [step.tensor for path in s.selections for step in path.steps]
        for s in (plain().sets[0], moved_set)
    )
    assert taken == again


def test_relabelled_originals_and_queries_only_relabel():
    rng = np.random.default_rng(5)
    queries, originals = rng.permutation(14), rng.permutation(7)
    where = np.argsort(originals)
    moved = measured(
        [one[queries] for one in MADE.queries],
        [one[originals] for one in MADE.originals],
        where[MADE.truth.original[queries]],
        places(),
    )
    moved_set = only(moved)
    for one, other in zip(plain().sets[0].readings, moved_set.readings, strict=True):
        assert one.accuracy.value.estimate == other.accuracy.value.estimate
        assert one.margin.estimate == pytest.approx(other.margin.estimate)


def test_the_same_seed_gives_the_same_study_and_another_seed_other_intervals():
    assert study(MADE) == plain()
    one, other = plain().sets[0].readings[1], only(MADE, seed=1).readings[1]
    assert one.margin.estimate == other.margin.estimate
    assert one.margin != other.margin


def test_all_units_and_baselines_are_resampled_alike():
    """The interval of a difference with itself has no width."""
    scores = cosines(MADE, range(6))
    of_set = only(MADE, baselines=(Baseline(name="copy", scores=scores),))
    contrast = of_set.readings[0].contrasts[0]
    assert contrast.against == "copy"
    assert (contrast.change.low, contrast.change.high) == (0, 0)
    full, copy = of_set.readings[0], reading(of_set, "copy")
    assert full.accuracy == copy.accuracy
    assert full.margin.low == pytest.approx(copy.margin.low)
    assert full.auc.value.low == pytest.approx(copy.auc.value.low)
    assert copy.closeness is None


def test_contrasts_are_mcnemar_tests_corrected_over_tensors():
    made = made_pairs(num_originals=12, signal=0.6)
    of_set = only(made)
    truth = made.truth.original
    full = cosines(made, range(6)).argmax(axis=1) == truth
    p_values = []
    for number, name in enumerate(r.unit.name for r in of_set.readings[1:7]):
        one = cosines(made, [number]).argmax(axis=1) == truth
        test, expected = reading(of_set, name).contrasts[0], mcnemar(full, one)
        assert (test.num_gained, test.num_lost) == (
            expected.num_gained,
            expected.num_lost,
        )
        assert test.p_value == pytest.approx(expected.p_value)
        assert test.change.estimate == pytest.approx(one.mean() - full.mean())
        p_values.append(expected.p_value)
    ranks = rankdata(p_values, method="ordinal")
    for number, rank in enumerate(ranks):
        least = min(
            p * 6 / r for p, r in zip(p_values, ranks, strict=True) if r >= rank
        )
        found = of_set.readings[1 + number].contrasts[0].p_adjusted
        assert found == pytest.approx(min(1, least))


def test_versions_of_one_original_are_resampled_and_tested_together():
    once = made_pairs(num_originals=10, signal=0.4)
    queries = [np.concatenate([one] * 4) for one in once.queries]
    four = measured(queries, once.originals, np.tile(np.arange(10), 4), places())
    for one, other in zip(only(once).readings, only(four).readings, strict=True):
        assert one.accuracy == other.accuracy
        assert one.contrasts == other.contrasts
        assert other.num_queries == 40


def test_originals_of_one_class_are_all_right_and_count_as_one_id():
    made = made_pairs(num_originals=6, signal=1.0)
    originals = [np.concatenate([one, one[:2]]) for one in made.originals]
    doubled = measured(made.queries, originals, np.arange(6), places())
    same = np.array([0, 1, 2, 3, 4, 5, 0, 1])
    truth = replace(doubled.truth, same=same)
    found = study(replace(doubled, truth=truth))
    once = only(made)
    assert found.num_duplicates == 4
    assert found.sets[0].readings[0].median_rank == once.readings[0].median_rank
    assert found.sets[0].readings[0].accuracy.value == once.readings[0].accuracy.value
    assert found.sets[0].readings[0].accuracy.chance == pytest.approx(
        (2 * 2 / 8 + 4 * 1 / 8) / 6
    )
    assert [q.flags for q in found.sets[0].queries[:3]] == [
        ("duplicate",),
        ("duplicate",),
        (),
    ]
    alone = study(doubled).sets[0].readings[0]
    assert alone.accuracy.value.estimate < once.readings[0].accuracy.value.estimate


def test_sets_are_studied_apart():
    made = made_pairs(num_originals=6, sets=("paraphrased", "generated"))
    found = study(made)
    assert [s.name for s in found.sets] == ["paraphrased", "generated"]
    half = measured(
        [one[6:] for one in made.queries], made.originals, np.arange(6), places()
    )
    alone = only(half)
    assert found.sets[1].readings == alone.readings
    assert found.sets[1].selections == alone.selections


def test_candidate_lists_lower_what_can_be_found_and_give_no_auc():
    lists = [[n, (n + 1) % 7, (n + 2) % 7] for n in MADE.truth.original]
    lists[3] = [0, 1]
    made = replace(MADE, products=with_candidates(MADE.products, lists))
    of_set = only(made)
    lists_of = of_set.preselection
    assert lists_of.title == "1 of 2 to 3, where found"
    assert lists_of.missing == ("q3",)
    assert lists_of.recall == pytest.approx(13 / 14)
    full = of_set.readings[0]
    scores = cosines(MADE, range(6))
    expected = [max(seen, key=lambda o: scores[n, o]) for n, seen in enumerate(lists)]
    hits = np.array(expected) == MADE.truth.original
    assert full.auc is None
    assert full.accuracy.value.estimate == pytest.approx(hits.mean())
    assert full.accuracy.chance == pytest.approx(13 / 14 / 3)
    assert of_set.queries[3].ranks["full"] is None
    assert of_set.queries[3].flags == ("not a candidate",)
    wrong = {w.query: w for w in of_set.wrong if w.unit == "full"}
    assert wrong["q3"].rank is None
    assert of_set.num_wrong["full"] == len(wrong) == (~hits).sum()


def test_forced_lists_say_so():
    lists = [[n, (n + 1) % 7] for n in MADE.truth.original]
    made = replace(MADE, products=with_candidates(MADE.products, lists))
    settings = replace(FAST, forced=True)
    found = only(made, settings, forced=("q2", "q5"))
    assert found.preselection.title == "1 of 2, truth always present"
    assert found.preselection.recall == pytest.approx(12 / 14)
    assert found.preselection.forced == ("q2", "q5")
    assert found.queries[2].flags == ("forced",)
    assert only(made, settings).preselection.recall is None
    assert "forced-truth" in [caution.name for caution in found.cautions]


def test_ranks_of_a_whole_corpus_stand_beside_short_lists():
    lists = [[n, (n + 1) % 7] for n in MADE.truth.original]
    made = replace(MADE, products=with_candidates(MADE.products, lists))
    ranks = np.array([1, 1, 2, 0, 4, 1, 1] * 2)
    bm25 = Baseline(name="bm25", ranks=ranks, num_ranked=100)
    found = reading(only(made, baselines=(bm25,)), "bm25")
    assert found.accuracy.value.estimate == pytest.approx(4 / 7)
    assert found.accuracy.chance == pytest.approx(1 / 100)
    assert found.recall[1].score.value.estimate == pytest.approx(5 / 7)
    mean = (4 + 1 / 2 + 1 / 4) / 7
    assert found.reciprocal_rank.value.estimate == pytest.approx(mean)
    assert found.margin is None
    assert found.auc is None


def test_accuracy_is_also_given_without_flagged_queries():
    found = only(MADE, flags={"q0": ("too long",), "q4": ("incomplete answer",)})
    scores = cosines(MADE, range(6))
    hits = scores.argmax(axis=1) == MADE.truth.original
    expected = np.delete(hits, [0, 4]).mean()
    assert found.readings[0].unflagged.value.estimate == pytest.approx(expected)
    assert found.queries[0].flags == ("too long",)
    assert plain().sets[0].readings[0].unflagged is None


def test_a_tensor_without_direction_ties_and_leaves_no_cosine():
    queries = [one.copy() for one in MADE.queries]
    originals = [one.copy() for one in MADE.originals]
    queries[5][:] = 0
    originals[1][2] = 0
    made = measured(queries, originals, MADE.truth.original, places())
    of_set = only(made)
    silent = reading(of_set, "tensor.5.down")
    assert silent.accuracy.value.estimate == pytest.approx(1 / 7)
    assert silent.median_rank == 4
    assert silent.num_without_direction == 14
    assert silent.closeness.match is None
    assert silent.agreement.cosine is None
    part = reading(of_set, "tensor.1.q")
    assert part.num_without_direction == 0
    assert part.closeness.match.num == 6
    assert "no-direction" in [caution.name for caution in of_set.cautions]


@pytest.mark.parametrize("num", [(1, 1), (1, 3), (2, 2), (6, 1)])
def test_the_smallest_studies_hold(num):
    num_queries, num_originals = num
    rng = np.random.default_rng(0)
    sizes = [place.num_weights for place in places()]
    made = measured(
        [rng.normal(size=(num_queries, size)) for size in sizes],
        [rng.normal(size=(num_originals, size)) for size in sizes],
        np.arange(num_queries) % num_originals,
        places(),
    )
    found = study(made)
    assert from_plain(RetrievalStudy, to_plain(found)) == found
    (of_set,) = found.sets
    assert (of_set.best_tensor is None) == (of_set.num_ids < 2)
    if num_originals == 1:
        assert of_set.readings[0].margin is None
        assert of_set.readings[0].auc is None
        assert of_set.readings[0].accuracy.chance == 1


def test_a_study_survives_json():
    cosine = np.ones((14, 7))
    found = study(
        MADE,
        baselines=(Baseline(name="bm25", ranks=np.ones(14, int), num_ranked=7),),
        projections=(Projection(name="fold", num_stored=8, cosine=cosine),),
        dot_error=np.full(MADE.products.dot.shape, 0.1),
        flags={"q1": ("too long",)},
    )
    assert from_plain(RetrievalStudy, json.loads(json.dumps(to_plain(found)))) == found


def test_products_on_disk_give_the_same(tmp_path):
    np.save(tmp_path / "dot.npy", MADE.products.dot)
    mapped = np.load(tmp_path / "dot.npy", mmap_mode="r")
    on_disk = replace(MADE, products=replace(MADE.products, dot=mapped))
    assert study(on_disk) == plain()
