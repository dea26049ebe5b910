"""Is every doubt about a study of experts named where it applies, and only there?"""

from dataclasses import replace

import pytest

from driftmap.results.expert_evidence import Agreement, SplitHalves
from driftmap.stats.experts.cautions import expert_cautions
from made_expert_studies import arms, around, effects, findings, items

QUIET = items(safe_response="own", texts="same", num_cut=0)


def ranking(*, overlap=0.8, tau=0.2, jaccard=0.7):
    """What the first method chose, of given depth, traffic and stability."""
    made = findings().identified[0]
    shape = replace(made.shape, normalised_jaccard=overlap, tau_traffic=tau)
    full = replace(made.halves.full, jaccard=around(jaccard, 0.1))
    return replace(made, shape=shape, halves=SplitHalves(name="x", curve=(full,)))


def names(of=QUIET, found=None, **more):
    rows = (ranking(),) if found is None else found
    return [caution.name for caution in expert_cautions(of, rows, **more)]


def many_draws():
    return tuple(replace(arm, num_models=5) for arm in arms())


def test_a_sound_study_has_none():
    assert names(arms=many_draws(), agreement=findings().agreement) == []


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"is_in_sample": True}, "in-sample"),
        ({"num_held_out": 19}, "few-items"),
        ({"safe_response": "constant"}, "one-sentence"),
        ({"texts": "own"}, "own-texts"),
        ({"num_cut": 2}, "cut-prompts"),
    ],
)
def test_items_speak_for_themselves(changes, name):
    assert names(replace(QUIET, **changes), arms=many_draws()) == [name]


@pytest.mark.parametrize("changes", [{"is_in_sample": True}, {"num_held_out": 1}])
def test_held_out_items_do_not_matter_where_nothing_was_tuned(changes):
    assert names(replace(QUIET, **changes)) == []


def test_only_training_items_rule_an_answer_out():
    found = expert_cautions(replace(QUIET, is_in_sample=True), (ranking(),), arms())
    assert [c.name for c in found if c.is_blocking] == ["in-sample"]


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"overlap": 0.49}, ["depth"]),
        ({"overlap": 0.5}, []),
        ({"overlap": None}, []),
        ({"tau": 0.41}, ["traffic"]),
        ({"tau": None}, []),
        ({"jaccard": 0.19}, ["unstable"]),
        ({"jaccard": 0.2}, []),
    ],
)
def test_rankings_are_judged_at_the_stated_levels(changes, name):
    assert names(found=(ranking(**changes),)) == name


def test_later_rounds_are_not_judged():
    later = replace(ranking(overlap=0.1, tau=0.9), round=2)
    assert names(found=(ranking(), later)) == []


def test_methods_that_agree_by_chance_are_named():
    made = findings().agreement
    pair = replace(made.pairs[0], jaccard=around(0.15, 0.1))
    both = (ranking(), replace(findings().identified[1], halves=None, shape=None))
    found = expert_cautions(
        QUIET, both, agreement=Agreement(methods=made.methods, pairs=(pair,))
    )
    assert [c.name for c in found] == ["methods-disagree"]
    assert "`mean_example_abs` and `risk_difference` choose groups" in found[0].sentence


@pytest.mark.parametrize(("overlap", "expected"), [(0.2, 0), (0.09, 1)])
def test_an_overlap_without_interval_is_read_as_it_is(overlap, expected):
    made = findings().agreement
    known = replace(around(overlap, 0.0, 0), low=0.0, high=1.0)
    pair = replace(made.pairs[0], jaccard=known)
    both = (ranking(), replace(findings().identified[1], halves=None, shape=None))
    of = Agreement(methods=made.methods, pairs=(pair,))
    assert names(found=both, agreement=of).count("methods-disagree") == expected


def test_statistics_that_chose_no_group_may_disagree_in_silence():
    made = findings().agreement
    pair = replace(made.pairs[0], jaccard=around(0.15, 0.1))
    assert names(agreement=Agreement(methods=made.methods, pairs=(pair,))) == []


def test_few_random_groups_are_counted():
    assert names(arms=arms()) == ["few-draws"]


@pytest.mark.parametrize("lacking", [{"num_unmatched": 3}, {"num_missing": 3}])
def test_unmatched_experts_are_counted_for_groups_alone(lacking):
    made = effects(findings().identified[0])
    group = replace(made.effects[0], null=replace(made.effects[0].null, **lacking))
    found = expert_cautions(
        QUIET, (ranking(),), effects=replace(made, effects=(group,))
    )
    assert [(c.name, c.value) for c in found] == [("unmatched", 3 / 8)]
    single = replace(group, experts=group.experts[:1])
    assert names(effects=replace(made, effects=(single,))) == []
