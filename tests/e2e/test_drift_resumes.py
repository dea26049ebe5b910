"""Does a study end in the same bytes, however often it is killed on the way?"""

import importlib
import random
import re
import shutil

import pytest
import torch

from driftmap.core.errors import StoreError
from driftmap.load.source import ModelSource
from driftmap.recipes import options
from driftmap.recipes.drift import Drift
from driftmap.recipes.steps.reports import report_step
from driftmap.store.run_dir import RunDir
from driftmap.tune.settings import TuningSettings
from study_process import contents, finish, kill_when, start
from tiny_studies import save_tiny_data, save_tiny_model, study_words

pytestmark = pytest.mark.slow


class Place:
    """A folder with a model and data, and one study that every test finds whole."""

    def __init__(self, folder):
        self.study = folder / "study"
        self.told = folder / "told.txt"
        self.model = save_tiny_model(folder / "model")
        self.data = save_tiny_data(folder)
        self.words = study_words(self.model, self.data, self.study)
        self.run()
        self.whole = contents(self.study)

    def run(self, *words):
        """Run the study's command, or another one, to the end."""
        self.told.write_text("")
        code = finish(start(words or self.words, self.told))
        assert code == 0, self.told.read_text()


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    torch.set_num_threads(1)
    # Forked processes then need not import it each for themselves.
    for module in (
        "load.model",
        "recipes.steps.inference.concluding",
        "recipes.steps.reporting",
    ):
        importlib.import_module(f"driftmap.{module}")
    return Place(tmp_path_factory.mktemp("studies"))


KILL_WHEN = (
    "run.yaml",
    "steps/.groups.partial/groups/*",
    "steps/tune-seed-0.work/*/state/state.safetensors",
    "steps/tune-seed-1.work/*/live/*/step-000002.parquet",
    "steps/.evaluate-seed-0.partial",
    "steps/statistics.json",
    "steps/.report.partial/report.html",
)


def test_kills_at_random_moments_change_no_byte(place):
    shutil.rmtree(place.study)
    dice = random.Random(7)
    ends = [
        kill_when(
            start(place.words, place.told), place.study, pattern, dice.uniform(0, 0.2)
        )
        for pattern in KILL_WHEN
    ]
    assert ends.count(-9) >= 4
    place.run()
    found = contents(place.study)
    assert found.keys() == place.whole.keys()
    assert [name for name in found if found[name] != place.whole[name]] == []


def test_phase_by_phase_gives_the_same_bytes(place):
    shutil.rmtree(place.study)
    for until in ("groups", "tune", "report"):
        place.run(*place.words, f"--until={until}")
        assert (place.study / "report.html").exists() == (until == "report")
    assert contents(place.study) == place.whole


def test_the_library_call_gives_the_same_bytes(place):
    shutil.rmtree(place.study)
    report = Drift(
        source=ModelSource(model=str(place.model), device="cpu"),
        behaviour=str(place.data["behaviour"]),
        utility=str(place.data["utility"]),
        tune_on=str(place.data["tune"]),
        scoring=options.ScoringOptions(num_samples=6),
        groups=options.GroupOptions(share=0.02),
        lora=TuningSettings(
            max_steps=4,
            batch_size=2,
            grad_accum=1,
            save_steps=2,
            drift_every=1,
            learning_rate=0.01,
        ),
        evaluation=options.EvaluationOptions(num_eval_samples=4, max_new_tokens=4),
        testing=options.TestingOptions(seeds=2, permutations=19),
        out=place.study,
    ).run()
    assert report == place.study / "report.html"
    assert contents(place.study) == place.whole


@pytest.mark.parametrize(
    "name",
    [
        "groups/matched.safetensors",
        "tables/drift.parquet",
        "statistics.json",
        "checkpoints/seed-1/step-000002/adapter_model.safetensors",
    ],
)
def test_a_corrupted_file_is_named_and_made_again(name, place):
    file = place.study / name
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    place.run()
    said = place.told.read_text()
    assert f"{file} of step" in said
    assert "is not what the step wrote; the step is done again" in said
    assert contents(place.study) == place.whole


def test_a_report_refuses_losses_that_tuning_did_not_write(place):
    file = place.study / "tables/losses/seed-0.parquet"
    kept = file.read_bytes()
    file.write_bytes((place.study / "tables/losses/seed-1.parquet").read_bytes())
    try:
        with (
            RunDir.reopen(place.study) as run,
            pytest.raises(StoreError, match=re.escape(f"{file} of step")),
        ):
            report_step(run)
    finally:
        file.write_bytes(kept)
    with RunDir.reopen(place.study) as run:
        assert not report_step(run).redone


def test_a_finished_study_is_only_looked_at(place):
    steps = {p: p.stat().st_mtime_ns for p in (place.study / "steps").iterdir()}
    for words in (["run", place.study], ["report", place.study]):
        place.run(*words)
        said = place.told.read_text()
        assert said.endswith(f"{place.study / 'report.html'}\n")
        assert "step " not in said
    assert steps == {p: p.stat().st_mtime_ns for p in steps}


def test_the_log_tells_what_happened(place):
    lines = (place.study / "log.txt").read_text().splitlines()
    assert lines[0].endswith("drift")
    assert any("INFO step tune-seed-1 took" in line for line in lines)
    assert lines[-1].endswith("done")
