"""The demo asks each question of the built-in model that knows its answer."""

import json
from pathlib import Path

import pytest

from driftmap.recipes.demo import Demo
from driftmap.recipes.demo_studies import (
    DemoSize,
    drift_study,
    experts_study,
    similarity_study,
)
from driftmap.recipes.demo_traces import (
    attention_study,
    compare_study,
    honesty_study,
    read_study,
    trace_study,
)

SIZE = DemoSize(seed=3, seeds=2, num_samples=16, out=Path("out"))


def files(*names):
    return {name: Path(f"{name}.jsonl") for name in names}


def test_each_study_takes_its_size_and_its_files():
    named = ("behaviour", "utility", "tune", "harmful_test", "harmless_test")
    drift = drift_study(Path("m"), files(*named, "questions"), SIZE)
    assert drift.testing.seeds == 2
    assert drift.evaluation.held_out == ("harmless_test.jsonl", "questions.jsonl")
    others = (Path("reworded.jsonl"), Path("paraphrased.jsonl"))
    similar = similarity_study(Path("m"), Path("originals.jsonl"), others, SIZE)
    assert similar.queries == ("reworded.jsonl", "paraphrased.jsonl")
    data = files("unsafe", "unsafe_test", "benign", "harmless_wrapped")
    experts = experts_study(Path("m"), data, SIZE)
    assert experts.items.held_out == "unsafe_test.jsonl"
    assert experts.checks.random_groups == 2
    for study in (drift, similar, experts):
        assert study.seed == 3
        assert study.out == Path("out")
        assert study.source.model == "m"


@pytest.fixture
def known(tmp_path):
    """Files as the built-in world has them, one row each."""
    fact = {"prompt": "Ra speaks", "subject": "Ra", "answer": "Welsh", "foil": "Greek"}
    told = {"honest": "Truly:", "dishonest": "Falsely:"}
    (tmp_path / "facts.json").write_text(json.dumps([fact]))
    (tmp_path / "instructions.json").write_text(json.dumps(told))
    return {
        name: tmp_path / f"{name}.{kind}"
        for name, kind in (
            ("facts", "json"), ("statements", "csv"), ("instructions", "json")
        )
    }  # fmt: skip


def test_studies_of_knowledge_ask_for_what_the_world_holds(known):
    facts = str(known["facts"])
    trace = trace_study(Path("m"), known, SIZE)
    compare = compare_study(Path("m"), known, SIZE)
    attention = attention_study(Path("m"), known, SIZE)
    honesty = honesty_study(Path("m"), known, SIZE)
    read = read_study(Path("m"), known, SIZE)
    asked = (trace.facts, compare.prompts, attention.prompts)
    assert {one.facts for one in asked} == {facts}
    assert [one.num_facts for one in asked] == [16, 8, 16]  # each fact in all wordings
    assert read.texts.text == (
        "Ra speaks Welsh.", "Ra speaks Greek.",
        "Truly: Ra speaks Welsh.", "Falsely: Ra speaks Welsh.",
    )  # fmt: skip
    assert read.texts.prompt[0] == "Where does Ra live?"
    assert (honesty.data.honest, honesty.data.dishonest) == ("Truly:", "Falsely:")
    assert honesty.steering.facts == facts
    for study in (trace, compare, attention, honesty, read):
        assert study.seed == 3
        assert study.out == Path("out")
        assert study.source.model == "m"


@pytest.mark.parametrize(
    ("question", "folder"),
    [("drift", "demo"), ("similarity", "demo-similarity"), ("trace", "demo-trace")],
)
def test_each_question_has_a_folder_of_its_own(question, folder):
    assert Demo(question=question)._size().out == Path("runs") / folder
