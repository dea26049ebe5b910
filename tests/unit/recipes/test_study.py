"""A study file is read, refused or run, each piece of work once."""

import json
from pathlib import Path

import pytest
import yaml

from driftmap.cli.commands import app
from driftmap.cli.main import main
from driftmap.core.errors import ModelError, StoreError, UsageError
from driftmap.recipes.demo import Demo
from driftmap.recipes.steps.study.files import (
    SHIPPED,
    PlannedRun,
    chosen_runs,
    find_study,
    read_study_file,
    shipped_names,
)
from driftmap.recipes.steps.study.parsing import KINDS, recipe_of
from driftmap.recipes.steps.study.places import BUILT_IN, Places, require_places
from driftmap.recipes.studies_list import StudiesList
from driftmap.recipes.study import Study


def write(folder, **study):
    file = folder / "study.yaml"
    file.write_text(yaml.safe_dump({"kind": "study", **study}, sort_keys=False))
    return file


READ = {"kind": "read", "model": "m", "text": ["t"]}


@pytest.mark.parametrize("name", shipped_names())
def test_every_shipped_study_is_one_that_can_be_run(name, tmp_path):
    study = read_study_file(SHIPPED / f"{name}.yaml")
    assert study.title
    assert study.about
    require_places(study, study.runs)
    for planned in study.runs:
        recipe_of(study, planned, planned.options, tmp_path / planned.name)


def test_studies_of_real_models_name_their_source():
    real = [name for name in shipped_names() if not name.endswith("-small")]
    assert len(real) == 4
    assert all(read_study_file(SHIPPED / f"{name}.yaml").source for name in real)


def test_every_kind_is_a_command():
    words = {kind: app[kind] for kind in KINDS}
    assert words.keys() == KINDS.keys()


REFUSED = {
    "another kind": ({"kind": "drift", "runs": {"a": READ}}, "holds `drift`, not a"),
    "no runs": ({}, "names no run; list them by name"),
    "unknown key": ({"runs": {"a": READ}, "colour": 1}, "a study has no `colour`"),
    "odd name": ({"runs": {"A b": READ}}, "run `A b`: is no name for a folder"),
    "a taken name": ({"runs": {"figures": READ}}, "is no name for a folder"),
    "no kind": ({"runs": {"a": {"model": "m"}}}, "run `a`: says no `kind`"),
    "nested": ({"runs": {"a": {"kind": "study"}}}, "is a study itself"),
    "title": ({"runs": {"a": READ}, "title": 3}, "`title` is 3; write a text"),
    "seed": ({"runs": {"a": READ}, "seed": "x"}, "`seed` is 'x'; write a whole"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_study_is_refused(case, tmp_path):
    content, said = REFUSED[case]
    with pytest.raises((StoreError, UsageError), match=said):
        read_study_file(write(tmp_path, **content))


def test_an_option_that_a_run_does_not_have_is_said_with_its_run(tmp_path):
    study = read_study_file(write(tmp_path, runs={"a": {**READ, "hue": 1}}))
    (run,) = study.runs
    with pytest.raises(UsageError, match="run `a`: Unknown option: --hue"):
        recipe_of(study, run, run.options, tmp_path)


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("${b}/groups", "names \\${b}, which is neither an earlier run nor built in"),
        ("${organism.nothing}", "names \\${organism.nothing}, which is neither"),
        ("${world.facts}", "names \\${world.facts}, which is neither"),
    ],
)
def test_a_place_that_is_not_there_is_said_before_anything_runs(place, said, tmp_path):
    runs = {"a": {**READ, "file": [place]}, "b": READ}
    study = read_study_file(write(tmp_path, runs=runs))
    with pytest.raises(UsageError, match=said):
        require_places(study, study.runs)


def test_places_are_filled_in_wherever_they_stand(tmp_path):
    places = Places(out=tmp_path, seed=0)
    options = {"group": "${a}/x", "more": {"list": ["${a}", 1, "plain"]}}
    filled = places.filled(PlannedRun(name="b", kind="read", options=options))
    folder = str(tmp_path / "a")
    assert filled == {"group": f"{folder}/x", "more": {"list": [folder, 1, "plain"]}}


def test_words_of_the_built_in_world_are_known():
    filled = Places(out=SHIPPED, seed=0).filled(
        PlannedRun(
            name="b",
            kind="read",
            options={name: f"${{knowledge.{name}}}" for name in BUILT_IN["knowledge"]},
        )
    )
    facts = json.loads(Path(str(filled["facts"])).read_text())
    assert filled["person"] == facts[0]["subject"]
    assert filled["true"] == f"{facts[0]['prompt']} {facts[0]['answer']}."
    assert facts[0]["foil"] in str(filled["false"])


def test_a_run_that_the_study_does_not_have_is_named(tmp_path):
    study = read_study_file(write(tmp_path, runs={"a": READ}))
    with pytest.raises(UsageError, match=r"--only z: .* has no such run; it has a"):
        chosen_runs(study, ("z",), "--only")
    with pytest.raises(UsageError, match="--question z: the demo has no such run"):
        Demo(question=("z",)).run()


def test_an_option_that_a_recipe_does_not_have_stops_it_at_once(tmp_path, capfd):
    runs = {"a": {**READ, "no_such": 1}}
    out = tmp_path / "out"
    words = ["run", str(write(tmp_path, runs=runs)), "--out", str(out)]
    assert main(words) == 2
    assert "no-such" in capfd.readouterr().err
    assert not out.exists()


def test_a_study_is_found_by_file_folder_or_name(tmp_path):
    file = write(tmp_path, runs={"a": READ})
    assert find_study(file) == file
    shipped = find_study(Path("safety-drift"))
    assert shipped == SHIPPED / "safety-drift.yaml"
    assert find_study(tmp_path / "nothing.yaml") is None
    with pytest.raises(StoreError, match="there is no such study; name a study file"):
        Study(tmp_path / "nothing").run()


def test_the_list_names_them_and_prints_one():
    listed = StudiesList().run()
    assert all(name in listed for name in shipped_names())
    assert StudiesList("safety-drift").run().startswith("kind: study")
    with pytest.raises(UsageError, match="nobody: no study has this name"):
        StudiesList("nobody").run()


@pytest.fixture(scope="module")
def done(model, tmp_path_factory):
    """A study of two readings, run twice."""
    folder = tmp_path_factory.mktemp("study")
    text = {"kind": "read", "model": str(model), "device": "cpu"}
    runs = {
        "plain": {**text, "text": ["one <b>two</b>"]},
        "lens": {**text, "text": ["one <b>two</b>"], "lens": True},
    }
    file = write(folder, title="Two readings", about="Of one text.", runs=runs)
    out = folder / "out"
    assert main(["run", str(file), "--out", str(out)]) == 0
    return out


def test_both_runs_have_reports_and_one_page_joins_them(done):
    page = (done / "report.html").read_text()
    assert page.count("<h2") == 3
    assert "Two readings" in page
    assert "one <b>two" not in page
    assert (done / "lens" / "report.html").is_file()
    assert not (done / "figures").exists()


def test_what_both_need_was_done_once(done):
    told = (done / "lens" / "log.txt").read_text()
    assert "step read: the same as in plain, and taken from there" in told
    assert "step lens took" in told


def test_the_folder_is_a_study_that_goes_on(done, capfd):
    before = {p: p.read_bytes() for p in done.rglob("*.html")}
    for command in ("run", "report"):
        assert main([command, str(done)]) == 0
        assert capfd.readouterr().out.strip() == str(done / "report.html")
    assert {p: p.read_bytes() for p in done.rglob("*.html")} == before


def test_cleaning_a_study_cleans_its_runs(done, capfd):
    assert main(["clean", str(done), "--dry-run"]) == 0
    assert capfd.readouterr().err.count("in all:") == 3


@pytest.mark.slow
def test_two_at_a_time_end_as_one_after_another_and_mistakes_are_told(model, tmp_path):
    text = {"kind": "read", "model": str(model), "device": "cpu", "text": ["one two"]}
    runs = {
        "first": text,
        "second": {**text, "text": ["three"]},
        "third": {**text, "model": "${first}"},
    }
    file = write(tmp_path, runs=runs)
    out = tmp_path / "out"
    with pytest.raises(ModelError, match=r"run `third`: .*config.json"):
        Study(file, out=out, at_once=2).run()
    alone = tmp_path / "alone"
    with pytest.raises(ModelError, match=r"config.json"):
        Study(file, out=alone).run()
    for name in ("first", "second"):
        made, expected = (folder / name / "steps/read.json" for folder in (out, alone))
        assert made.read_bytes() == expected.read_bytes()
    with pytest.raises(UsageError, match="--at-once is 0; give at least 1"):
        Study(file, at_once=0)
