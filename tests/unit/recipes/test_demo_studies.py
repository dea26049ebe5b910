"""The demo asks each question of the built-in model that knows its answer."""

from pathlib import Path

import pytest

from driftmap.recipes.demo import Demo
from driftmap.recipes.demo_studies import (
    DemoSize,
    drift_study,
    experts_study,
    similarity_study,
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


@pytest.mark.parametrize(
    ("question", "folder"),
    [("drift", "demo"), ("similarity", "demo-similarity"), ("experts", "demo-experts")],
)
def test_each_question_has_a_folder_of_its_own(question, folder):
    assert Demo(question=question)._size().out == Path("runs") / folder
