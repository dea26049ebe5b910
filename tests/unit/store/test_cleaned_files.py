"""What becomes of a step whose files are removed on purpose?"""

import json

import pytest

from driftmap.core.errors import StoreError
from driftmap.core.progress import listening
from driftmap.store import markers
from driftmap.store.run_dir import RunDir
from listeners import Ear

ADAPTERS = ["checkpoints/0/adapter", "checkpoints/1/adapter"]


@pytest.fixture
def run(tmp_path):
    with RunDir.open(tmp_path / "run", {}, "test") as run:
        tune(run)
        yield run


def tune(run):
    def make(folder):
        for name in [*ADAPTERS, "tables/loss"]:
            (folder / name).parent.mkdir(parents=True)
            (folder / name).write_text(name)

    return run.step("tune", {"seed": 0}, make)


def contents(run):
    return {
        p.relative_to(run.path).as_posix(): p.read_bytes()
        for p in run.path.rglob("*")
        if p.is_file() and p.name not in (".lock", "provenance.json")
    }


def test_cleaned_files_are_gone_and_the_marker_knows(run):
    before = json.loads((run.path / "steps/tune.json").read_text())
    run.clean_away("tune", ADAPTERS)
    assert not (run.path / "checkpoints").exists()
    assert (run.path / "tables/loss").exists()
    noted = json.loads((run.path / "steps/tune.json").read_text())
    assert noted == {**before, "removed": ADAPTERS}


def test_the_rest_can_still_be_read(run):
    run.clean_away("tune", ADAPTERS)
    found = run.require("tune")
    assert found.path("tables/loss").read_text() == "tables/loss"
    with pytest.raises(StoreError) as caught:
        found.path(ADAPTERS[0])
    assert str(caught.value) == (
        f"{run.path / ADAPTERS[0]}: was cleaned away; "
        f"make it again with `driftmap run {run.path}`"
    )
    assert not run.is_finished("tune")
    assert run.find("tune", {"seed": 0}) is None


def test_the_step_is_done_again_and_says_why(run):
    before = contents(run)
    run.clean_away("tune", ADAPTERS)
    ear = Ear()
    with listening(ear):
        assert tune(run).redone
    assert ear.heard == [
        f"{run.path / ADAPTERS[0]} of step 'tune' was cleaned away (and 1 more); "
        "the step is done again"
    ]
    assert contents(run) == before
    assert run.is_finished("tune")


def test_a_single_file_is_told_alone(run):
    run.clean_away("tune", ADAPTERS[:1])
    ear = Ear()
    with listening(ear):
        tune(run)
    assert ear.heard == [
        f"{run.path / ADAPTERS[0]} of step 'tune' was cleaned away; "
        "the step is done again"
    ]


def test_cleaning_in_two_goes_adds_up(run):
    run.clean_away("tune", ADAPTERS[1:])
    run.clean_away("tune", ADAPTERS)
    run.clean_away("tune", ADAPTERS[:1])
    found = run.require("tune")
    assert list(found.removed) == ADAPTERS


def test_a_file_that_vanished_by_itself_stays_a_fault(run):
    run.clean_away("tune", ADAPTERS)
    (run.path / "tables/loss").unlink()
    with pytest.raises(StoreError, match="loss of step 'tune' is missing; make it"):
        run.require("tune")


def test_files_that_were_only_noted_are_found_whole(run):
    before = contents(run)
    markers.note_removed(run.path, "tune", ADAPTERS)  # and then killed
    assert run.require("tune").path(ADAPTERS[0]).read_text() == ADAPTERS[0]
    assert not tune(run).redone
    assert contents(run) == before


def test_files_that_were_put_back_must_be_whole(run):
    markers.note_removed(run.path, "tune", ADAPTERS)
    (run.path / ADAPTERS[1]).write_text("other")
    with pytest.raises(StoreError, match="is not what the step wrote; make it again"):
        run.require("tune")
    assert tune(run).redone


def remake(run, **files):
    """Do the step again, which writes other files now."""

    def make(folder):
        for name, text in files.items():
            path = folder / name.replace("__", "/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    return run.step("tune", {"seed": 0}, make)


def test_only_what_was_cleaned_is_put_back(run):
    before = contents(run)
    run.clean_away("tune", ADAPTERS)
    files = {name.replace("/", "__"): name for name in ADAPTERS}
    made = remake(run, **files, tables__loss="other", tables__of_now="new")
    assert made.redone
    assert contents(run) == before
    assert not tune(run).redone


def test_all_that_was_noted_is_put_back_together(run):
    markers.note_removed(run.path, "tune", ADAPTERS)
    (run.path / ADAPTERS[1]).unlink()  # and then killed
    files = {name.replace("/", "__"): "again" for name in ADAPTERS}
    found = remake(run, **files)
    assert [found.path(name).read_text() for name in ADAPTERS] == ["again"] * 2
    assert found.path("tables/loss").read_text() == "tables/loss"
    assert not tune(run).redone


def test_a_step_that_makes_other_files_now_is_made_whole(run):
    run.clean_away("tune", ADAPTERS)
    found = remake(run, checkpoints__0__adapter="0", tables__of_now="new")
    assert list(found.files) == ["checkpoints/0/adapter", "tables/of_now"]
    assert not (run.path / "tables/loss").exists()
    assert not tune(run).redone


def test_a_step_with_another_fault_is_made_whole(run):
    run.clean_away("tune", ADAPTERS)
    (run.path / "tables/loss").write_text("meddled")
    files = {name.replace("/", "__"): "again" for name in ADAPTERS}
    found = remake(run, **files, tables__loss="again")
    assert found.path("tables/loss").read_text() == "again"


def test_only_files_of_a_finished_step_are_cleaned(run):
    with pytest.raises(AssertionError, match="tune: made no"):
        run.clean_away("tune", ["tables/other"])
    with pytest.raises(AssertionError, match="never: is not finished"):
        run.clean_away("never", [])
    assert (run.path / "tables/loss").exists()


@pytest.mark.parametrize(
    "notes",
    [
        {"removed": "all"},
        {"removed": ["tables/other"]},
        {"removed": [3]},
        {"is_outdated": 1},
    ],
)
def test_damaged_notes_are_refused(run, notes):
    marker = run.path / "steps/tune.json"
    marker.write_text(json.dumps({**json.loads(marker.read_text()), **notes}))
    with pytest.raises(StoreError, match=r"tune\.json: is damaged; remove it"):
        run.require("tune")
