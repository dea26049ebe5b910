import json
from pathlib import Path

import numpy as np
import pytest

from driftmap.core.errors import StoreError
from driftmap.results.table import Table
from driftmap.store.drift_logs import (
    export_comparisons,
    export_drift_logs,
    import_comparisons,
    import_drift_logs,
)

PUBLISHED = (
    Path(__file__).resolve().parents[4] / "shared" / "data" / "drift_logs_cs2881"
)
published = pytest.mark.skipif(
    not PUBLISHED.is_dir(),
    reason="needs the published drift logs under ../shared/data/drift_logs_cs2881",
)
ZEROS = dict.fromkeys(("mean", "std", "min", "max", "median", "q25", "q75"), 0.0)
SUMMARY = {**ZEROS, "mean": 3e-05, "max": 0.5, "count": 7}


def write(path, value):
    path.write_text(json.dumps(value))
    return path


def log(step=500, **metrics):
    return {"step": step, "metrics": metrics or {"absolute_change": {"top": SUMMARY}}}


@published
def test_the_published_logs_come_out_byte_for_byte(tmp_path):
    table = import_drift_logs(PUBLISHED)
    assert len(table) == 6 * 2 * 4
    assert table.unique("step") == [500, 1000, 1500, 2000, 2500, 3000]
    top = table.where(group="safety_snip_top", metric="absolute_change")
    assert top["count"].tolist() == [6_475_904] * 6
    files = export_drift_logs(tmp_path, table)
    assert [f.name for f in files] == [
        f"drift_step_{i:04d}00.json" for i in range(5, 31, 5)
    ]
    for file in files:
        assert file.read_bytes() == (PUBLISHED / file.name).read_bytes()


@published
def test_the_published_comparisons_come_out_byte_for_byte(tmp_path):
    source = PUBLISHED / "statistical_results.json"
    table = import_comparisons(source)
    assert table.unique("group") == ["safety_snip_top", "safety_set_diff", "random"]
    assert table.unique("baseline") == ["utility"]
    export_comparisons(tmp_path / "s.json", table)
    assert (tmp_path / "s.json").read_bytes() == source.read_bytes()


def test_one_log_is_read(tmp_path):
    table = import_drift_logs(write(tmp_path / "x.json", log()))
    assert list(table.columns) == [
        "step", "metric", "group", "mean", "std", "min", "max", "median", "q25", "q75",
        "count",
    ]  # fmt: skip
    assert next(table.rows()) == {
        "step": 500, "metric": "absolute_change", "group": "top", **SUMMARY,
    }  # fmt: skip


def test_any_subset_of_metrics_and_groups_is_read(tmp_path):
    write(tmp_path / "drift_step_001000.json", log(1000, a={"g": SUMMARY}))
    write(tmp_path / "drift_step_000500.json", log(500, b={"h": SUMMARY, "g": SUMMARY}))
    write(tmp_path / "other.json", {})
    rows = list(import_drift_logs(tmp_path).rows())
    assert [(r["step"], r["metric"], r["group"]) for r in rows] == [
        (500, "b", "h"), (500, "b", "g"), (1000, "a", "g"),
    ]  # fmt: skip


def test_an_empty_group_is_all_zeros(tmp_path):
    row = {"step": 5, "metric": "a", "group": "g", **ZEROS, "count": 0}
    empty = Table.from_rows([{**row, "mean": float("nan"), "other": 1}])
    (file,) = export_drift_logs(tmp_path, empty)
    assert file.name == "drift_step_000005.json"
    assert json.loads(file.read_text()) == {
        "step": 5, "metrics": {"a": {"g": {**ZEROS, "count": 0}}},
    }  # fmt: skip


def test_what_is_no_number_is_not_written(tmp_path):
    row = {"step": 5, "metric": "a", "group": "g", **SUMMARY, "std": np.nan}
    with pytest.raises(StoreError, match=r"metrics\.a\.g\.std: nan is not a number"):
        export_drift_logs(tmp_path, Table.from_rows([row]))


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ([], "the file: is not a JSON object; is it the right file?"),
        ({}, "has no whole number under 'step'"),
        ({"step": True}, "has no whole number under 'step'"),
        ({"step": 5}, "metrics: is not a JSON object"),
        (log(a=3), "a: is not a JSON object"),
        (log(a={"g": 3}), "a: g: is not a JSON object"),
        (log(a={"g": ZEROS}), "a: g: has no number under 'count'"),
        (log(a={"g": {**SUMMARY, "q25": "x"}}), "a: g: has no number under 'q25'"),
    ],
)
def test_other_shapes_are_named(tmp_path, value, told):
    with pytest.raises(StoreError, match=told):
        import_drift_logs(write(tmp_path / "x.json", value))


def test_a_folder_without_logs_is_named(tmp_path):
    with pytest.raises(StoreError, match="holds no drift log; it needs a file such as"):
        import_drift_logs(tmp_path)


def test_a_pair_is_a_group_against_a_baseline(tmp_path):
    path = write(tmp_path / "s.json", {"a": {"top": {}}})
    with pytest.raises(StoreError, match="a: 'top' is not GROUP_vs_BASELINE"):
        import_comparisons(path)
    path = write(tmp_path / "s.json", {"a": {"top_vs_random": {}}})
    with pytest.raises(StoreError, match="a: top_vs_random: has no number under 'mea"):
        import_comparisons(path)


@pytest.mark.parametrize("name", ["half \ud800", "nul \0", "line\nbreak"])
@pytest.mark.parametrize("place", ["metric", "group"])
def test_names_that_cannot_be_printed_are_refused(place, name, tmp_path):
    metrics = {"a": {name: SUMMARY}} if place == "group" else {name: {"g": SUMMARY}}
    file = write(tmp_path / "drift_step_000500.json", log(500, **metrics))
    with pytest.raises(StoreError, match="cannot be printed; rename it"):
        import_drift_logs(file)


def test_steps_may_be_written_short(tmp_path):
    write(tmp_path / "drift_step_5.json", log(5, a={"g": SUMMARY}))
    write(tmp_path / "drift_step_000010.json", log(10, a={"g": SUMMARY}))
    assert import_drift_logs(tmp_path)["step"].tolist() == [5, 10]
