"""What two models are asked: what was given, their own world, or what most know."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from driftmap.core.errors import DataError
from driftmap.recipes.compare_options import ProbeOptions
from driftmap.recipes.edit_options import TaughtOptions
from driftmap.recipes.steps.comparing.probing import probes_for
from driftmap.store.recipe_file import save_recipe
from driftmap.worlds.world import make_world
from tiny_studies import write_rows

ELSEWHERE = Path("somewhere/adapter")


@pytest.fixture
def world(tmp_path):
    """A folder laid out as that of a model which driftmap made."""
    (tmp_path / "aligned").mkdir()
    (tmp_path / "data").mkdir()
    (tmp_path / "organism.json").write_text(json.dumps({"seed": 3}))
    for name in ("harmful_test", "harmless_test", "questions"):
        rows = [{"prompt": f"{name} {n}", "response": f"answer {n}"} for n in range(40)]
        write_rows(tmp_path / "data" / f"{name}.jsonl", rows)
    return tmp_path / "aligned"


def test_a_model_of_driftmaps_is_asked_about_its_world(world):
    probes = probes_for(
        str(world), ELSEWHERE, ProbeOptions(num_facts=5, num_texts=3), 0
    )
    people = make_world(3).people
    assert len(probes.facts) == 5
    assert all(fact.subject in people for fact in probes.facts)
    assert all(fact.foil and fact.paraphrases for fact in probes.facts)
    assert len(probes.texts) == 3
    assert probes.texts[1].startswith("answer")
    assert all(one.prompt.startswith("harmful_test") for one in probes.harmful)
    assert all(one.response.startswith("answer") for one in probes.held_out)
    assert set(probes.sources.values()) == {"the model's own world"}


def test_any_other_model_is_asked_what_most_know():
    probes = probes_for("owner/model", ELSEWHERE, ProbeOptions(num_requests=4), 0)
    assert (len(probes.facts), len(probes.harmful), len(probes.held_out)) == (24, 4, 0)
    assert set(probes.sources) == {"facts", "texts", "harmful", "harmless"}
    assert set(probes.sources.values()) == {"built in"}


def test_what_is_given_takes_the_place_of_the_defaults(world, tmp_path):
    facts = [
        {"subject": "X", "prompt": f"X {n} is", "answer": "a", "foil": "b"}
        for n in range(4)
    ]
    (tmp_path / "facts.json").write_text(json.dumps(facts))
    (tmp_path / "texts.txt").write_text("One text.\n\nAnother\ntext.\n\n\n")
    write_rows(tmp_path / "ask.jsonl", [{"prompt": "do it"}, {"prompt": "or that"}])
    options = ProbeOptions(
        facts=str(tmp_path / "facts.json"),
        texts=(str(tmp_path / "texts.txt"),),
        harmful=str(tmp_path / "ask.jsonl"),
        num_facts=3,
    )
    probes = probes_for(str(world), ELSEWHERE, options, 0)
    assert len(probes.facts) == 3
    assert probes.texts == ("One text.", "Another\ntext.")
    assert [one.prompt for one in probes.harmful] == ["do it", "or that"]
    assert probes.sources["facts"] == str(tmp_path / "facts.json")
    assert probes.sources["harmless"] == "the model's own world"


def test_the_hash_follows_what_is_asked(world):
    options = ProbeOptions(num_facts=5)
    first = probes_for(str(world), ELSEWHERE, options, 0)
    assert first.sha256 == probes_for(str(world), ELSEWHERE, options, 0).sha256
    assert first.sha256 != probes_for(str(world), ELSEWHERE, options, 1).sha256
    fewer = replace(options, num_texts=2)
    assert first.sha256 != probes_for(str(world), ELSEWHERE, fewer, 0).sha256


def test_a_text_without_words_is_refused(tmp_path):
    (tmp_path / "texts.txt").write_text("\n \n")
    with pytest.raises(DataError, match="holds no text"):
        probes_for(
            "m", ELSEWHERE, ProbeOptions(texts=(str(tmp_path / "texts.txt"),)), 0
        )


def test_an_edit_is_asked_about_what_it_taught(world, tmp_path):
    facts = [
        {"subject": "X", "prompt": f"X {n} is", "answer": "a", "foil": "b"}
        for n in range(4)
    ]
    file = tmp_path / "facts.json"
    file.write_text(json.dumps(facts))
    run = tmp_path / "edit"
    adapter = run / "checkpoints" / "lora" / "step-000010"
    adapter.mkdir(parents=True)
    taught = TaughtOptions(facts=str(file), num_facts=2, pick="first")
    settings = {"taught": asdict(taught), "seed": 0}
    save_recipe(run / "run.yaml", settings, "edit")
    probes = probes_for(str(world), adapter, ProbeOptions(), 0)
    assert [fact.prompt for fact in probes.facts] == ["X 0 is", "X 1 is"]
    assert probes.sources["facts"] == "taught by the edit"
    file.unlink()
    probes = probes_for(str(world), adapter, ProbeOptions(num_facts=3), 0)
    assert probes.sources["facts"] == "the model's own world"
