"""Does cleaning remove what it says, say what it removes, and nothing else?"""

import os
import signal
import subprocess
import sys

import pytest

from driftmap.core import scratch
from driftmap.core.errors import StoreError
from driftmap.core.progress import listening
from driftmap.recipes.clean import Clean
from driftmap.store import steps
from driftmap.store.run_dir import RunDir
from listeners import Ear

STEPS = {
    "groups": ["groups/top.safetensors", "model.json"],
    "scores": ["scores/snip-000.safetensors", "scores/snip-001.safetensors"],
    "tune-seed-0": ["checkpoints/seed-0/step-000002/adapter", "tables/losses/0"],
    "merge-seed-0": ["merged/seed-0/model.safetensors"],
    "report": ["report.html", "figures/drift.png"],
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A finished run with all there can be, and training of another seed under way."""
    monkeypatch.setattr(scratch, "_SHARED_MEMORY", tmp_path / "no shared memory")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    settings = {"output": {"scratch": None, "keep": True}}
    with RunDir.open(tmp_path / "run", settings, "drift") as run:
        for name in STEPS:
            make(run, name)
        with pytest.raises(KeyboardInterrupt):
            run.long_step("tune-seed-1", {}, train_a_while)
    return run.path


def make(run, name):
    def make_files(folder):
        for file in STEPS[name]:
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / file).write_bytes(b"1000 bytes" * 100)

    return run.step(name, {}, make_files)


def train_a_while(folders):
    (folders.work / "state").write_bytes(b"s" * 500)
    raise KeyboardInterrupt


def clean(folder, **options):
    """All that is said."""
    ear = Ear()
    with listening(ear):
        assert Clean(folder, **options).run() == folder
    return ear.heard


def contents(folder):
    return {
        p.relative_to(folder).as_posix(): p.read_bytes()
        for p in folder.rglob("*")
        if p.is_file()
    }


def rest(folder):
    names = ("run.yaml", "provenance.json", "model.json", "report.html", "log.txt")
    files = [folder / name for name in (*names, "figures/drift.png")]
    files += (folder / "steps").glob("*.json")
    found = [file.stat().st_size for file in files if file.exists()]
    return f"{sum(found) / 1024:.1f} KiB in {len(found)} files"


def freed_and_kept(said):
    """What is said of sizes, without what the rest and everything take."""
    return [line for line in said if "statistics" not in line and "in all" not in line]


def test_kept_scores_go_and_the_rest_stays(folder):
    before = contents(folder)
    kept = f"kept {rest(folder)}: report, statistics, settings, log"
    said = clean(folder)
    assert sorted(said[:-1]) == sorted(
        [
            "freed 2.0 KiB in 2 files: kept scores",
            "kept 1000 B in 1 file: groups",
            "kept 1000 B in 1 file: tables",
            "kept 1000 B in 1 file: adapters; --checkpoints frees it",
            "kept 1000 B in 1 file: merged models; --checkpoints frees it",
            "kept 500 B in 1 file: unfinished training; --checkpoints frees it",
            kept,
        ]
    )
    assert said[-1].startswith("in all: freed 2.0 KiB, kept ")
    gone = before.keys() - contents(folder).keys()
    assert gone == set(STEPS["scores"])


def test_adapters_go_when_asked(folder):
    before = contents(folder)
    said = clean(folder, checkpoints=True)
    assert freed_and_kept(said) == [
        "freed 500 B in 1 file: unfinished training",
        "freed 1000 B in 1 file: merged models",
        "freed 2.0 KiB in 2 files: kept scores",
        "freed 1000 B in 1 file: adapters",
        "kept 1000 B in 1 file: groups",
        "kept 1000 B in 1 file: tables",
    ]
    gone = before.keys() - contents(folder).keys()
    assert {name.split("/")[0] for name in gone} == {
        "scores", "checkpoints", "merged", "steps",
    }  # fmt: skip
    assert list((folder / "steps").glob("*.work")) == []
    assert not (folder / "checkpoints").exists()


@pytest.mark.parametrize("checkpoints", [False, True])
def test_a_dry_run_says_the_same_and_changes_no_byte(folder, checkpoints):
    (folder / "steps/.report.partial").mkdir()
    (folder / "steps/.report.partial/half").write_text("half")
    before = contents(folder)
    times = {p: p.stat().st_mtime_ns for p in folder.rglob("*") if p.name != ".lock"}
    would = clean(folder, checkpoints=checkpoints, dry_run=True)
    assert contents(folder) == before
    assert times == {p: p.stat().st_mtime_ns for p in times}
    said = clean(folder, checkpoints=checkpoints)
    assert [
        line.replace("would free", "freed").replace("would keep", "kept")
        for line in would
    ] == said


def test_a_second_clean_finds_nothing(folder):
    clean(folder, checkpoints=True)
    before = contents(folder)
    said = clean(folder, checkpoints=True)
    assert said[-1].startswith("in all: nothing to free, kept ")
    assert not any(line.startswith("freed") for line in said)
    assert {k: v for k, v in contents(folder).items() if k != "log.txt"} == {
        k: v for k, v in before.items() if k != "log.txt"
    }


def test_only_what_is_gone_is_made_again(folder):
    before = {k: v for k, v in contents(folder).items() if not_of_cost(k)}
    clean(folder, checkpoints=True)
    with RunDir.reopen(folder) as run:
        redone = [name for name in STEPS if make(run, name).redone]
    assert redone == ["scores", "tune-seed-0", "merge-seed-0"]
    after = {k: v for k, v in contents(folder).items() if not_of_cost(k)}
    work = {name for name in before if ".work/" in name}
    assert after == {k: v for k, v in before.items() if k not in work}


def not_of_cost(name):
    return name not in ("provenance.json", "log.txt")


def test_what_is_gone_is_not_missed_by_those_who_do_not_need_it(folder):
    clean(folder, checkpoints=True)
    with RunDir.reopen(folder) as run:
        found = run.require("tune-seed-0")
        assert found.path("tables/losses/0").exists()


def test_remains_of_a_killed_process_go(folder):
    with RunDir.hold(folder) as run:
        key = run.require("scores").key
    (folder / "steps/.report.partial").mkdir()
    (folder / "steps/.report.partial/half").write_bytes(b"h" * 70)
    (folder / "steps/.groups.json.77.tmp").write_bytes(b"h" * 20)
    (folder / ".run.yaml.77.tmp").write_bytes(b"h" * 10)
    # Finished, and killed before its checkpoints were cleared.
    (folder / f"steps/scores.work/{key[:16]}").mkdir(parents=True)
    (folder / f"steps/scores.work/{key[:16]}/state").write_bytes(b"h" * 100)
    said = clean(folder)
    assert said[0] == "freed 200 B in 4 files: remains of a killed process"
    names = {p.name for p in (folder / "steps").iterdir()}
    assert names == {f"{name}.json" for name in STEPS} | {"tune-seed-1.work"}


def test_work_that_a_step_is_done_again_with_is_kept(folder):
    clean(folder, checkpoints=True)
    with (
        RunDir.reopen(folder) as run,
        pytest.raises(KeyboardInterrupt),
    ):
        run.long_step("tune-seed-0", {}, train_a_while)
    said = clean(folder)
    assert "kept 500 B in 1 file: unfinished training; --checkpoints frees it" in said


def test_a_step_that_is_being_finished_is_finished_first(folder, monkeypatch):
    with RunDir.reopen(folder) as run, monkeypatch.context() as patch:
        patch.setattr(steps, "_carry_out", stop)
        with pytest.raises(KeyboardInterrupt):
            run.step("scores", {"seed": 1}, write_one_score)
    would = clean(folder, dry_run=True)
    assert "would keep 300 B in 1 file: a step that the next command finishes" in would
    said = clean(folder)
    assert "freed 300 B in 1 file: kept scores" in said
    assert not (folder / "scores").exists()


def stop(*_):
    raise KeyboardInterrupt


def write_one_score(folder):
    (folder / "scores").mkdir()
    (folder / "scores/other.safetensors").write_bytes(b"o" * 300)


def test_files_of_others_are_never_touched(folder):
    (folder / "scores/my notes.txt").write_text("precious")
    (folder / "thesis.tex").write_text("precious")
    said = clean(folder, checkpoints=True)
    assert "kept 16 B in 2 files: files of your own" in said
    assert (folder / "scores/my notes.txt").read_text() == "precious"


def test_scratch_of_a_killed_process_goes(folder, tmp_path):
    child = os.fork()
    if child == 0:
        with scratch.scratch_folder(folder, 10, tmp_path) as own:
            (own / "large").write_bytes(b"l" * 3000)
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    (left,) = scratch.leftovers(folder)
    would = clean(folder, dry_run=True)
    assert "in 2 files: scratch of a killed process" in would[0]
    assert (left / "large").exists()
    said = clean(folder)
    assert "in 2 files: scratch of a killed process" in said[1]
    assert not left.exists()


def test_scratch_that_is_in_use_stays(folder, tmp_path):
    with scratch.scratch_folder(folder, 10, tmp_path) as own:
        (own / "large").write_bytes(b"l" * 3000)
        assert not any("scratch" in line for line in clean(folder))
        assert (own / "large").exists()


@pytest.mark.parametrize("dry_run", [False, True])
def test_a_run_in_use_is_refused(folder, dry_run):
    code = (
        "import sys; from pathlib import Path; from driftmap.recipes.clean import Clean"
        "\ntry: Clean(Path(sys.argv[1]), dry_run=sys.argv[2] == 'True').run()\n"
        "except ValueError as error: print(error)"
    )
    command = [sys.executable, "-c", code, str(folder), str(dry_run)]
    before = contents(folder)
    with RunDir.reopen(folder):
        told = subprocess.run(command, capture_output=True, text=True, check=True)
    assert told.stdout == (
        f"{folder}: another driftmap is writing this run; wait for it to end\n"
    )
    assert contents(folder) == before


@pytest.mark.parametrize("dry_run", [False, True])
@pytest.mark.parametrize("what", ["nothing", "empty", "foreign", "study", "file"])
def test_what_holds_no_run_is_refused_and_left_alone(tmp_path, what, dry_run):
    place = tmp_path / "place"
    if what != "nothing":
        place.mkdir()
    if what in ("foreign", "study"):
        name = {"foreign": "thesis.tex", "study": "run.yaml"}[what]
        (place / name).write_text("kind: drift\n")
    if what == "file":
        place = tmp_path / "place/run.yaml"
        place.write_text("kind: drift\n")
    before = contents(tmp_path)
    with pytest.raises(StoreError) as caught:
        Clean(place, dry_run=dry_run).run()
    assert str(caught.value) == (
        f"{place}: holds no run; name a folder that driftmap wrote"
    )
    assert contents(tmp_path) == before


def test_a_copied_run_is_looked_at_without_a_lock_file(folder):
    (folder / ".lock").unlink()
    clean(folder, dry_run=True)
    assert not (folder / ".lock").exists()


@pytest.mark.parametrize("output", ["nonsense", None, {"scratch": 3}])
def test_settings_without_a_place_for_scratch_are_no_obstacle(tmp_path, output):
    RunDir.open(tmp_path / "run", {"output": output}, "drift").close()
    said = clean(tmp_path / "run")
    assert said[-1].startswith("in all: nothing to free")
