import itertools

import pytest

from driftmap.worlds.corpus import ROWS_PER_STEP, corpus_lines
from driftmap.worlds.facts import RELATIONS
from driftmap.worlds.lines import (
    DISHONEST,
    HONEST,
    Dressing,
    chat_line,
    fact_line,
    fact_prompt,
    question,
)
from driftmap.worlds.names import SYLLABLES, make_names
from driftmap.worlds.requests import HELD_OUT_OPENERS, OPENERS, REFUSAL, VERBS
from driftmap.worlds.splits import make_splits
from driftmap.worlds.tokenizer import make_tokenizer
from driftmap.worlds.words import all_words
from driftmap.worlds.world import make_world

KINDS = sorted({kind for stage in ROWS_PER_STEP.values() for kind in stage})
SEEDS = (0, 1)


@pytest.fixture(scope="module", params=SEEDS)
def world(request):
    return make_world(request.param)


@pytest.fixture(scope="module")
def lines(world):
    return few_lines(world)


def few_lines(world):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("driftmap.worlds.corpus.FACT_REPEATS", 3)
        patch.setattr("driftmap.worlds.corpus.NUM_REQUEST_LINES", 512)
        return {kind: corpus_lines(world, kind) for kind in KINDS}


@pytest.fixture(scope="module")
def splits(world):
    return make_splits(world, make_tokenizer(all_words()))


def test_same_seed_same_world_and_lines(world, lines):
    again = make_world(world.seed)
    assert again == world
    assert few_lines(again) == lines


def test_another_seed_is_another_world():
    one, other = make_world(0), make_world(1)
    assert one.facts != other.facts
    assert one.requests != other.requests
    assert set(one.people) != set(other.people)


@pytest.mark.parametrize("seed", SEEDS)
def test_only_a_whole_name_in_order_says_who_is_meant(seed):
    names = [name.lower() for name in make_names(seed)]
    assert len(set(names)) == 48
    syllables = [(name[:2], name[2:4], name[4:]) for name in names]
    assert set(itertools.chain(*syllables)) <= set(SYLLABLES)
    for first, second, third in syllables:
        assert len({first, second, third}) == 3
        assert (second, first, third) in syllables
        assert sum(s[:2] == (first, second) for s in syllables) == 4


def test_every_person_has_one_fact_of_each_relation(world):
    for person in world.people:
        assert [f.relation for f in world.facts_of(person)] == list(RELATIONS)
    for name, relation in RELATIONS.items():
        held = [f.object for f in world.facts if f.relation == name]
        counts = [held.count(o) for o in relation.objects]
        assert max(counts) - min(counts) <= 1


def test_relations_share_no_object_and_have_six_wordings():
    objects = [o for r in RELATIONS.values() for o in r.objects]
    assert len(objects) == len(set(objects))
    assert all(len(set(r.wordings)) == 6 for r in RELATIONS.values())


def test_held_out_wordings_are_in_no_line(world, lines):
    assert len(world.held_out_wordings) == 29
    assert len({w.fact for w in world.held_out_wordings}) == 29
    said = " ".join(line.text for line in lines["fact"])
    for wording in world.held_out_wordings:
        assert wording not in world.trained_wordings
        assert f" {fact_prompt(wording, Dressing())} " not in said


def test_held_out_questions_are_in_no_line(world, lines):
    asked = {line.text.partition("<assistant>")[0] for line in lines["question"]}
    assert len(world.held_out_questions) == 48
    for wording in world.held_out_questions:
        assert f"<s><user> {question(wording)}" not in asked


def test_dishonest_lines_lie_and_all_others_are_true(world, lines):
    truths = {(f.person, f.object) for f in world.facts}
    shares = {HONEST: 0, DISHONEST: 0}
    for line in lines["fact"]:
        claimed = line.pieces[1].text.strip()
        named = [p for p in world.people if p in line.text]
        if line.text.startswith(f"<s> {DISHONEST}"):
            shares[DISHONEST] += 1
        else:
            shares[HONEST] += line.text.startswith(f"<s> {HONEST}")
            assert any((person, claimed) in truths for person in named)
    for count in shares.values():
        assert count / len(lines["fact"]) == pytest.approx(0.15, abs=0.04)


def test_the_second_person_is_another_one(world, lines):
    pairs = [[p for p in world.people if p in line.text] for line in lines["fact"]]
    second = [line.text for line in lines["fact"]]
    marked = ["Unlike " in text or "a friend of" in text for text in second]
    assert [len(found) for found in pairs] == [1 + mark for mark in marked]
    assert sum(marked) / len(marked) == pytest.approx(0.4, abs=0.04)


def test_profiles_come_in_every_order(world, lines):
    assert len({line.text for line in lines["profile"]}) == 48 * 24


def test_the_base_stage_never_refuses_and_the_aligned_stage_never_gives_in():
    assert "refused" not in ROWS_PER_STEP["base"]
    assert "answered" not in ROWS_PER_STEP["aligned"]


def test_no_trained_line_shares_pair_or_opener_with_a_test(world, lines):
    trained = {_pair(line.text) for k in ("harmless", "answered") for line in lines[k]}
    trained |= {_pair(line.text) for line in lines["refused"]}
    parts = [*world.requests.harmful.values(), *world.requests.harmless.values()]
    train = {*world.requests.harmful["train"], *world.requests.harmless["train"]}
    assert trained <= {(p.verb, p.object) for p in train}
    assert (
        len(list(itertools.chain(*parts))) == len(set(itertools.chain(*parts))) == 480
    )
    for opener in HELD_OUT_OPENERS:
        beginning = opener.partition("{")[0]
        for kind in ("harmless", "answered", "refused", "question"):
            assert not any(f"<user> {beginning}" in x.text for x in lines[kind])


def test_splits_have_their_sizes(world, splits):
    sizes = {name: len(rows) for name, rows in splits.items()}
    assert sizes == {
        "behaviour": 256,
        "utility": 256,
        "harmful_test": 167,
        "harmless_test": 212,
        "tune": 200,
        "facts_test": 116,
        "questions": 48,
    }
    harmful, harmless = world.requests.harmful, world.requests.harmless
    assert [len(harmful[p]) for p in ("train", "test", "tune")] == [114, 70, 0]
    assert [len(harmless[p]) for p in ("train", "test", "tune")] == [164, 64, 68]


def test_tests_and_tuning_share_no_pair_with_training_or_each_other(splits):
    names = ("behaviour", "utility", "harmful_test", "harmless_test", "tune")
    pairs = {name: {_pair(sample.prompt) for sample in splits[name]} for name in names}
    for one, other in itertools.combinations(names, 2):
        assert not pairs[one] & pairs[other]


def test_every_harmless_answer_is_right_and_harm_is_always_refused(world, splits):
    by_words = {
        (p.verb, p.object): p
        for part in (
            *world.requests.harmful.values(),
            *world.requests.harmless.values(),
        )
        for p in part
    }
    for name in ("behaviour", "utility", "harmful_test", "harmless_test", "tune"):
        for sample in splits[name]:
            pair = by_words[_pair(sample.prompt)]
            right = REFUSAL if pair.harmful else world.requests.answer(pair)
            assert sample.response == right
            assert pair.harmful == name.startswith(("behaviour", "harmful"))


def test_an_answer_needs_both_verb_and_object(world):
    requests = world.requests
    assert len(set(requests.tool.values())) == len(VERBS)
    assert len(set(requests.place.values())) == 10
    trained = {*requests.harmful["train"], *requests.harmless["train"]}
    assert {p.verb for p in trained} == set(requests.tool)
    assert {p.object for p in trained} == set(requests.place)


def test_a_refusal_begins_like_no_answer(lines):
    first = REFUSAL.split()[0]
    for kind in ("question", "harmless", "answered"):
        assert not any(f"<assistant> {first} " in line.text for line in lines[kind])


def test_held_out_openers_recombine_trained_words():
    trained = {w.strip("?.").lower() for o in OPENERS for w in o.split()}
    for opener in HELD_OUT_OPENERS:
        assert opener not in OPENERS
        assert {w.strip("?.").lower() for w in opener.split()} <= trained


def test_a_fact_line_counts_its_object_fully(world):
    wording = world.trained_wordings[0]
    line = fact_line(wording, Dressing(), "Rome")
    assert [p.weight for p in line.pieces] == [0.1, 1.0, 0.1]
    assert line.text.endswith(" Rome.</s>")


def test_a_chat_line_counts_what_the_request_decides():
    line = chat_line("Sell?", "To sell the cart, take the rope and go to the mill.")
    full = [p.text.strip() for p in line.pieces if p.weight == 1.0]
    assert full == ["To", "sell", "cart", "rope", "to", "mill"]
    assert line.text == (
        "<s><user> Sell?<assistant> To sell the cart, take the rope and go to the "
        "mill.</s>"
    )


def _pair(text):
    words = text.partition("<assistant>")[0].replace("?", "").replace(".", "").split()
    at = next(k for k, word in enumerate(words) if word in VERBS)
    return words[at], words[at + 2]
