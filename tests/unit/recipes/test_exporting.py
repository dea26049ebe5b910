import json

import numpy as np
import pytest

from driftmap.cli.main import main
from driftmap.core.errors import StoreError
from driftmap.core.progress import listening
from driftmap.families.matrices import site_weight
from driftmap.load.adapters import read_adapter
from driftmap.load.model import load_model
from driftmap.load.source import ModelSource
from driftmap.measure.drift import drift_baseline, published_summary
from driftmap.recipes.drift_logs import DriftLogs
from driftmap.recipes.steps import exporting
from driftmap.recipes.steps.exporting import export_step, published_names
from driftmap.recipes.steps.groups.choosing import load_groups
from driftmap.recipes.steps.tuning.training import checkpoint_folders
from driftmap.results.groups import GroupOrigin
from driftmap.store.drift_logs import SUMMARY, import_comparisons, import_drift_logs
from driftmap.store.interop import import_json_group
from driftmap.store.plain import load_json
from finished_studies import reopened
from listeners import Ear
from tiny_studies import save_tiny_data, save_tiny_model, study_words

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("export")
    model, data = save_tiny_model(folder / "model"), save_tiny_data(folder)
    words = study_words(model, data, folder / "run")
    assert main([*words, "--until=tune"]) == 0
    return folder


@pytest.fixture(scope="module")
def loaded(home):
    return load_model(ModelSource(model=str(home / "model"), device="cpu"))


@pytest.fixture(scope="module")
def exported(home, loaded):
    with reopened(home / "run", loaded, 2) as (study, tuned):
        yield study, tuned, export_step(study, tuned)


def test_groups_come_back_as_they_were(exported, loaded):
    study, tuned, outcome = exported
    origin = GroupOrigin(model_sha256="m", base_sha256="b", rule="top")
    for group in load_groups(study, tuned.groups):
        name = {"top": "safety_snip_top", "difference": "safety_set_diff"}.get(
            group.name, group.name
        )
        path = outcome.path(f"json/groups/{name}.json")
        again = import_json_group(path, loaded.layout.sites, name, origin)
        held = {s: index.tolist() for s, index in group.members.items() if index.size}
        assert {s: i.tolist() for s, i in again.members.items() if i.size} == held


def test_logs_hold_what_the_adapters_say(exported, loaded):
    study, tuned, outcome = exported
    groups = load_groups(study, tuned.groups)
    baseline = drift_baseline(groups, lambda site: site_weight(loaded.model, site))
    for number, run in enumerate(tuned.runs):
        home = outcome.root / f"json/seed-{number}"
        table = import_drift_logs(home)
        assert table.unique("step") == [0, 2, 4]
        assert table.unique("group") == [
            "safety_snip_top", "safety_set_diff", "utility", "random", "matched",
        ]  # fmt: skip
        for step, folder in checkpoint_folders(run, number).items():
            factors = read_adapter(folder, loaded.layout.sites).factors
            for metric, figures in published_summary(baseline, factors).items():
                row = table.where(step=step, metric=metric, group="safety_set_diff")
                for name in SUMMARY:
                    assert row[name].tolist() == [figures["difference"][name]]


def test_comparisons_are_those_of_the_last_log(exported):
    _, _, outcome = exported
    home = outcome.root / "json/seed-1"
    logs, found = import_drift_logs(home), import_comparisons(
        outcome.path("json/seed-1/statistical_results.json")
    )  # fmt: skip
    row = next(
        r
        for r in found.rows()
        if (r["metric"], r["group"], r["baseline"])
        == ("absolute_change", "safety_set_diff", "utility")
    )
    last = logs.where(step=4, metric="absolute_change")
    group, other = (last.where(group=g) for g in ("safety_set_diff", "utility"))
    gap = group["mean"][0] - other["mean"][0]
    spread = np.sqrt((group["std"][0] ** 2 + other["std"][0] ** 2) / 2)
    assert row["mean_diff"] == pytest.approx(gap, rel=1e-12)
    assert row["cohens_d"] == pytest.approx(gap / spread, rel=1e-12)
    pairs = set(zip(found["group"].tolist(), found["baseline"].tolist(), strict=True))
    assert ("safety_set_diff", "matched") in pairs
    assert ("safety_snip_top", "matched") not in pairs


def test_drift_logs_reads_what_was_exported(exported, tmp_path):
    _, _, outcome = exported
    out = tmp_path / "logs"
    DriftLogs(drift_logs=outcome.root / "json/seed-0", out=out).run()
    found = load_json(out / "statistics.json", "driftmap.logs_statistics")
    assert found["steps"] == [0, 2, 4]
    checks = found["checks"]
    assert checks
    assert all(check["agrees"] and check["step"] == 4 for check in checks)


def test_exported_twice_it_is_the_same_bytes(exported, home):
    study, tuned, outcome = exported
    assert not export_step(study, tuned).redone
    (home / "run/json/groups/random.json").unlink()
    again = export_step(study, tuned)
    assert again.redone
    assert again.files == outcome.files


def test_a_group_too_large_for_json_is_named_and_left_out(exported, monkeypatch):
    study, tuned, _ = exported
    monkeypatch.setattr(exporting, "MOST_WEIGHTS", 50)
    ear = Ear()
    with listening(ear):
        outcome = export_step(study, tuned)
    assert not [name for name in outcome.files if name.endswith("groups/random.json")]
    assert "json/seed-1/drift_step_000004.json" in outcome.files
    assert any(
        "JSON is for at most 50: it is left out of the export; "
        "groups/random.safetensors holds it" in line
        for line in ear.heard
    )


def test_json_of_all_runs_together_is_no_log(exported, tmp_path):
    _, _, outcome = exported
    with pytest.raises(StoreError, match=r"several training runs; name .*seed-0$"):
        DriftLogs(drift_logs=outcome.root / "json", out=tmp_path / "out").run()
    assert not (tmp_path / "out").exists()


def test_a_log_is_plain_json(exported):
    _, _, outcome = exported
    log = json.loads(outcome.path("json/seed-0/drift_step_000002.json").read_text())
    assert log["step"] == 2
    assert list(log["metrics"]) == [
        "absolute_change", "relative_change", "cosine_similarity", "l2_distance",
    ]  # fmt: skip


def test_a_name_is_given_once():
    assert published_names(["safety_set_diff", "difference"]) == {
        "difference": "difference",
        "safety_set_diff": "safety_set_diff",
    }
