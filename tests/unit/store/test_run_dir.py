import json
import subprocess
import sys
from pathlib import Path

import pytest

from driftmap.core.errors import StoreError
from driftmap.store.run_dir import RunDir

RECIPE = {"model": {"path": "m", "device": "cpu"}, "share": 0.01, "until": None}


def open_run(path: Path, **changes):
    return RunDir.open(path, {**RECIPE, **changes}, "drift", free=("until",))


def write_one(folder: Path) -> None:
    (folder / "tables").mkdir()
    (folder / "tables" / "one.txt").write_text("one")


def test_a_new_run_holds_recipe_and_steps(tmp_path):
    with open_run(tmp_path / "a" / "run") as run:
        run.step("one", {}, write_one)
    found = {p.relative_to(run.path).as_posix() for p in run.path.rglob("*")}
    assert found == {
        ".lock", "run.yaml", "provenance.json", "steps", "steps/one.json",
        "tables", "tables/one.txt",
    }  # fmt: skip


def test_reopened_with_the_same_settings_goes_on(tmp_path):
    with open_run(tmp_path) as run:
        assert run.step("one", {}, write_one).redone
    with open_run(tmp_path) as run:
        assert not run.step("one", {}, write_one).redone
    with RunDir.reopen(tmp_path) as run:
        assert not run.step("one", {}, write_one).redone


def test_a_free_setting_may_differ_and_is_written_anew(tmp_path):
    open_run(tmp_path, until="groups").close()
    assert "until: groups" in (tmp_path / "run.yaml").read_text()
    open_run(tmp_path).close()
    assert "until: null" in (tmp_path / "run.yaml").read_text()


def test_what_lies_under_a_free_name_is_free(tmp_path):
    RunDir.open(tmp_path, RECIPE, "drift", free=("model.device",)).close()
    moved = {**RECIPE, "model": {"path": "m", "device": "cuda"}}
    RunDir.open(tmp_path, moved, "drift", free=("model.device",)).close()
    with pytest.raises(StoreError, match=r"model\.device cuda \(now cpu\)"):
        RunDir.open(tmp_path, RECIPE, "drift")


def test_other_settings_are_refused_by_name(tmp_path):
    open_run(tmp_path).close()
    before = (tmp_path / "run.yaml").read_bytes()
    with pytest.raises(StoreError) as caught:
        open_run(tmp_path, share=0.02, model={"path": "n", "device": "cpu"}, more=1)
    assert str(caught.value) == (
        f"{tmp_path}: holds a run with other settings: model.path m (now n), "
        "share 0.01 (now 0.02), more not set (now 1); "
        "choose another --out or repeat the settings of the run "
        "(only --until may change within it)"
    )
    assert (tmp_path / "run.yaml").read_bytes() == before
    open_run(tmp_path).close()


def test_another_kind_is_refused(tmp_path):
    open_run(tmp_path).close()
    with pytest.raises(StoreError) as caught:
        RunDir.open(tmp_path, RECIPE, "score")
    assert str(caught.value) == (
        f"{tmp_path}: holds a run of `drift`, not `score`; choose another --out"
    )


def test_foreign_files_are_refused_and_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(StoreError) as caught:
        open_run(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path}: holds files of something else (thesis.tex) and no run.yaml; "
        "choose another --out or an empty folder"
    )
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_file_is_no_run_folder(tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(StoreError, match="is a file, not a folder; choose another"):
        open_run(tmp_path / "out")


def test_the_remains_of_a_killed_open_are_not_foreign(tmp_path):
    (tmp_path / ".lock").touch()
    (tmp_path / ".run.yaml.77.tmp").write_text("ki")
    open_run(tmp_path).close()
    assert not (tmp_path / ".run.yaml.77.tmp").exists()


def test_reopen_wants_a_run(tmp_path):
    with pytest.raises(StoreError, match="no such file; name a run folder"):
        RunDir.reopen(tmp_path)


def test_two_processes_never_write_one_run(tmp_path):
    code = (
        "import sys; from pathlib import Path; from driftmap.store.run_dir import "
        "RunDir\ntry: RunDir.reopen(Path(sys.argv[1]))\n"
        "except ValueError as error: print(error)"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    with open_run(tmp_path):
        told = subprocess.run(command, capture_output=True, text=True, check=True)
        assert told.stdout.strip() == (
            f"{tmp_path}: another driftmap is writing this run; "
            "wait for it to end or choose another --out"
        )
        with pytest.raises(StoreError, match="another driftmap is writing"):
            open_run(tmp_path)
    told = subprocess.run(command, capture_output=True, text=True, check=True)
    assert told.stdout == ""


def test_a_refused_open_leaves_no_lock(tmp_path):
    open_run(tmp_path).close()
    with pytest.raises(StoreError):
        open_run(tmp_path, share=0.5)
    open_run(tmp_path).close()


def test_require_finds_checked_files(tmp_path):
    with open_run(tmp_path) as run:
        with pytest.raises(StoreError) as caught:
            run.require("one")
        assert str(caught.value) == (
            f"{tmp_path}: step 'one' is not finished; "
            f"finish the run with `driftmap run {tmp_path}`"
        )
        run.step("one", {"seed": 3}, write_one)
        assert run.require("one").path("tables/one.txt").read_text() == "one"
        (tmp_path / "tables" / "one.txt").write_text("two")
        with pytest.raises(StoreError) as caught:
            run.require("one")
    assert str(caught.value) == (
        f"{tmp_path}/tables/one.txt of step 'one' is not what the step wrote; "
        f"make it again with `driftmap run {tmp_path}`"
    )


def test_provenance_gathers_environment_seeds_inputs_and_costs(tmp_path):
    with open_run(tmp_path) as run:
        run.step("before", {}, lambda _: None)
        run.note_environment(num_threads=1, device="cpu", dtype="float32")
        run.note_seeds({"data": 1})
        run.note_inputs({"samples": "ab"})
        run.step("after", {}, lambda _: None)
    with open_run(tmp_path) as run:
        run.note_environment(num_threads=2, device="cpu", dtype="float32")
        run.note_seeds({"adapter": 2})
        run.step("later", {}, lambda _: None)
    noted = json.loads((tmp_path / "provenance.json").read_text())
    assert [e["num_threads"] for e in noted["environments"]] == [1, 2]
    assert noted["seeds"] == {"data": 1, "adapter": 2}
    assert noted["inputs_sha256"] == {"samples": "ab"}
    numbers = {name: step["environment"] for name, step in noted["steps"].items()}
    assert numbers == {"before": None, "after": 0, "later": 1}
    assert noted["steps"]["after"]["wall_seconds"] >= 0
    assert noted["steps"]["after"]["peak_memory_bytes"] > 2**20


def test_a_closed_run_takes_no_step(tmp_path):
    run = open_run(tmp_path)
    run.close()
    with pytest.raises(AssertionError, match="the run folder is closed"):
        run.step("one", {}, write_one)
