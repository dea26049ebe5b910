import json
import re
import sys
from copy import deepcopy

import numpy as np
import pytest
import torch

from choice_items import items
from driftmap.core.errors import DataError, ModelError, UsageError
from driftmap.core.progress import Silence, listening
from driftmap.evaluate.choices import choice_readings
from driftmap.evaluate.harness import HarnessSettings, harness_readings
from driftmap.evaluate.task_files import write_tasks
from tiny import tiny_llama
from tokenizers_made import CHATML, byte_level

pytest.importorskip(
    "lm_eval", reason="lm-eval is not installed; pip install 'driftmap[eval]'"
)


@pytest.fixture
def folder(tmp_path):
    write_tasks([*items(), *items(9, task="others", seed=1)], tmp_path)
    return tmp_path


def run(folder, *tasks, model=None, tokenizer=None, **changes):
    return harness_readings(
        model or tiny_llama(vocab=400),
        tokenizer or byte_level(),
        tasks or ("colours", "others"),
        HarnessSettings(folder=folder, **changes),
    )


@pytest.mark.parametrize("adds_bos", [False, True])
def test_agrees_with_our_own_reading_of_the_same_items(folder, adds_bos):
    tokenizer = byte_level(adds_bos=adds_bos)
    model = tiny_llama(vocab=400)
    theirs = run(folder, model=model, tokenizer=tokenizer)
    asked = [*items(), *items(9, task="others", seed=1)]
    ours = choice_readings(model, tokenizer, asked)
    for their, our in zip(theirs, ours, strict=True):
        assert their.values.tolist() == our.values.tolist()
        assert (their.task, their.metric) == (our.task, our.metric)
        assert (their.num_available, their.num_shots) == (our.num_available, 0)
        assert their.chance == pytest.approx(our.chance)
    assert 0 < theirs[0].values.mean() < 1


def test_limit_takes_the_first_and_says_how_many_there_are(folder):
    whole, some = run(folder, "colours"), run(folder, "colours", limit=5, batch_size=2)
    assert some[0].values.tolist() == whole[0].values[:5].tolist()
    assert some[0].item_ids == whole[0].item_ids[:5]
    assert (some[0].num_available, len(set(whole[0].item_ids))) == (24, 24)


def test_everything_is_left_as_found(folder, capfd, caplog, monkeypatch):
    monkeypatch.chdir(folder)  # no repository: git would complain
    model, tokenizer = tiny_llama(vocab=400).train(), byte_level()
    tokenizer.pad_token = None
    before = deepcopy(model.state_dict())
    # Python's own generator is drawn from by the checker of types as well.
    np.random.seed(5), torch.manual_seed(5)
    expected = np.random.rand(), torch.rand(1).item()
    np.random.seed(5), torch.manual_seed(5)
    run(folder, model=model, tokenizer=tokenizer)
    assert (np.random.rand(), torch.rand(1).item()) == expected
    assert model.training
    assert tokenizer.pad_token is None
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert capfd.readouterr() == ("", "")
    assert not caplog.records
    assert sys.modules["lm_eval.api.task"].tqdm.__module__.startswith("tqdm")


def test_progress_is_told_in_our_way(folder):
    class Ear(Silence):
        def __init__(self):
            self.open, self.done, self.steps = [], [], 0

        def started(self, what, total):
            self.open.append((what, total))

        def advanced(self, steps, note):
            self.steps += steps

        def finished(self):
            self.done.append(self.open.pop())

    ear = Ear()
    with listening(ear):
        run(folder, "others")
    num_choices = sum(len(i.choices) for i in items(9, task="others", seed=1))
    assert ("running loglikelihood requests", num_choices) in ear.done
    assert ear.open == []
    assert ear.steps >= num_choices


def test_chat_template_stands_around_items_where_asked(folder):
    tokenizer = byte_level(template=CHATML)
    bare = run(folder, tokenizer=tokenizer)
    chat = run(folder, tokenizer=tokenizer, as_chat=True)
    assert bare[0].values.tolist() != chat[0].values.tolist()


def task_file(folder, **changes):
    settings = {
        "task": "made_up",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(folder / "colours.jsonl")}},
        "test_split": "test",
        "output_type": "generate_until",
        "doc_to_text": "{{context}}",
        "doc_to_target": "{{choices[answer]}}",
        "generation_kwargs": {"until": ["."], "max_gen_toks": 3},
        "metric_list": [{"metric": "exact_match"}],
        **changes,
    }
    (folder / "made_up.yaml").write_text(json.dumps(settings))


def test_written_answers_are_read_by_their_own_metric(folder):
    task_file(folder)
    (reading,) = run(folder, "made_up", limit=3)
    assert (reading.metric, reading.chance) == ("exact_match", None)
    assert reading.values.tolist() == [0.0, 0.0, 0.0]


def test_scores_that_are_no_mean_of_items_are_refused(folder):
    task_file(folder, metric_list=[{"metric": "bleu"}])
    with pytest.raises(DataError, match=re.escape("its scores (bleu) are no mean")):
        run(folder, "made_up", limit=3)


def test_data_that_cannot_be_had_is_one_sentence(folder):
    task_file(folder, dataset_path="someone/nowhere", dataset_kwargs={})
    with pytest.raises(
        DataError, match=r"--tasks made_up: the data of a task cannot be had .*someone/"
    ):
        run(folder, "made_up")


def test_what_lm_eval_refuses_is_one_sentence(folder):
    task_file(folder, output_type="loglikelihood_rolling", unsafe_code=True)
    with pytest.raises(
        ModelError, match="--tasks made_up: lm-eval cannot run this on this model"
    ):
        run(folder, "made_up")


@pytest.mark.slow
def test_unknown_task_is_refused_with_the_nearest_name(folder):
    with pytest.raises(
        UsageError, match=r"--tasks boolqq: lm-eval has no task of this name; did you"
    ):
        run(folder, "boolqq")


def test_missing_library_is_named(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    with pytest.raises(ModelError, match=re.escape("driftmap[eval]")):
        run(folder)
