"""A step that another run of the same study has done is taken from there."""

import pytest

from driftmap.store.run_dir import RunDir


@pytest.fixture
def study(tmp_path):
    RunDir.open(tmp_path / "study", {"seed": 0}, "study").close()
    return tmp_path / "study"


class Maker:
    """Writes a file and counts how often it was asked to."""

    def __init__(self):
        self.times = 0

    def __call__(self, folder):
        self.times += 1
        (folder / "scores").mkdir()
        (folder / "scores" / "all.txt").write_text("scores")


def score(folder, make, **inputs):
    with RunDir.open(folder, {}, "drift") as run:
        return run.step("score", inputs, make)


def test_the_same_step_is_done_once_in_a_study(study):
    make = Maker()
    first = score(study / "one", make, model="m")
    second = score(study / "two", make, model="m")
    assert make.times == 1
    assert second.redone
    assert second.path("scores/all.txt").read_text() == "scores"
    assert second.files == first.files


def test_with_other_inputs_it_is_another_step(study):
    make = Maker()
    score(study / "one", make, model="m")
    score(study / "two", make, model="n")
    assert make.times == 2


def test_runs_of_no_study_do_not_look_around(tmp_path):
    make = Maker()
    score(tmp_path / "one", make, model="m")
    score(tmp_path / "two", make, model="m")
    assert make.times == 2


def test_a_damaged_file_is_not_taken_over(study):
    make = Maker()
    score(study / "one", make, model="m")
    (study / "one" / "scores" / "all.txt").write_text("other")
    second = score(study / "two", make, model="m")
    assert make.times == 2
    assert second.path("scores/all.txt").read_text() == "scores"


def test_what_one_run_replaces_stays_in_the_other(study):
    make = Maker()
    score(study / "one", make, model="m")
    score(study / "two", make, model="m")
    score(study / "one", lambda to: (to / "new.txt").write_text("new"), model="n")
    kept = study / "two" / "scores" / "all.txt"
    assert kept.read_text() == "scores"
    assert not (study / "one" / "scores").exists()
