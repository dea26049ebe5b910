"""Are the three questions answered with all their numbers, and only where asked?"""

from dataclasses import replace

import pytest

from driftmap.results.statistics import Interval
from driftmap.results.trace_comparison import ClassContrast
from driftmap.stats.profile_verdict import (
    adjusted,
    comparison_cautions,
    findings,
)
from made_comparison import kind_of, of_facts


def contrast(name="paraphrase", against="nothing shared", p=0.001, **more):
    return ClassContrast(
        kind="hidden", name=name, against=against,
        auc=Interval(estimate=0.78, low=0.7, high=0.85, level=0.95, num=30),
        ceiling=0.93, p_value=p, p_adjusted=None, num_permutations=999,
        num_pairs=120, num_against=4000, num_facts=40, answer_auc=0.5,
        length_auc=0.5,
    ) if not more else replace(contrast(name, against, p), **more)  # fmt: skip


def test_a_finding_has_all_its_numbers():
    first, second, third = findings([contrast()])
    assert first.sentence == (
        "Paraphrases share layers more than unrelated facts do: AUC 0.78 (0.70 to "
        "0.85), ceiling 0.93, 40 facts of 30 subjects, p 0.001."
    )
    assert first.is_told_apart
    assert not second.is_told_apart
    assert second.contrast is None
    assert third.sentence.startswith(
        "Whether a fact and its reversal share layers more than unrelated facts do "
        "could not be asked: there is no fact that the model predicts in both"
    )


def test_what_chance_reaches_is_not_told_apart():
    [first, *_] = findings([contrast(p=0.2, ceiling=None)])
    assert first.title == "Paraphrases are not told apart from unrelated facts"
    assert first.sentence.startswith(
        "Paraphrases are not told apart from unrelated facts (not told apart from "
        "chance): AUC 0.78"
    )
    assert first.sentence.endswith(
        "ceiling not measured, 40 facts of 30 subjects, p 0.2."
    )


def test_all_tests_but_the_declared_one_are_adjusted():
    others = [contrast("same subject", p=0.04), contrast("same relation", p=0.03)]
    [first], found = adjusted([[contrast(p=0.04)], others])
    assert first.p_adjusted is None
    assert [one.p_adjusted for one in found] == pytest.approx([0.04, 0.04])
    assert adjusted([[contrast()]])[0][0].p_adjusted is None
    assert adjusted([[], []]) == ((), ())


def test_an_adjusted_p_decides():
    strict = contrast("paraphrase", "same relation", p=0.04, p_adjusted=0.06)
    found = findings([contrast(), strict])[1]
    assert not found.is_told_apart
    assert "adjusted p 0.06" in found.sentence


def test_what_weakens_the_answer_is_said():
    names = {c.name for c in comparison_cautions([kind_of(of_facts(3.0))])}
    assert names == {"few-subjects", "shared-answers"}
    bare = of_facts(3.0, subjects=12)
    bare = replace(bare, profiles=tuple(replace(p, relation="") for p in bare.profiles))
    bare = replace(bare, refused=replace(bare.refused, weak=500))
    names = {c.name for c in comparison_cautions([kind_of(bare, own=0.5)])}
    assert names == {"shared-answers", "low-ceiling", "many-refused", "no-relations"}
