"""Does the area find what was planted, and chance reach it as often as it should?"""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from driftmap.core.errors import MeasureError
from driftmap.core.seeds import child_seed
from driftmap.results.trace_comparison import PAIR_CLASSES
from driftmap.stats.profile_labels import relabelled, wording_numbers
from driftmap.stats.profile_pairs import labels_of
from driftmap.stats.profiles import (
    auc,
    ceiling,
    class_contrasts,
    class_likeness,
    measure_areas,
)
from made_comparison import FEW, both_ways, compared, of_facts, of_labels
from made_profiles import fact, grid

LEAST = 1 / (1 + FEW.num_permutations)
NUMBERS = st.lists(st.integers(0, 4), min_size=1, max_size=8)


def contrast(found, name, against="nothing shared", chance=FEW, own=None):
    [asked] = class_contrasts(found, chance, own, [(name, against)])
    return asked


@settings(max_examples=30)
@given(NUMBERS, NUMBERS)
def test_the_area_equals_counting(within, against):
    wins = [(a > b) + (a == b) / 2 for a in within for b in against]
    found = auc(np.array(within, float), np.array(against, float))
    assert found == pytest.approx(np.mean(wins))


def test_an_area_without_a_side_is_refused():
    with pytest.raises(MeasureError, match="needs pairs on both sides"):
        auc(np.array([]), np.array([1.0]))


def test_planted_facts_are_found():
    found = contrast(of_facts(3.0), "paraphrase")
    assert found.auc.estimate > 0.9
    assert found.auc.low > 0.7
    assert found.p_value == LEAST
    assert (found.num_facts, found.auc.num, found.num_pairs) == (16, 8, 48)
    assert found.answer_auc == 1.0
    assert found.length_auc == 0.5


def test_facts_that_mean_nothing_lie_at_one_half():
    found = [contrast(of_facts(0.0, seed=seed), "paraphrase") for seed in range(8)]
    assert sum(f.auc.low <= 0.5 <= f.auc.high for f in found) >= 7
    assert sum(f.p_value <= 0.05 for f in found) <= 1
    assert np.mean([f.p_value for f in found]) == pytest.approx(0.5, abs=0.3)


def test_facts_of_one_relation_are_told_apart_where_facts_are_planted():
    strict = ("paraphrase", "same relation")
    assert contrast(of_facts(3.0), *strict).p_value == LEAST
    of_relations = contrast(of_labels("relation", 3.0, wordings=1), "same relation")
    assert of_relations.p_value == LEAST


def test_wordings_that_are_alike_do_not_make_subjects_alike():
    """Prompts of a fact move together: one by one, they would pass for many."""
    found = [
        contrast(of_facts(5.0, seed=s, subjects=6, relations=3), "same subject")
        for s in range(8)
    ]
    assert sum(f.p_value <= 0.05 for f in found) <= 1


def test_a_planted_subject_is_found():
    assert contrast(of_labels("subject", 2.0), "same subject").p_value == LEAST
    others = contrast(of_labels("subject", 2.0, seed=1), "same relation")
    assert others.p_value > 0.05


def test_a_planted_relation_is_found():
    assert contrast(of_labels("relation", 2.0), "same relation").p_value == LEAST
    others = contrast(of_labels("relation", 2.0), "same subject")
    assert others.p_value > 0.05


def test_a_planted_reversal_is_found():
    ask = ("reversed", "nothing shared, reversed")
    found = contrast(both_ways(4.0), *ask)
    assert found.p_value == LEAST
    assert (found.num_pairs, found.num_against) == (10, 90)
    assert contrast(both_ways(0.0), *ask).p_value > 0.05


def test_the_interval_draws_whole_subjects():
    found = of_facts(1.0, subjects=4)
    values, labels = found.pearson, labels_of(found.profiles)
    rng = np.random.default_rng(child_seed(0, "profile subjects"))
    areas = []
    for _ in range(FEW.num_resamples):
        times = rng.multinomial(4, np.full(4, 0.25))
        sides = {"paraphrase": [], "nothing shared": []}
        for i, j in itertools.combinations(range(len(values)), 2):
            a, b = times[labels.subject[i]], times[labels.subject[j]]
            alike = labels.subject[i] == labels.subject[j]
            name = PAIR_CLASSES[found.classes[i, j]]
            if name in sides:
                sides[name] += [values[i, j]] * (a if alike else a * b)
        if all(sides.values()):
            areas.append(auc(*(np.array(side) for side in sides.values())))
    interval = contrast(found, "paraphrase").auc
    assert [interval.low, interval.high] == pytest.approx(
        np.quantile(areas, [0.025, 0.975])
    )


def test_questions_without_pairs_are_not_asked():
    lonely = compared(*zip(*((fact(n), grid([0.1, 0.5])) for n in "ab"), strict=True))
    assert class_contrasts(lonely, FEW) == ()
    assert [c.name for c in class_likeness(lonely)] == ["same relation"]


def test_the_ceiling_is_of_prompts_with_themselves():
    found = of_facts(1.0)
    own = np.full((2, len(found.profiles)), 0.9)
    own[1, 3:] = np.nan
    own[0, 0] = 1.0
    most = ceiling(own)
    assert most.likeness == pytest.approx((1 + 0.9 * 50) / 51)
    assert (most.num_prompts, most.num_seeds, most.low) == (48, 2, 0.9)
    assert ceiling(None) is None
    assert ceiling(np.full((1, 2), np.nan)) is None
    both = contrast(found, "paraphrase", own=own).ceiling
    shares = found.classes == PAIR_CLASSES.index("nothing shared")
    against = found.pearson[np.triu(shares)]
    known = own[np.isfinite(own)]
    assert both == pytest.approx(np.mean(known[:, None] > against))
    assert contrast(found, "paraphrase").ceiling is None


def test_classes_say_how_alike_they_are_and_what_they_share():
    found = {c.name: c for c in class_likeness(of_facts(3.0))}
    assert list(found) == list(PAIR_CLASSES[:4])
    assert found["paraphrase"].mean > found["nothing shared"].mean + 0.5
    assert found["paraphrase"].low <= found["paraphrase"].mean
    assert found["paraphrase"].answer_overlap == 1.0
    assert found["nothing shared"].answer_overlap == 0.0
    assert found["same relation"].length_difference == 0.0


def test_published_measures_stand_beside_with_their_direction():
    found = of_facts(3.0)
    areas = {(a.measure, a.name): a for a in measure_areas(found)}
    assert {m for m, _ in areas} == {
        "pearson", "earth mover", "centre of mass", "peak layer", *found.compat,
    }  # fmt: skip
    main = contrast(found, "paraphrase").auc.estimate
    assert areas["pearson", "paraphrase"].auc == pytest.approx(main)
    assert areas["z mse", "paraphrase"].auc > 0.8
    assert areas["z mse", "paraphrase"].mean < areas["z mse", "paraphrase"].mean_other
    assert areas["cosine", "paraphrase"].mean_other > 0.9


def test_a_low_that_differs_decides_published_distances():
    """The same profiles at two levels: distances see the level alone."""
    facts, grids = [], []
    rows = np.random.default_rng(1).normal(size=(8, 6))
    for who in range(8):
        for what, low in (("near", 0.1), ("far", 0.8)):
            facts.append(
                fact(f"{who}{what}", f"{who}{what}", subject=f"s{who}", relation=what)
            )
            grids.append(grid(low + 0.1 + 0.03 * rows[who], low=low, high=low + 0.3))
    areas = {(a.measure, a.name): a.auc for a in measure_areas(compared(facts, grids))}
    assert areas["cosine", "same subject"] < 0.7
    assert areas["euclid", "same relation"] == 1.0
    assert areas["pearson", "same subject"] == 1.0


def test_relabellings_move_what_is_asked_and_keep_the_rest():
    labels = labels_of(of_facts(0.0, subjects=5, relations=3).profiles)
    rng = np.random.default_rng(0)
    [deal] = relabelled(labels, ("same subject", "nothing shared"), 1, rng)
    of_fact = dict(zip(labels.fact.tolist(), deal.subject.tolist(), strict=True))
    assert [of_fact[f] for f in labels.fact.tolist()] == deal.subject.tolist()
    for relation in range(1, 4):
        there = labels.relation == relation
        assert sorted(deal.subject[there]) == sorted(labels.subject[there])
    [deal] = relabelled(labels, ("same relation", "nothing shared"), 1, rng)
    for subject in set(labels.subject.tolist()):
        there = labels.subject == subject
        assert sorted(deal.relation[there]) == sorted(labels.relation[there])
    [deal] = relabelled(labels, ("paraphrase", "nothing shared"), 1, rng)
    for number in range(3):
        there = wording_numbers(labels) == number
        assert sorted(deal.fact[there]) == sorted(labels.fact[there])
    [deal] = relabelled(labels, ("paraphrase", "same relation"), 1, rng)
    assert np.array_equal(deal.relation, labels.relation)
    assert not np.array_equal(deal.fact, labels.fact)


def test_subjects_with_one_fact_each_exchange_relations_whole():
    found = compared(
        *zip(
            *(
                (fact(f"f{n}", subject=f"s{n}", relation=f"r{n % 3}"), grid([0.1, 0.3]))
                for n in range(9)
            ),
            strict=True,
        )
    )
    labels = labels_of(found.profiles)
    rng = np.random.default_rng(0)
    [deal] = relabelled(labels, ("same relation", "nothing shared"), 1, rng)
    assert sorted(deal.relation) == sorted(labels.relation)
    assert not np.array_equal(deal.relation, labels.relation)
