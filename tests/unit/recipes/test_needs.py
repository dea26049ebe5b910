from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
import torch

from driftmap.core.errors import ModelError, StoreError
from driftmap.core.progress import Silence, listening
from driftmap.load.encoding import Encoding, encode, encode_prompts
from driftmap.load.model import load_model
from driftmap.load.samples import read_samples
from driftmap.load.source import ModelSource
from driftmap.recipes import options
from driftmap.recipes.freeze_options import FreezeOptions
from driftmap.recipes.options import (
    ElsewhereOptions,
    EvaluationOptions,
    GroupOptions,
    OutputOptions,
    ScoringOptions,
    StudyPlan,
)
from driftmap.recipes.steps.behaviour import evaluation
from driftmap.recipes.steps.bench import Study
from driftmap.recipes.steps.data import EvaluationData, ScoringData, StudyData
from driftmap.recipes.steps.groups import choosing as grouping
from driftmap.recipes.steps.needs import foreseen as needs
from driftmap.recipes.steps.needs import remedies
from driftmap.recipes.steps.tuning import training as tuning
from driftmap.store.run_dir import RunDir
from driftmap.tune.settings import TuningSettings

PLAN = StudyPlan(
    scoring=ScoringOptions(num_samples=6, score_batch_size=8),
    groups=GroupOptions(share=0.02),
    lora=TuningSettings(max_steps=4, batch_size=8, grad_accum=4, save_steps=2),
    freezing=FreezeOptions(),
    evaluation=EvaluationOptions(max_new_tokens=4, eval_batch_size=8),
    testing=options.TestingOptions(seeds=2, permutations=19),
    elsewhere=ElsewhereOptions(),
    output=OutputOptions(),
    is_trial=False,
    until="report",
)


class Heard(Silence):
    def __init__(self):
        self.lines = []

    def said(self, message):
        self.lines.append(message)


@pytest.fixture
def encoded(loaded, data):
    read = {name: read_samples(str(file)).samples for name, file in data.items()}
    all_of = {
        name: encode(samples, loaded.tokenizer, Encoding())
        for name, samples in read.items()
    }
    prompts = encode_prompts(read["behaviour"], loaded.tokenizer, None)
    return StudyData(
        scored=ScoringData(
            behaviour=all_of["behaviour"], utility=all_of["utility"], sha256={}
        ),
        learnt=(all_of["tune"], ""),
        asked=EvaluationData(
            prompts=prompts, prompts_sha256="", held_out=(), num_shared=0
        ),
    )


@contextmanager
def finished(study, *names):
    """The steps of these names have markers."""
    found, study.run.is_finished = study.run.is_finished, lambda name: name in names
    try:
        yield
    finally:
        study.run.is_finished = found


def shrink(monkeypatch, *, memory=1 << 50, disk=1 << 50):
    monkeypatch.setattr(needs, "free_swap", lambda: 0)
    monkeypatch.setattr(needs, "free_memory", lambda: memory)
    monkeypatch.setattr(needs, "free_disk", lambda path: disk)


def peaks(study, encoded, plan=PLAN):
    found = needs.study_estimates(study, encoded, plan)
    return {estimate.what: estimate for estimate in found}


def test_what_is_left_to_do_is_told_in_one_line(study, encoded):
    heard = Heard()
    with listening(heard):
        needs.require_room(study, encoded, PLAN)
    (line,) = heard.lines
    assert line.startswith("what is left to do needs about ")
    assert " of memory and " in line
    assert line.endswith(" of disk")


def test_looking_leaves_model_and_random_generators_as_found(study, encoded):
    model = study.loaded.model
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    flags = [p.requires_grad for p in model.parameters()]
    torch.manual_seed(5)
    np.random.seed(5)
    state = torch.get_rng_state()
    needs.require_room(study, encoded, PLAN)
    after = model.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert [p.requires_grad for p in model.parameters()] == flags
    assert all(p.grad is None for p in model.parameters())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert not model.training
    assert torch.equal(torch.get_rng_state(), state)
    assert np.random.get_state()[1][0] == np.random.RandomState(5).get_state()[1][0]


def test_too_little_for_scoring_names_the_batch_that_fits(study, encoded, monkeypatch):
    scoring = peaks(study, encoded)["scoring"]
    smaller = dict(scoring.smaller)
    assert list(smaller) == [f"--score-batch-size {n}" for n in (4, 2, 1)]
    sizes = [scoring.memory.device, *(peak.device for peak in smaller.values())]
    assert sizes == sorted(sizes, reverse=True)
    shrink(monkeypatch, memory=smaller["--score-batch-size 2"].device)
    with pytest.raises(ModelError, match=r"^scoring needs about ") as error:
        needs.require_room(study, encoded, PLAN)
    assert str(error.value).endswith("are free; use --score-batch-size 2")
    assert error.value.topic == "memory"


def test_too_little_for_tuning_keeps_the_samples_of_a_step(study, encoded, monkeypatch):
    with finished(study, "groups"):
        found = peaks(study, encoded)["fine-tuning"]
        smaller = dict(found.smaller)
        assert list(smaller) == [
            "--batch-size 4 --grad-accum 8",
            "--batch-size 2 --grad-accum 16",
            "--batch-size 1 --grad-accum 32",
        ]
        shrink(monkeypatch, memory=smaller["--batch-size 4 --grad-accum 8"].device)
        with pytest.raises(ModelError, match=r"^fine-tuning needs about ") as error:
            needs.require_room(study, encoded, PLAN)
    assert "use --batch-size 4 --grad-accum 8" in str(error.value)


def test_nothing_that_fits_says_what_else_lowers_it(study, encoded, monkeypatch):
    shrink(monkeypatch, memory=10)
    with pytest.raises(ModelError, match="too much even with --score-batch-size 1"):
        needs.require_room(study, encoded, PLAN)


def test_finished_steps_ask_for_nothing(study, encoded, monkeypatch):
    tuned = [f"tune-seed-{n}" for n in range(2)]
    judged = ["evaluate-base", *(f"evaluate-seed-{n}" for n in range(2))]
    with finished(study, "groups", *tuned):
        assert set(peaks(study, encoded)) == {"evaluation", "the statistics"}
    with finished(study, "groups", "drift", "report", "statistics", *tuned, *judged):
        assert not peaks(study, encoded)
        shrink(monkeypatch, memory=10, disk=1 << 17)
        needs.require_room(study, encoded, PLAN)
    assert set(peaks(study, encoded, replace(PLAN, until="groups"))) == {"scoring"}
    until_tuned = replace(PLAN, until="tune")
    assert set(peaks(study, encoded, until_tuned)) == {"scoring", "fine-tuning"}


@pytest.mark.parametrize(
    ("output", "option"),
    [
        (OutputOptions(merged=True), "use --no-merged"),
        (OutputOptions(keep=True), "use --no-keep"),
        (OutputOptions(), "raise --save-steps or lower --lora-r"),
    ],
)
def test_too_little_disk_names_what_takes_most(
    study, encoded, monkeypatch, output, option
):
    shrink(monkeypatch, disk=1000)
    short = replace(PLAN.lora, max_steps=1, lora_r=1)
    with pytest.raises(StoreError, match=r"of disk, .* 1000 B are free") as error:
        needs.require_room(study, encoded, replace(PLAN, output=output, lora=short))
    assert f"{option}, or choose an --out on another disk" in str(error.value)
    assert error.value.topic == "disk"


def test_scoring_alone_is_looked_at_too(study, encoded, monkeypatch):
    scored = encoded.scored.behaviour
    needs.require_scoring_room(study, scored, PLAN.scoring, keep=True)
    shrink(monkeypatch, memory=10)
    with pytest.raises(ModelError, match=r"^scoring needs about"):
        needs.require_scoring_room(study, scored, PLAN.scoring, keep=False)
    shrink(monkeypatch, disk=10)
    with pytest.raises(StoreError, match="use --no-keep"):
        needs.require_scoring_room(study, scored, PLAN.scoring, keep=True)
    with finished(study, "score"):
        needs.require_scoring_room(study, scored, PLAN.scoring, keep=True)


def test_tuning_that_runs_out_says_how_another_run_takes_the_groups_over(study):
    said = remedies.for_tuning(PLAN.lora, study.run)
    assert said.startswith("use --batch-size 4 --grad-accum 8")
    assert said.endswith("with another --out")
    with finished(study, "groups"):
        said = remedies.for_tuning(PLAN.lora, study.run)
    assert f"--groups {study.run.path / 'groups'} there" in said
    alone = remedies.for_tuning(replace(PLAN.lora, batch_size=1), study.run)
    assert "--batch-size is 1 already: lower --lora-r" in alone


def test_a_gpu_that_is_full_while_tuning_names_the_smaller_batch(
    study, encoded, monkeypatch
):
    def fail(*args, **kwargs):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(tuning, "tune", fail)
    live = tuning.LiveDrift(groups_key="g" * 64, baseline=lambda: None)
    with pytest.raises(ModelError, match="use --batch-size 4 --grad-accum 8") as error:
        tuning.tune_step(study, encoded.learnt, PLAN.lora, live, 0)
    assert error.value.topic == "memory"
    assert not study.run.is_finished("tune-seed-0")


def test_memory_that_runs_out_in_evaluation_names_half_the_batch(
    study, encoded, monkeypatch
):
    def fail(*args, **kwargs):
        raise MemoryError

    monkeypatch.setattr(evaluation, "greedy_answers", fail)
    with pytest.raises(ModelError, match=r"evaluation ran .*--eval-batch-size 4$"):
        evaluation.base_step(study, encoded.asked, PLAN.evaluation)
    monkeypatch.undo()
    evaluation.base_step(study, encoded.asked, PLAN.evaluation)
    assert study.run.is_finished("evaluate-base")


def test_memory_that_runs_out_in_scoring_names_half_the_batch(
    study, encoded, monkeypatch
):
    def fail(*args, **kwargs):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: 9 bytes")

    monkeypatch.setattr("driftmap.recipes.steps.scoring.halves.run_folds", fail)
    mobile = study.loaded.layout.sites
    with pytest.raises(ModelError, match=r"^scoring ran .*--score-batch-size 4, or"):
        grouping.group_step(study, encoded.scored, PLAN.scoring, PLAN.groups, mobile)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_and_its_machine_are_looked_at_apart(
    model, encoded, tmp_path, monkeypatch
):
    there = load_model(ModelSource(model=str(model), device="cuda"))
    heard = Heard()
    with RunDir.open(tmp_path / "gpu", {"seed": 0}, "drift") as run, listening(heard):
        study = Study(run=run, loaded=there, seed=0)
        found = peaks(study, encoded)
        assert all(e.memory.device > 0 for e in found.values() if "stat" not in e.what)
        assert found["fine-tuning"].memory.host > 0
        needs.require_room(study, encoded, PLAN)
        assert " of GPU memory, " in heard.lines[-1]
        monkeypatch.setattr(needs, "free_bytes", lambda device: 10)
        with pytest.raises(ModelError, match="of GPU memory and 10 B are free"):
            needs.require_room(study, encoded, PLAN)
