"""Is every pair of prompts in the class that its labels say?"""

import numpy as np
import pytest

from driftmap.measure.trace_comparison import compare_traces
from driftmap.results.trace_comparison import PAIR_CLASSES
from driftmap.stats.profile_pairs import answer_overlap, length_differences
from made_profiles import fact, grid

ROW = [0.1, 0.5, 0.9]


def classes(*facts, known=True):
    grids = [grid(ROW, answer=f.answer, known=known) for f in facts]
    found = compare_traces(grids, facts, [(n,) for n in range(len(facts))]).classes
    assert np.array_equal(found, found.T)
    assert (np.diag(found) == -1).all()
    names = dict(enumerate(PAIR_CLASSES)) | {-1: ""}
    return names[int(found[0, 1])]


def one(name, subject, relation="city", answer="Rome", **more):
    return fact(name, more.pop("said", name), subject=subject, relation=relation,
                answer=answer, **more)  # fmt: skip


def test_prompts_of_one_direction():
    ada = one("a", "Ada", said="f")
    assert classes(ada, one("b", "Ada", said="f")) == "paraphrase"
    assert classes(ada, one("c", "Ada", "job")) == "same subject"
    assert classes(ada, one("c", " ada", "city")) == "same subject"
    assert classes(ada, one("d", "Eva")) == "same relation"
    assert classes(ada, one("e", "Eva", "job")) == "nothing shared"


def test_a_relation_without_a_name_is_shared_with_none():
    assert classes(one("a", "Ada", ""), one("b", "Eva", "")) == "nothing shared"


def test_prompts_of_two_directions():
    ada = one("a", "Ada", said="f")
    back = one("b", "Rome", answer="Ada", said="f", back=True)
    assert classes(ada, back) == "reversed"
    eva = one("c", "Eva", "job", "baker", said="g")
    assert classes(eva, back) == "nothing shared, reversed"
    ivo = one("d", "Ivo", "job", "Rome", said="h")
    assert classes(ivo, back) == ""


def test_only_facts_known_both_ways_are_reversed():
    ada = one("a", "Ada", said="f")
    back = one("b", "Rome", answer="Ada", said="f", back=True)
    assert classes(ada, back, known=None) == ""


def test_two_reversed_prompts_are_of_no_class():
    backs = [one(n, n, answer=n, said="f", back=True) for n in "ab"]
    assert classes(*backs) == ""


def test_what_answers_and_lengths_share():
    facts = [fact("a"), fact("b"), fact("c")]
    roles = (("first subject", "last subject"), ("last",))
    grids = [grid(ROW), grid(ROW, roles=roles), grid(ROW)]
    profiles = compare_traces(grids, facts, [(1, 2), (2, 3), ()]).profiles
    first, second = np.array([0, 0, 2]), np.array([1, 0, 2])
    overlap = answer_overlap(profiles, first, second)
    assert overlap.tolist() == pytest.approx([1 / 3, 1, 0])
    assert length_differences(profiles, first, second).tolist() == [3, 0, 0]
