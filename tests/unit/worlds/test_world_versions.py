import json
import re

import pytest

from driftmap.load.paired_sets import read_pairs
from driftmap.recipes.steps.paired_world import make_pairs
from driftmap.worlds.facts import RELATIONS
from driftmap.worlds.requests import HELD_OUT_OPENERS, OPENERS, REFUSAL, VERBS
from driftmap.worlds.versions.pairs import make_versions
from driftmap.worlds.words import all_words
from driftmap.worlds.world import make_world

SEEDS = (0, 1)


@pytest.fixture(scope="module", params=SEEDS)
def world(request):
    return make_world(request.param)


@pytest.fixture(scope="module")
def versions(world):
    return make_versions(world)


def both(versions):
    originals = {one.id: one for one in versions["originals"]}
    return [(originals[one.original_id], one) for one in versions["paraphrased"]]


def kind(versions, name):
    return [(one, other) for one, other in both(versions) if one.label == name]


def said(sample):
    return {word.strip(".,?") for m in sample.messages for word in m.content.split()}


def test_every_original_has_one_version_and_its_own_words(versions):
    originals, others = versions["originals"], versions["paraphrased"]
    assert len(originals) == len(others) == 144
    assert [one.original_id for one in others] == [one.id for one in originals]
    assert {one.version for one in others} == {"paraphrased"}
    assert len({one.prompt for one in (*originals, *others)}) == 288
    counts = {
        name: len(kind(versions, name)) for name in ("answered", "refused", "fact")
    }
    assert counts == {"answered": 72, "refused": 24, "fact": 48}


def test_most_answers_are_distinct_and_reworded(versions):
    told = [one.response for one in versions["originals"]]
    assert len(set(told)) == 72 + 48 + 1
    for original, other in both(versions):
        same = original.response == other.response
        assert same == (original.label == "refused")


def test_a_reworded_request_keeps_the_answer(versions):
    pairs = zip(
        versions["originals"],
        versions["reworded"],
        versions["paraphrased"],
        strict=True,
    )
    for original, reworded, other in pairs:
        assert (reworded.original_id, reworded.version) == (original.id, "reworded")
        assert reworded.prompt == other.prompt != original.prompt
        assert reworded.response == original.response


def test_requests_keep_their_pair_and_change_their_opener(world, versions):
    openers = [re.escape(o).replace(r"\{deed\}", "(.+)") for o in
               (*OPENERS, *HELD_OUT_OPENERS)]  # fmt: skip

    def read(text):
        return next(
            (k, found[1]) for k, opener in enumerate(openers)
            if (found := re.fullmatch(opener, text))
        )  # fmt: skip

    harmful = {(p.verb, p.object) for p in world.requests.harmful["train"]}
    for original, other in kind(versions, "answered") + kind(versions, "refused"):
        (opener, deed), (again, same) = read(original.prompt), read(other.prompt)
        assert deed == same
        assert opener != again
        words = deed.split()
        assert ((words[0], words[2]) in harmful) == (original.label == "refused")
        assert words[0] in VERBS
        if original.label == "answered":
            assert set(re.findall(r"\w+", original.response)) == set(
                re.findall(r"\w+", other.response)
            )
        else:
            assert other.response == REFUSAL


def test_facts_stay_true_in_other_words(world, versions):
    facts = {(f.person, f.object): f.relation for f in world.facts}
    people = []
    for original, other in kind(versions, "fact"):
        (person,) = said(original) & set(world.people)
        people.append(person)
        told = other.response.removesuffix(".").split()[-1]
        assert told == original.response.removesuffix(".").split()[-1]
        relation = RELATIONS[facts[person, told]]
        asked = [q.format(who=person) for q in relation.questions]
        assert [original.prompt, other.prompt] == asked
        assert other.response.removesuffix(f" {told}.") in [
            w.format(who=person) for w in relation.wordings
        ]
    assert sorted(people) == sorted(world.people)


def test_every_word_is_one_that_the_organism_knows(world, versions):
    known = {*all_words(), *world.people}
    for one in (*versions["originals"], *versions["paraphrased"]):
        assert said(one) <= known


def test_the_same_seed_gives_the_same_bytes(tmp_path):
    one, again, other = (
        make_pairs(seed, tmp_path / name)
        for seed, name in ((0, "one"), (0, "again"), (1, "other"))
    )
    for name in ("originals", "paraphrased"):
        assert one[name].read_bytes() == again[name].read_bytes()
        assert one[name].read_bytes() != other[name].read_bytes()
    row = json.loads(one["paraphrased"].read_text().splitlines()[0])
    assert set(row) == {"id", "original_id", "version", "messages", "label", "origin"}


def test_they_are_read_as_pairs(tmp_path):
    files = make_pairs(0, tmp_path)
    pairs = read_pairs(str(files["originals"]), [str(files["paraphrased"])])
    assert pairs.original == tuple(range(144))
    assert set(pairs.sets) == {"paraphrased"}
    assert pairs.dropped == ()
