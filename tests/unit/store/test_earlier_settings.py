"""What becomes of finished steps when a setting changes that they depend on?"""

import json

import pytest

from driftmap.core.errors import StoreError
from driftmap.core.progress import listening
from driftmap.store.run_dir import RunDir
from listeners import Ear

REDOES = {"groups": ("groups", "drift"), "elsewhere.file": ("groups", "drift")}
STEPS = ("groups", "tune", "drift")


def settings(share=0.1, file=None, rate=1.0, until="report"):
    return {
        "groups": {"share": share, "p": 0.2},
        "elsewhere": {"file": file, "other": None},
        "rate": rate,
        "until": until,
        "out": "here",
    }


def opened(path, **changes):
    return RunDir.open(
        path, settings(**changes), "study", free=("until", "out"), redoes=REDOES
    )


def write(name, text):
    def make(folder):
        (folder / name).mkdir()
        (folder / name / "text").write_text(text)

    return make


def grow(run, share=0.1, file=None, rate=1.0, until="report"):
    """Do all steps; the names of those that were not found finished."""
    chosen = f"{share} {file}"
    groups = run.step("groups", {"share": chosen}, write("groups", chosen))
    if until == "groups":
        return [groups.name] * groups.redone
    tune = run.step("tune", {"rate": rate}, write("tune", str(rate)))
    inputs = {"groups": groups.key, "tune": tune.key}
    drift = run.step("drift", inputs, write("drift", f"{chosen} {rate}"))
    return [step.name for step in (groups, tune, drift) if step.redone]


def study(path, **changes):
    with opened(path, **changes) as run:
        return grow(run, **changes)


def contents(path):
    return {
        p.relative_to(path).as_posix(): p.read_bytes()
        for p in path.rglob("*")
        if p.is_file() and p.name not in (".lock", "provenance.json")
    }


def is_outdated(path, name):
    return json.loads((path / f"steps/{name}.json").read_text()).get("is_outdated")


def test_only_what_depends_on_the_setting_is_done_again(tmp_path):
    assert study(tmp_path / "run") == list(STEPS)
    assert study(tmp_path / "run", share=0.3) == ["groups", "drift"]
    assert study(tmp_path / "fresh", share=0.3) == list(STEPS)
    assert contents(tmp_path / "run") == contents(tmp_path / "fresh")


def test_back_to_the_earlier_setting_gives_the_earlier_bytes(tmp_path):
    study(tmp_path)
    before = contents(tmp_path)
    study(tmp_path, share=0.3)
    assert study(tmp_path) == ["groups", "drift"]
    assert contents(tmp_path) == before


def test_a_deeper_name_redoes_too(tmp_path):
    study(tmp_path)
    assert study(tmp_path, file="mine") == ["groups", "drift"]


def test_old_results_stay_until_they_are_done_again(tmp_path):
    study(tmp_path)
    before = contents(tmp_path)
    opened(tmp_path, share=0.3).close()
    assert (tmp_path / "groups/text").read_text() == "0.1 None"
    assert [is_outdated(tmp_path, name) for name in STEPS] == [True, None, True]
    assert study(tmp_path) == []
    assert contents(tmp_path) == before


def test_a_step_of_earlier_settings_is_never_read(tmp_path):
    study(tmp_path)
    with opened(tmp_path, share=0.3) as run:
        assert not run.is_finished("groups")
        assert run.is_finished("tune")
        assert not run.is_finished("never")
        assert run.require("tune").path("tune/text").read_text() == "1.0"
        with pytest.raises(StoreError) as caught:
            run.require("groups")
        assert str(caught.value) == (
            f"{tmp_path}: step 'groups' is of earlier settings; "
            f"finish the run with `driftmap run {tmp_path}`"
        )
    study(tmp_path, share=0.3, until="groups")
    with RunDir.reopen(tmp_path) as run:
        assert run.require("groups").path("groups/text").read_text() == "0.3 None"
        with pytest.raises(StoreError, match="'drift' is of earlier settings"):
            run.require("drift")


def test_the_reason_is_told(tmp_path):
    study(tmp_path)
    ear = Ear()
    with listening(ear):
        study(tmp_path, share=0.3)
    assert ear.heard == [
        f"the inputs of step {name!r} changed; the step is done again"
        for name in ("groups", "drift")
    ]


def test_other_settings_stay_refused_and_those_that_may_change_are_named(tmp_path):
    study(tmp_path)
    before = contents(tmp_path)
    with pytest.raises(StoreError) as caught:
        opened(tmp_path, share=0.3, rate=2.0)
    assert str(caught.value) == (
        f"{tmp_path}: holds a run with other settings: rate 1.0 (now 2.0); "
        "choose another --out or repeat the settings of the run "
        "(only --share, --p, --file, --until may change within it)"
    )
    assert contents(tmp_path) == before


def test_what_a_killed_process_had_planned_is_of_its_own_settings(
    tmp_path, monkeypatch
):
    study(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr("driftmap.store.steps._carry_out", stop)
        with pytest.raises(KeyboardInterrupt):
            study(tmp_path, share=0.3)
    opened(tmp_path, share=0.5).close()
    assert is_outdated(tmp_path, "groups")
    assert (tmp_path / "groups/text").read_text() == "0.3 None"
    study(tmp_path, share=0.5)
    study(tmp_path / "fresh", share=0.5)
    found = {k: v for k, v in contents(tmp_path).items() if not k.startswith("fresh")}
    assert found == contents(tmp_path / "fresh")


def stop(*_):
    raise KeyboardInterrupt


def test_find_wants_the_inputs_and_whole_files(tmp_path):
    with opened(tmp_path) as run:
        assert run.find("one", {"seed": 0}) is None
        run.step("one", {"seed": 0}, write("one", "1"))
        found = run.find("one", {"seed": 0})
        assert found is not None
        assert found.path("one/text").read_text() == "1"
        assert run.find("one", {"seed": 1}) is None
        (tmp_path / "one/text").write_text("2")
        assert run.find("one", {"seed": 0}) is None


def test_what_nobody_asks_for_any_more_goes_in_the_end(tmp_path):
    study(tmp_path)
    with opened(tmp_path, share=0.3) as run:
        assert run.step("groups", {"share": "0.3 None"}, write("groups", "0.3")).redone
        run.drop_outdated()
    assert not (tmp_path / "drift").exists()
    assert not (tmp_path / "steps/drift.json").exists()
    assert (tmp_path / "tune/text").exists()
    with RunDir.reopen(tmp_path) as run:
        assert run.require("groups").path("groups/text").read_text() == "0.3"
        run.drop_outdated()
        with pytest.raises(StoreError, match="step 'drift' is not finished"):
            run.require("drift")


def test_dropping_can_be_cut_off_and_repeated(tmp_path, monkeypatch):
    study(tmp_path)
    with opened(tmp_path, share=0.3) as run, monkeypatch.context() as patch:
        patch.setattr("driftmap.store.markers.remove_marker", stop)
        with pytest.raises(KeyboardInterrupt):
            run.drop_outdated()
        patch.undo()
        run.drop_outdated()
    assert {p.name for p in (tmp_path / "steps").iterdir()} == {"tune.json"}
    assert {p.name for p in tmp_path.iterdir()} == {
        ".lock", "run.yaml", "provenance.json", "steps", "tune",
    }  # fmt: skip
