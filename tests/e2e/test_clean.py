"""Does a study that was cleaned keep its report, and make again only what is gone?"""

import importlib
import re

import pytest
import torch

from study_process import contents, finish, kill_when, start
from tiny_studies import save_tiny_data, save_tiny_model, study_words

pytestmark = pytest.mark.slow

ALL = ["--keep", "--merged"]
REMADE = {"scores", "tune-seed-0", "tune-seed-1", "merge-seed-0", "merge-seed-1"}
CLEANED = {
    "nothing to spare": ([], [], set()),
    "scores": (["--keep"], [], {"scores"}),
    "everything": (ALL, ["--checkpoints"], REMADE),
}
"""Options of the study, options of `clean`, steps that are then done again."""


class Place:
    """A folder with a model and data, and studies of them."""

    def __init__(self, folder):
        self.folder = folder
        self.study = folder / "study"
        self.told = folder / "told.txt"
        self.model = save_tiny_model(folder / "model")
        self.data = save_tiny_data(folder)
        self.words = study_words(self.model, self.data, self.study)

    def run(self, *words):
        """Run a command to the end; what it says."""
        self.told.write_text("")
        code = finish(start(words, self.told))
        assert code == 0, self.told.read_text()
        return self.told.read_text()

    def steps_of(self, *words):
        """Run a command to the end; names of the steps that it does."""
        log = self.study / "log.txt"
        before = len(log.read_text()) if log.exists() else 0
        self.run(*words)
        return set(re.findall(r"step (\S+) took", log.read_text()[before:]))


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    torch.set_num_threads(1)
    # Forked processes then need not import it each for themselves.
    for module in ("load.model", "recipes.steps.studying", "recipes.steps.cleaning"):
        importlib.import_module(f"driftmap.{module}")
    return Place(tmp_path_factory.mktemp("studies"))


@pytest.mark.parametrize("case", CLEANED)
def test_a_cleaned_study_keeps_its_report_and_comes_back(place, case):
    options, how, gone = CLEANED[case]
    words = [*place.words, *options]
    place.run(*words)
    whole = contents(place.study)
    log = (place.study / "log.txt").read_bytes()

    would = place.run("clean", place.study, *how, "--dry-run")
    assert contents(place.study) == whole
    assert (place.study / "log.txt").read_bytes() == log

    said = place.run("clean", place.study, *how)
    freed = [line for line in would.splitlines() if line.startswith("would free")]
    assert bool(freed) == bool(gone)
    assert all(line.replace("would free", "freed") in said for line in freed)
    kept = contents(place.study)
    noted = {name for name in kept if whole[name] != kept[name]}
    assert noted == {f"steps/{name}.json" for name in gone}
    assert "nothing to free" in place.run("clean", place.study, *how)

    report = place.study / "report.html"
    report.write_bytes(whole["report.html"][:-1])
    assert place.steps_of("report", place.study) == {"report"}
    assert report.read_bytes() == whole["report.html"]

    assert place.steps_of(*words) == gone
    assert contents(place.study) == whole


@pytest.mark.parametrize("how", [[], ["--checkpoints"]])
def test_training_that_was_killed_goes_with_the_adapters_alone(place, how):
    words = [*place.words, *ALL]
    place.run(*words)
    whole = contents(place.study)
    place.run("clean", place.study, "--checkpoints")
    state = "steps/tune-seed-1.work/*/state/state.safetensors"
    assert kill_when(start(words, place.told), place.study, state, 0) == -9
    said = place.run("clean", place.study, *how)
    assert ("unfinished training; --checkpoints frees it" in said) == (not how)
    assert bool(list(place.study.glob(state))) == (not how)
    place.run(*words)
    assert contents(place.study) == whole


def test_a_study_that_is_running_is_not_cleaned(place):
    place.run(*place.words)
    place.run("clean", place.study, "--checkpoints")
    told = place.folder / "told by clean.txt"
    refused = []

    class Running:
        """Tries to clean the study once its training has begun."""

        def glob(self, pattern):
            if any(place.study.glob(pattern)) and not refused:
                refused.append(finish(start(["clean", place.study], told)))
            return refused

    state = "steps/tune-seed-0.work/*/state/state.safetensors"
    kill_when(start(place.words, place.told), Running(), state, 0)
    assert refused == [1]
    assert told.read_text() == (
        f"error: {place.study}: another driftmap is writing this run; "
        "wait for it to end\n"
    )
