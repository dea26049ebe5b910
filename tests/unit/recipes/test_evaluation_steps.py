from typing import cast

import pytest

from driftmap.load.model import load_model
from driftmap.load.source import ModelSource
from driftmap.recipes.options import EvaluationOptions, ScoringOptions
from driftmap.recipes.steps.behaviour import evaluation
from driftmap.recipes.steps.bench import Study
from driftmap.recipes.steps.data import encode_study
from driftmap.recipes.steps.rows import Sources, read_study
from driftmap.store.run_dir import RunDir
from tiny_studies import save_tiny_model

OPTIONS = EvaluationOptions(num_eval_samples=4, max_new_tokens=3)


@pytest.fixture
def folder(tmp_path):
    return save_tiny_model(tmp_path / "model")


def evaluated(folder, data, out):
    named = [str(data[name]) for name in ("behaviour", "utility", "tune")]
    sources = Sources(behaviour=named[0], utility=named[1], tune_on=named[2])
    scoring = ScoringOptions(num_samples=5)
    loaded = load_model(ModelSource(model=str(folder), device="cpu"))
    encoded = encode_study(loaded, read_study(sources, scoring, OPTIONS, 0), scoring)
    with RunDir.open(out, {"seed": 0}, "drift") as run:
        study = Study(run=run, loaded=loaded, seed=0)
        return evaluation.base_step(study, encoded.asked, OPTIONS)


def test_each_prompt_is_answered_once(folder, data, tmp_path, monkeypatch):
    answered = []
    greedy = evaluation.greedy_answers

    def counted(model, tokenizer, prompts, **settings):
        answered.extend(prompt.sample_id for prompt in prompts)
        return greedy(model, tokenizer, prompts, **settings)

    monkeypatch.setattr(evaluation, "greedy_answers", counted)
    step = evaluated(folder, data, tmp_path / "out")
    readings = evaluation.load_readings([step])
    assert len(answered) == len(set(answered)) == 8
    assert cast(list[str], readings["sample_id"].tolist()) == answered


def test_another_template_or_end_token_is_evaluated_anew(folder, data, tmp_path):
    first = evaluated(folder, data, tmp_path / "out")
    assert evaluated(folder, data, tmp_path / "out").key == first.key
    settings = folder / "generation_config.json"
    settings.write_text('{"eos_token_id": 7}')
    second = evaluated(folder, data, tmp_path / "out")
    assert second.key != first.key
    template = folder / "chat_template.jinja"
    template.write_text("answer: " + template.read_text())
    assert evaluated(folder, data, tmp_path / "out").key != second.key
