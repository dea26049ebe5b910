"""Files of what the built-in model knows."""

import json

from driftmap.load.facts import read_facts
from driftmap.load.statements import read_statements
from driftmap.recipes.steps.known_world import make_knowledge
from driftmap.worlds.lines import DISHONEST, HONEST
from driftmap.worlds.world import make_world


def test_files_say_what_the_world_says(tmp_path):
    world = make_world(0)
    files = make_knowledge(0, tmp_path)
    known = read_facts(str(files["facts"])).facts
    held_out = read_facts(str(files["held_out"])).facts
    true = {(f.person, f.relation): f.object for f in world.facts}

    assert len(known) == 192
    assert {(f.subject, f.relation): f.answer for f in known} == true
    assert all(f.foil not in (None, f.answer) for f in known)
    asked = [p for f in known for p in (f.prompt, *f.paraphrases)]
    assert len(asked) == len(world.trained_wordings)
    assert len(held_out) == len(world.held_out_wordings) == 29
    assert not {f.prompt for f in held_out} & set(asked)
    assert {f.said for f in held_out} < {f.said for f in known}
    assert all(p.count(f.subject) == 1 for f in known for p in (f.prompt,))


def test_neighbours_share_the_answer_and_attributes_the_foil(tmp_path):
    known = read_facts(str(make_knowledge(0, tmp_path)["facts"])).facts
    told = {f.prompt: f.answer for f in known} | {
        p: f.answer for f in known for p in f.paraphrases
    }

    listed = [(f, p) for f in known for p in f.neighbours if p in told]
    assert len(listed) > 100
    assert all(told[p] == f.answer and f.subject not in p for f, p in listed)
    against = [(f, p) for f in known for p in f.attributes if p in told]
    assert all(told[p] == f.foil for f, p in against)


def test_half_of_all_statements_are_true_and_of_the_world(tmp_path):
    files = make_knowledge(0, tmp_path)
    statements = read_statements(str(files["statements"])).statements
    world = make_world(0)
    by_person = {
        person: {f.object for f in world.facts_of(person)} for person in world.people
    }

    assert sum(one.is_true for one in statements) * 2 == len(statements) == 384
    for one in statements:
        (person,) = [name for name in by_person if name in one.text]
        object_ = one.text.removesuffix(".").split(" ")[-1]
        assert (object_ in by_person[person]) == one.is_true
    told = json.loads(files["instructions"].read_text())
    assert told == {"honest": HONEST, "dishonest": DISHONEST}


def test_another_seed_is_another_world(tmp_path):
    first, other = (make_knowledge(seed, tmp_path)["facts"] for seed in (0, 1))

    assert first.read_bytes() != other.read_bytes()
    assert first == make_knowledge(0, tmp_path)["facts"]
