"""Do scores that wait on a disk change no byte and go, whatever ends the command?"""

import importlib
import signal
import time

import pytest
import torch

from driftmap.core.room import is_in_memory
from driftmap.recipes.steps.scoring import halves
from study_process import contents, finish, kill_when, start
from tiny_studies import save_tiny_data, save_tiny_model, study_words

pytestmark = pytest.mark.slow


@pytest.fixture
def words(tmp_path):
    """The words of a study up to its groups, in too little memory for one pass."""
    if is_in_memory(tmp_path):
        pytest.skip("temporary files are in memory here; give pytest --basetemp=DISK")
    torch.set_num_threads(1)
    importlib.import_module("driftmap.recipes.steps.studying")
    (tmp_path / "scratch").mkdir()
    model, data = save_tiny_model(tmp_path / "model"), save_tiny_data(tmp_path)
    return [
        *study_words(model, data, tmp_path / "run"),
        "--until=groups",
        "--memory=0.000025",
        f"--scratch={tmp_path / 'scratch'}",
    ]


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_command_cut_off_while_scores_wait_leaves_nothing_for_long(
    words, tmp_path, end, monkeypatch
):
    scratch, told = tmp_path / "scratch", tmp_path / "told.txt"
    with monkeypatch.context() as patched:
        # However busy the machine is, the scores wait until somebody has looked.
        patched.setattr(halves, "read_halves", lambda *_, **__: time.sleep(600))
        code = kill_when(start(words, told), scratch, "*/scores.safetensors", 0, end)
    assert code == (130 if end == signal.SIGINT else -end), told.read_text()
    assert len(list(scratch.iterdir())) == (end != signal.SIGINT)
    assert not [n for n in contents(tmp_path / "run") if "score" in n]
    assert finish(start(words, told)) == 0, told.read_text()
    assert "wait in" in told.read_text()
    assert list(scratch.iterdir()) == []
    again = contents(tmp_path / "run")
    plenty = [word for word in words if not word.startswith(("--memory", "--out"))]
    assert finish(start([*plenty, f"--out={tmp_path / 'other'}"], told)) == 0
    whole = contents(tmp_path / "other")
    groups = [name for name in whole if name.startswith(("groups/", "tables/"))]
    assert groups
    assert [name for name in groups if again[name] != whole[name]] == []
    assert not [name for name in (*again, *whole) if "score" in name]
