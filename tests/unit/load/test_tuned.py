"""What somebody made of a model is found by its folders."""

import pytest

from driftmap.core.errors import ModelError
from driftmap.load.tuned import find_tuned


@pytest.fixture
def adapter(tmp_path):
    def made(name):
        folder = tmp_path / name
        folder.mkdir(parents=True)
        (folder / "adapter_config.json").write_text("{}")
        return folder

    return made


def test_a_single_adapter(adapter):
    folder = adapter("mine")
    assert find_tuned([str(folder)]).last == folder


def test_a_training_run_gives_its_checkpoints(adapter, tmp_path):
    for step in (10, 2):
        adapter(f"run/checkpoint-{step}")
    assert list(find_tuned([str(tmp_path / "run")]).checkpoints) == [2, 10]


def test_several_checkpoints_are_ordered_by_their_steps(adapter):
    late, early = adapter("a/checkpoint-9"), adapter("b/checkpoint-3")
    found = find_tuned([str(late), str(early)])
    assert dict(found.checkpoints) == {3: early, 9: late}
    assert found.last == late


def test_several_without_steps_are_taken_as_given(adapter):
    folders = [adapter(name) for name in ("x", "b", "c")]
    found = find_tuned([str(folder) for folder in folders])
    assert list(found.checkpoints.values()) == folders


def test_two_of_one_step_are_refused(adapter):
    folders = [
        adapter(f"{n}/checkpoint-{s}") for n, s in (("a", 3), ("b", 3), ("c", 9))
    ]
    with pytest.raises(ModelError, match="both step 3; give each checkpoint once"):
        find_tuned([str(folder) for folder in folders])


def test_a_run_among_others_is_refused(adapter, tmp_path):
    adapter("run/checkpoint-1"), adapter("run/checkpoint-2")
    with pytest.raises(ModelError, match="several checkpoints; give this folder alone"):
        find_tuned([str(tmp_path / "run"), str(adapter("one"))])


def test_kinds_are_not_mixed(adapter, tmp_path):
    (tmp_path / "whole").mkdir()
    (tmp_path / "whole" / "config.json").write_text("{}")
    with pytest.raises(
        ModelError, match=r"whole: is a whole model, .*one is an adapter"
    ):
        find_tuned([str(adapter("one")), str(tmp_path / "whole")])
