"""Does another share, p or q in a finished run give what a new run would give?

Two things depend on what groups a run had while it was tuned, and on nothing else:
`tables/live`, drift as it was measured between the checkpoints, which cannot be made
up for later; and whether the drift of the groups of now was taken from there, which
the keys of the steps that build on it say. A study that measures no drift between its
checkpoints shows that all else is the same bytes.
"""

import importlib
import json
import re
import shutil

import pytest
import torch

from driftmap.store.tables import load_table
from study_process import contents, finish, kill_when, start
from tiny_studies import save_tiny_data, save_tiny_model, study_words

pytestmark = pytest.mark.slow

REDONE = {"groups", "drift", "statistics", "report"}
CHECKPOINTS = (0, 2, 4)


class Place:
    """A folder with a model and data, and one study that every test finds whole."""

    def __init__(self, folder, *, drift_every):
        self.study = folder / "study"
        self.aside = folder / "aside"
        self.told = folder / "told.txt"
        model, data = save_tiny_model(folder / "model"), save_tiny_data(folder)
        self.words = [
            f"--drift-every={drift_every}" if "--drift-every" in word else word
            for word in study_words(model, data, self.study)
        ]
        self.run(*self.words)
        self.whole = contents(self.study)

    def again(self, *options):
        """Words of the same study with other options."""
        names = [option.partition("=")[0] for option in options]
        kept = [word for word in self.words if word.partition("=")[0] not in names]
        return [*kept, *options]

    def run(self, *words, code=0):
        """Run a command to its end; what it says."""
        self.told.write_text("")
        found = finish(start(words, self.told))
        assert found == code, self.told.read_text()
        return self.told.read_text()

    def steps_of(self, *words):
        """Run a command to its end; names of the steps that it does."""
        log = self.study / "log.txt"
        before = len(log.read_text())
        self.run(*words)
        return set(re.findall(r"step (\S+) took", log.read_text()[before:]))

    def fresh(self, *options):
        """What a new run gives, in the same place."""
        self.study.rename(self.aside)
        try:
            self.run(*self.again(*options))
            return contents(self.study)
        finally:
            shutil.rmtree(self.study)
            self.aside.rename(self.study)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    torch.set_num_threads(1)
    # Forked processes then need not import it each for themselves.
    for module in ("load.model", "recipes.steps.studying", "recipes.steps.cleaning"):
        importlib.import_module(f"driftmap.{module}")
    return Place(tmp_path_factory.mktemp("studies"), drift_every=2)


@pytest.fixture(scope="module")
def of_q(place):
    """A new run with another q."""
    return place.fresh("--q=0.3")


def without_history(found):
    """Contents of a run but for what tells which groups it was tuned with."""
    return {
        name: _without_keys(kept) if re.fullmatch(r"steps/[^/]*\.json", name) else kept
        for name, kept in found.items()
        if not name.startswith("tables/live/")
    }


def _without_keys(marker):
    said = json.loads(marker)
    files = {n: d for n, d in said["files"].items() if not n.startswith("tables/live/")}
    return {**said, "key": "", "files": files}


def assert_same(found, wanted):
    found, wanted = without_history(found), without_history(wanted)
    assert found.keys() == wanted.keys()
    assert [name for name in found if found[name] != wanted[name]] == []


@pytest.mark.parametrize("option", ["--p=0.05", "--share=0.05"])
def test_only_groups_and_what_follows_are_made_again(place, option):
    wanted = place.fresh(option)
    assert place.steps_of(*place.again(option)) == REDONE
    assert_same(contents(place.study), wanted)
    assert contents(place.study).keys() == place.whole.keys()
    assert place.steps_of(*place.words) == REDONE
    assert contents(place.study) == place.whole


def test_run_takes_the_new_setting_too_and_cleaning_changes_none_of_it(place, of_q):
    assert place.steps_of("run", place.study, "--q=0.3") == REDONE
    found = contents(place.study)
    assert_same(found, of_q)
    place.run("clean", place.study, "--checkpoints")
    assert place.steps_of("run", place.study) == {"tune-seed-0", "tune-seed-1"}
    assert contents(place.study) == found
    assert place.steps_of(*place.words) == REDONE
    assert contents(place.study) == place.whole


KILL_WHEN = (
    "steps/.groups.partial",
    "steps/.groups.partial/groups/*",
    "steps/.groups.plan",
    "steps/.drift.partial",
    "steps/.statistics.partial",
    "steps/.report.partial",
)


@pytest.mark.parametrize("pattern", KILL_WHEN)
def test_a_kill_in_between_spoils_neither_the_new_nor_the_old(place, of_q, pattern):
    change = place.again("--q=0.3")
    ends = kill_when(start(change, place.told), place.study, pattern, 0)
    assert ends in (-9, 0)
    if ends and "report" in pattern:
        place.run("report", place.study)  # all that it reads is of the new settings
    elif ends:
        assert "is of earlier settings" in place.run("report", place.study, code=1)
    shutil.copytree(place.study, place.aside)
    place.run(*change)
    assert_same(contents(place.study), of_q)
    shutil.rmtree(place.study)
    place.aside.rename(place.study)
    place.run(*place.words)
    assert contents(place.study) == place.whole


def test_settings_that_do_no_good_leave_the_old_results(place):
    said = place.run(*place.again("--p=0.99", "--q=0.001"), code=1)
    assert said.count("error: ") == 1
    assert place.steps_of(*place.words) == set()
    assert contents(place.study) == place.whole


def test_other_settings_stay_refused_and_those_that_may_change_are_named(place):
    said = place.run(*place.again("--q=0.3", "--max-steps=6", "--seed=1"), code=1)
    assert said.splitlines()[-1].startswith(
        f"error: {place.study}: holds a run with other settings: "
        "lora.max_steps 4 (now 6), seed 0 (now 1); "
        "choose another --out or repeat the settings of the run (only "
    )
    for option in ("--share", "--p", "--q", "--groups", "--until", "--device"):
        assert re.search(rf"\(only .*{option}\b.* may change within it\)", said)
    assert "--learning-rate" not in said
    assert contents(place.study) == place.whole


def test_kept_scores_spare_the_scoring(place, of_q, monkeypatch):
    assert place.steps_of(*place.again("--keep")) == {"scores", "report"}

    def refuse(*_):
        raise AssertionError("scored again")

    monkeypatch.setattr("driftmap.recipes.steps.scoring.kept.score_halves", refuse)
    changed = place.again("--q=0.3", "--keep")
    assert place.steps_of(*changed) == REDONE
    found = contents(place.study)
    kept = {n for n in found if n.startswith("scores/") or n == "steps/scores.json"}
    assert kept
    told = {"run.yaml", "report.html", "report.txt", "steps/report.json"}
    assert_same(
        {name: of_now for name, of_now in found.items() if name not in {*told, *kept}},
        {name: wanted for name, wanted in of_q.items() if name not in told},
    )
    place.run(*place.words)
    for name in kept:
        (place.study / name).unlink()
    (place.study / "scores").rmdir()
    assert contents(place.study) == place.whole


def test_drift_between_checkpoints_is_of_the_groups_that_were_there(tmp_path):
    torch.set_num_threads(1)
    place = Place(tmp_path, drift_every=1)
    wanted = place.fresh("--q=0.3")
    assert place.steps_of(*place.again("--q=0.3")) == REDONE
    found = contents(place.study)
    later = {"tables/drift.parquet", "tables/curves.parquet", "report.html"}
    later |= {name for name in found if name.startswith(("figures/", "steps/"))}
    later |= {name for name in found if name.startswith("tables/live/")}
    later |= {"report.txt"}
    differing = {name for name in wanted if found.get(name) != wanted[name]}
    assert differing <= later | {n for n in wanted if n.startswith("tables/live/")}
    assert "statistics.json" not in differing
    drift = load_table(place.study / "tables/drift.parquet")
    assert tuple(sorted(set(drift["step"].tolist()))) == CHECKPOINTS
    place.run(*place.words)
    assert contents(place.study) == place.whole
