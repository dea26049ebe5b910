"""Which checkpoints are found in folders of other trainers?"""

import json
import re

import pytest

from driftmap.core.errors import ModelError
from driftmap.load.training_runs import UNKNOWN_STEP, find_runs, read_state


def adapter(folder, **state):
    folder.mkdir(parents=True)
    (folder / "adapter_config.json").write_text("{}")
    if state:
        (folder / "trainer_state.json").write_text(json.dumps(state))
    return folder


def full(folder):
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    return folder


def run_of(folder, *names):
    for name in names:
        adapter(folder / name, global_step=1)
    return folder


@pytest.fixture
def said(monkeypatch):
    heard = []
    monkeypatch.setattr("driftmap.load.training_runs.say", heard.append)
    return heard


def test_checkpoints_are_found_by_number_not_by_name(tmp_path):
    folder = run_of(tmp_path / "a", "checkpoint-1000", "checkpoint-500", "runs")
    (run,) = find_runs([folder])
    assert list(run.checkpoints) == [500, 1000]
    assert run.last == folder / "checkpoint-1000"
    assert run.state == folder / "checkpoint-1000/trainer_state.json"


def test_our_own_checkpoints_are_found(tmp_path):
    (run,) = find_runs([run_of(tmp_path / "seed-0", "step-000000", "step-000500")])
    assert list(run.checkpoints) == [0, 500]


@pytest.mark.parametrize(
    ("name", "state", "step"),
    [
        ("checkpoint-70", {"global_step": 7}, 70),
        ("final", {"global_step": 7}, 7),
        ("final", {"global_step": "x"}, UNKNOWN_STEP),
        ("final", {}, UNKNOWN_STEP),
    ],
)
def test_a_single_adapter_tells_its_step_if_it_can(tmp_path, said, name, state, step):
    (run,) = find_runs([adapter(tmp_path / name, **state)])
    assert list(run.checkpoints) == [step]
    assert bool(said) == (step == UNKNOWN_STEP)


def test_the_final_adapter_beside_checkpoints_is_not_read(tmp_path, said):
    folder = adapter(run_of(tmp_path / "a", "checkpoint-5") / "x").parent
    (folder / "adapter_config.json").write_text("{}")
    (run,) = find_runs([folder])
    assert list(run.checkpoints) == [5]
    assert said == [f"{folder}: its checkpoints are read, not the adapter beside them"]


def test_whole_models_are_found_and_told_apart(tmp_path, said):
    for name in ("checkpoint-2", "checkpoint-4"):
        full(tmp_path / "a" / name)
    (tmp_path / "a/config.json").write_text("{}")
    (run,) = find_runs([tmp_path / "a"])
    assert list(run.checkpoints) == [2, 4]
    assert run.is_full
    assert said == [
        f"{tmp_path / 'a'}: its checkpoints are read, not the model beside them"
    ]
    (single,) = find_runs([full(tmp_path / "checkpoint-9")])
    assert (list(single.checkpoints), single.is_full) == ([9], True)
    (worn,) = find_runs([run_of(tmp_path / "b", "checkpoint-4")])
    assert not worn.is_full


def test_an_adapter_with_its_models_configuration_is_an_adapter(tmp_path):
    folder = adapter(tmp_path / "checkpoint-4")
    (folder / "config.json").write_text("{}")
    (run,) = find_runs([folder])
    assert not run.is_full


def test_whole_models_and_adapters_do_not_mix(tmp_path):
    worn = run_of(tmp_path / "a", "checkpoint-4")
    whole = full(tmp_path / "b/checkpoint-4").parent
    for folders in ([worn, whole], [whole, worn]):
        refused(folders, f"{whole}: holds whole models, {worn} adapters; give")
    full(worn / "checkpoint-8")
    refused([worn], "checkpoint-8 is a whole model, checkpoint-4 is not")


def test_steps_that_not_all_runs_have_are_left_out_aloud(tmp_path, said):
    folders = [
        run_of(tmp_path / "a", "checkpoint-0", "checkpoint-5", "checkpoint-10"),
        run_of(tmp_path / "b", "checkpoint-3", "checkpoint-5", "checkpoint-10"),
    ]
    runs = find_runs(folders)
    assert [list(run.checkpoints) for run in runs] == [[5, 10], [5, 10]]
    assert said == [
        f"{folders[0]}: step 0 is left out, since not every run has it",
        f"{folders[1]}: step 3 is left out, since not every run has it",
    ]


def refused(folders, words):
    with pytest.raises(ModelError, match=re.escape(words)):
        find_runs(folders)


def test_runs_must_end_together(tmp_path):
    a = run_of(tmp_path / "a", "checkpoint-5", "checkpoint-10")
    b = run_of(tmp_path / "b", "checkpoint-5")
    refused([a, b], f"{b}: ends at step 5, {a} at step 10")


def test_a_run_counts_once(tmp_path):
    a = run_of(tmp_path / "a", "checkpoint-5")
    refused([a, a.parent / "../" / tmp_path.name / "a"], "is given twice")


def test_step_0_alone_is_no_training(tmp_path):
    refused([run_of(tmp_path / "a", "checkpoint-0")], "holds only step 0")


def test_two_folders_of_one_step(tmp_path):
    folder = run_of(tmp_path / "a", "checkpoint-5", "step-000005")
    refused([folder], "checkpoint-5 and step-000005 are both step 5")


def test_folders_without_adapters(tmp_path):
    refused([tmp_path / "none"], "there is no such folder; check --checkpoints")
    empty = tmp_path / "empty"
    empty.mkdir()
    refused([empty], "holds no checkpoint; give a folder with `checkpoint-500`")


def test_a_folder_of_runs_names_them(tmp_path):
    run_of(tmp_path / "run/checkpoints/seed-0", "step-000004")
    run_of(tmp_path / "run/checkpoints/seed-1", "step-000004")
    refused(
        [tmp_path / "run/checkpoints"],
        "holds 2 training runs (seed-0, seed-1); give --checkpoints once for each",
    )
    refused([tmp_path / "run"], "(checkpoints/seed-0, checkpoints/seed-1)")


@pytest.mark.parametrize("text", ["{", "[" * 100_000, "\udcff"])
def test_a_damaged_state_is_named(tmp_path, text):
    file = tmp_path / "trainer_state.json"
    file.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ModelError, match="is damaged"):
        read_state(file)


def test_a_state_of_something_else(tmp_path):
    file = tmp_path / "trainer_state.json"
    file.write_text("[1]")
    with pytest.raises(ModelError, match="holds no trainer's state"):
        read_state(file)


def test_no_folder_is_no_run():
    assert find_runs([]) == ()
