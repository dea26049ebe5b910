"""Does a trial do less than what was asked for, and never more?"""

from dataclasses import replace
from pathlib import Path

import pytest

from driftmap.cli.main import main
from driftmap.recipes.options import EvaluationOptions, ScoringOptions
from driftmap.recipes.trial import (
    TRIAL_SAMPLES,
    TRIAL_STEPS,
    TRIAL_TOKENS,
    trial_evaluation,
    trial_lora,
    trial_scoring,
)
from driftmap.store.plain import load_json
from driftmap.store.recipe_file import load_recipe
from driftmap.tune.settings import TuningSettings
from tiny_studies import save_tiny_data, save_tiny_model, study_words


@pytest.mark.parametrize(("asked", "done"), [(128, TRIAL_SAMPLES), (3, 3)])
def test_samples_are_capped(asked, done):
    assert trial_scoring(ScoringOptions(num_samples=asked)).num_samples == done
    capped = trial_evaluation(EvaluationOptions(num_eval_samples=asked))
    assert capped.num_eval_samples == done


@pytest.mark.parametrize(("asked", "done"), [(64, TRIAL_TOKENS), (4, 4)])
def test_answers_are_capped(asked, done):
    capped = trial_evaluation(EvaluationOptions(max_new_tokens=asked))
    assert capped.max_new_tokens == done


@pytest.mark.parametrize(
    ("lora", "num_samples", "max_steps"),
    [
        (TuningSettings(), 52_000, TRIAL_STEPS),
        (TuningSettings(max_steps=500), 12, TRIAL_STEPS),
        (TuningSettings(), 12, -1),
        (TuningSettings(max_steps=4), 52_000, 4),
        (TuningSettings(num_epochs=40), 12, TRIAL_STEPS),
    ],
)
def test_steps_are_capped_and_never_more_than_asked(lora, num_samples, max_steps):
    capped = trial_lora(lora, num_samples)
    assert capped.max_steps == max_steps
    assert replace(capped, max_steps=lora.max_steps) == lora


@pytest.mark.slow
def test_a_trial_says_so_and_keeps_its_caps(tmp_path):
    model, data = save_tiny_model(tmp_path / "model"), save_tiny_data(tmp_path)
    words = study_words(model, data, tmp_path / "run")
    words = [w for w in words if not w.startswith(("--num-samples", "--seeds"))]
    words = [w.replace("--max-steps=4", "--max-steps=40") for w in words]
    words = [w.replace("--save-steps=2", "--save-steps=40") for w in words]
    assert main([*words, "--quick"]) == 0
    assert_is_marked(tmp_path / "run")


def assert_is_marked(run: Path):
    settings = load_recipe(run).settings
    assert settings["quick"] is True
    assert settings["scoring"]["num_samples"] == TRIAL_SAMPLES
    assert settings["lora"]["max_steps"] == TRIAL_STEPS
    said = load_json(run / "statistics.json", "driftmap.statistics")
    assert said["verdict"]["kind"] == "inconclusive"
    assert "trial run" in said["verdict"]["sentence"]
    assert (run / "report.txt").read_text().startswith("Trial run: ")
