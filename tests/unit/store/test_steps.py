import json
from pathlib import Path

import pytest

from driftmap.core.errors import StoreError
from driftmap.core.progress import listening
from driftmap.store import steps
from driftmap.store.run_dir import RunDir
from listeners import Ear


@pytest.fixture
def run(tmp_path):
    with RunDir.open(tmp_path / "run", {}, "test") as run:
        yield run


def writer(**files):
    """A `make` that writes text under names with `__` for a slash."""

    def make(folder: Path) -> None:
        make.calls += 1
        for name, text in files.items():
            path = folder / name.replace("__", "/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    make.calls = 0
    return make


def marker(run, name):
    return run.path / "steps" / f"{name}.json"


def snapshot(root: Path):
    return {
        p.relative_to(root).as_posix(): p.read_bytes()
        for p in root.rglob("*")
        if p.is_file() and p.name not in ("provenance.json", ".lock")
    }


def test_marker_bytes_are_pinned(run):
    run.step("one", {"seed": 0, "share": 0.5, "names": ("a", "b")}, writer(a__b="x"))
    assert marker(run, "one").read_text() == (
        "{\n"
        '  "files": {\n'
        f'    "a/b": "{X}"\n'
        "  },\n"
        f'  "key": "{KEY}",\n'
        '  "kind": "driftmap.step",\n'
        '  "name": "one",\n'
        '  "version": 1\n'
        "}\n"
    )


KEY = "b646710daefe90021d59742833c6415ca140e1ff88b54065887838d105b9ef11"
X = "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"


def test_a_finished_step_is_not_done_again(run):
    make = writer(tables__t="1")
    first = run.step("one", {"seed": 0}, make)
    again = run.step("one", {"seed": 0}, make)
    assert make.calls == 1
    assert (first.redone, again.redone) == (True, False)
    assert (first.key, first.files) == (again.key, again.files)


def test_other_inputs_do_the_step_again_and_drop_its_old_files(run):
    run.step("one", {"seed": 0}, writer(old__deep__x="0", both="0"))
    run.step("two", {}, writer(two="2"))
    ear = Ear()
    with listening(ear):
        run.step("one", {"seed": 1}, writer(new="1", both="1"))
        assert not run.step("two", {}, writer(two="2")).redone
    assert ear.heard == ["the inputs of step 'one' changed; the step is done again"]
    names = {n for n in snapshot(run.path) if not n.startswith("steps/")}
    assert names == {"run.yaml", "new", "both", "two"}
    assert not (run.path / "old").exists()


def test_an_old_file_may_become_a_folder_and_back(run):
    run.step("one", {"seed": 0}, writer(a="0"))
    run.step("one", {"seed": 1}, writer(a__b="1"))
    assert (run.path / "a" / "b").read_text() == "1"
    run.step("one", {"seed": 2}, writer(a="2"))
    assert (run.path / "a").read_text() == "2"


@pytest.mark.parametrize("damage", ["edited", "cut", "missing", "folder"])
def test_a_damaged_file_is_named_and_made_again(run, damage):
    make = writer(tables__t="123", other="4")
    run.step("one", {}, make)
    before = snapshot(run.path)
    path = run.path / "tables" / "t"
    if damage == "edited":
        path.write_text("124")
    elif damage == "cut":
        path.write_text("12")
    else:
        path.unlink()
        if damage == "folder":
            path.mkdir()
    ear = Ear()
    with listening(ear):
        assert run.step("one", {}, make).redone
    found = "not what the step wrote" if damage in ("edited", "cut") else "missing"
    assert ear.heard == [f"{path} of step 'one' is {found}; the step is done again"]
    assert snapshot(run.path) == before


def test_a_failing_step_leaves_nothing(run):
    before = snapshot(run.path)

    def make(folder):
        (folder / "half").write_text("h")
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        run.step("one", {}, make)
    assert snapshot(run.path) == before
    assert list((run.path / "steps").iterdir()) == []


def test_a_failing_repetition_keeps_the_old_result(run):
    run.step("one", {"seed": 0}, writer(a="0"))
    before = snapshot(run.path)
    with pytest.raises(ZeroDivisionError):
        run.step("one", {"seed": 1}, lambda _: 1 // 0)
    assert snapshot(run.path) == before


def test_work_survives_an_interruption_and_ends_with_the_step(run):
    def make(folders):
        part = folders.work / "part"
        if not part.exists():
            part.write_text("half")
            raise KeyboardInterrupt
        (folders.folder / "whole").write_text(part.read_text() + " and half")

    with pytest.raises(KeyboardInterrupt):
        run.long_step("train", {"seed": 0}, make)
    assert (run.path / "steps" / "train.work").is_dir()
    outcome = run.long_step("train", {"seed": 0}, make)
    assert outcome.path("whole").read_text() == "half and half"
    assert not (run.path / "steps" / "train.work").exists()


def test_work_of_other_inputs_is_wiped(run):
    seen = []

    def make(folders):
        seen.append(sorted(p.name for p in folders.work.iterdir()))
        (folders.work / "part").touch()
        raise KeyboardInterrupt

    for seed in (0, 0, 1, 0):
        with pytest.raises(KeyboardInterrupt):
            run.long_step("train", {"seed": seed}, make)
    assert seen == [[], ["part"], [], []]
    assert len(list((run.path / "steps" / "train.work").iterdir())) == 1


def test_work_of_a_finished_step_is_cleared(run):
    run.step("one", {}, writer(a="0"))
    (run.path / "steps" / "one.work" / "x").mkdir(parents=True)
    run.step("one", {}, writer(a="0"))
    assert not (run.path / "steps" / "one.work").exists()


def test_an_outcome_knows_only_its_files(run):
    outcome = run.step("one", {}, writer(a="0"))
    with pytest.raises(StoreError, match=r"step 'one' made no b, only \['a'\]"):
        outcome.path("b")


@pytest.mark.parametrize("name", ["", "One", "a/b", "../x", ".hidden"])
def test_step_names_are_plain(run, name):
    with pytest.raises(AssertionError, match="step names are"):
        run.step(name, {}, writer())


def test_a_file_has_one_maker(run):
    run.step("one", {}, writer(a="0"))
    with pytest.raises(AssertionError, match=r"\['a'\]: made by 'one' and 'two'"):
        run.step("two", {}, writer(a="0"))
    with pytest.raises(AssertionError, match="may not write steps/x"):
        run.step("two", {}, writer(steps__x="0"))
    assert not marker(run, "two").exists()


def test_links_are_no_results(run):
    def make(folder):
        (folder / "a").symlink_to("/etc/hostname")

    with pytest.raises(AssertionError, match="not a plain file"):
        run.step("one", {}, make)


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", '{"kind": "other", "version": 1}', "ESCAPE", "ABSOLUTE", "OWN"],
)
def test_a_damaged_marker_is_refused_and_touches_nothing(run, tmp_path, text):
    run.step("one", {}, writer(a="0"))
    precious = tmp_path / "precious"
    precious.write_text("p")
    name = {"ESCAPE": "../precious", "ABSOLUTE": str(precious), "OWN": "run.yaml"}
    if text in name:
        content = json.loads(marker(run, "one").read_text())
        content["files"] = {name[text]: "0" * 64}
        text = json.dumps(content)
    marker(run, "one").write_text(text)
    with pytest.raises(StoreError, match=r"one\.json"):
        run.step("one", {"seed": 1}, writer(a="1"))
    assert precious.read_text() == "p"
    assert (run.path / "run.yaml").exists()


def test_a_newer_marker_is_refused(run):
    run.step("one", {}, writer(a="0"))
    text = marker(run, "one").read_text().replace('"version": 1', '"version": 2')
    marker(run, "one").write_text(text)
    with pytest.raises(StoreError) as caught:
        run.step("one", {}, writer(a="0"))
    assert str(caught.value) == (
        f"{marker(run, 'one')}: is driftmap.step of version 2, this driftmap reads up "
        "to 1; use a newer driftmap"
    )


def interrupted_commit(run, monkeypatch, name, key, at):
    """Stop a commit when it first calls `at`."""

    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(steps, at, stop)
        with pytest.raises(KeyboardInterrupt):
            steps.commit(run.path, name, key)


def test_a_planned_step_is_finished_when_the_run_is_opened(run, monkeypatch):
    run.step("one", {"seed": 0}, writer(a="0", b="0"))
    key = steps.step_key("one", {"seed": 1})
    folders = steps.step_folders(run.path, "one", key)
    writer(b="1", c="1")(folders.folder)
    interrupted_commit(run, monkeypatch, "one", key, "_carry_out")
    run.close()
    with RunDir.reopen(run.path) as again:
        make = writer(b="1", c="1")
        assert not again.step("one", {"seed": 1}, make).redone
    assert not (run.path / "a").exists()
    assert (run.path / "b").read_text() == "1"


def test_a_plan_with_a_damaged_file_is_given_up(run, monkeypatch):
    key = steps.step_key("one", {})
    folders = steps.step_folders(run.path, "one", key)
    writer(a="1", b="1")(folders.folder)
    interrupted_commit(run, monkeypatch, "one", key, "_carry_out")
    (folders.folder / "a").replace(run.path / "a")
    (folders.folder / "b").write_text("?")
    run.close()
    ear = Ear()
    with listening(ear):
        RunDir.reopen(run.path).close()
    assert ear.heard == [
        f"{folders.folder / 'b'} of step 'one' is damaged; the step is done again"
    ]
    assert set(snapshot(run.path)) == {"run.yaml"}


def test_a_given_up_plan_leaves_the_old_result(run, monkeypatch):
    run.step("one", {"seed": 0}, writer(a="0"))
    before = snapshot(run.path)
    key = steps.step_key("one", {"seed": 1})
    folders = steps.step_folders(run.path, "one", key)
    writer(a="1")(folders.folder)
    interrupted_commit(run, monkeypatch, "one", key, "_carry_out")
    (folders.folder / "a").unlink()
    (run.path / "a").write_text("0")
    run.close()
    RunDir.reopen(run.path).close()
    assert snapshot(run.path) == before


def test_a_damaged_plan_is_refused(run):
    plan = run.path / "steps" / ".one.plan"
    plan.write_text('{"kind": "driftmap.plan", "version": 1, "record": 3}')
    run.close()
    with pytest.raises(StoreError, match="is damaged; remove it and repeat"):
        RunDir.reopen(run.path)


@pytest.mark.parametrize("way", ["file above", "folder with files"])
def test_what_stands_in_the_way_is_named_and_kept(run, way):
    if way == "file above":
        blocker = kept = run.path / "tables"
    else:
        blocker = run.path / "tables" / "t"
        kept = blocker / "mine"
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_text("m")
    with pytest.raises(StoreError) as caught:
        run.step("one", {}, writer(tables__t="1"))
    assert str(caught.value) == (
        f"{blocker}: is in the way of tables/t; "
        "move it out of the run folder and repeat the command"
    )
    assert kept.read_text() == "m"
    assert not marker(run, "one").exists()
