import json
import shutil
from pathlib import Path

import pytest

from driftmap.core.errors import DriftmapError, StoreError
from driftmap.recipes.drift_logs import DriftLogs
from driftmap.recipes.report import Report
from driftmap.recipes.steps.logs.comparing import read_logs
from driftmap.store.plain import load_json
from driftmap.store.tables import load_table
from made_logs import (
    comparison,
    empty,
    summary,
    write_comparisons,
    write_log,
    write_logs,
)

PUBLISHED = (
    Path(__file__).resolve().parents[4] / "shared" / "data" / "drift_logs_cs2881"
)


def drawn(source, out):
    report = DriftLogs(drift_logs=source, out=out).run()
    assert report == out / "report.html"
    return (out / "report.txt").read_text()


def flat(text):
    return " ".join(text.split())


@pytest.mark.skipif(
    not PUBLISHED.is_dir(),
    reason="needs the published drift logs under ../shared/data/drift_logs_cs2881",
)
def test_the_published_comparisons_follow_from_the_published_logs(tmp_path):
    text = drawn(PUBLISHED, tmp_path)
    found = load_json(tmp_path / "statistics.json", "driftmap.logs_statistics")
    checks = found["checks"]
    assert len(checks) == 6
    assert {check["step"] for check in checks} == {3000}
    for check in checks:
        assert check["agrees"]
        assert check["computed"] == pytest.approx(check["published"], rel=1e-9)
    assert [caution["name"] for caution in found["cautions"]] == [
        "half-precision", "immobile", "relative",
    ]  # fmt: skip
    effects = load_table(tmp_path / "tables/effects.parquet")
    assert len(effects) == 6 * 2 * 6
    assert len(load_table(tmp_path / "tables/drift_logs.parquet")) == 6 * 2 * 4
    assert "All 6 values of Cohen's d in it follow from these logs" in flat(text)
    assert "step 3000" in text


def test_the_report_says_first_that_there_is_no_null(tmp_path):
    text = flat(drawn(write_logs(tmp_path / "logs"), tmp_path / "out"))
    assert "No test, no p-value, no verdict" in text[:400]
    assert "cannot be computed from summaries" in text
    assert "--checkpoints" in text
    page = (tmp_path / "out/report.html").read_text()
    assert page.index("no p-value") < page.index("Mean of each group")
    for word in ("p-value", "verdict"):
        assert text.replace("no " + word, "").count(f"the {word} is") == 0


def test_the_run_folder_holds_tables_numbers_and_pictures(tmp_path):
    out = tmp_path / "out"
    drawn(write_logs(tmp_path / "logs"), out)
    made = {p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file()}
    assert {
        "run.yaml", "provenance.json", "log.txt", "statistics.json", "report.html",
        "report.txt", "tables/drift_logs.parquet", "tables/effects.parquet",
        "figures/1_absolute_change_mean.png", "figures/1_absolute_change_spread.svg",
        "figures/1_absolute_change_boxes.png", "figures/2_cosine_similarity_mean.png",
        "figures/1_absolute_change_d_utility.png",
    } <= made  # fmt: skip
    assert "kind: drift-logs" in (out / "run.yaml").read_text()


def test_the_numbers_are_those_worked_by_hand(tmp_path):
    text = flat(drawn(write_logs(tmp_path / "logs"), tmp_path / "out"))
    row = "`safety_set_diff` 5 1.67 +1.00 (large) 2.50 +1.50 (large)"
    assert row in text
    assert "`safety_set_diff` `utility` +1.00 +2 +2 large" in text
    assert "-0.2 and 0.2 the label is negligible" in text


def test_drawn_twice_it_is_the_same_bytes_and_not_done_again(tmp_path):
    logs = write_logs(tmp_path / "logs")
    names = ("report.html", "report.txt", "statistics.json", "tables/effects.parquet")
    drawn(logs, tmp_path / "a")
    before = [(tmp_path / "a" / name).read_bytes() for name in names]
    times = [(tmp_path / "a" / name).stat().st_mtime_ns for name in names]
    drawn(logs, tmp_path / "a")
    assert times == [(tmp_path / "a" / name).stat().st_mtime_ns for name in names]
    drawn(logs, tmp_path / "b")
    assert before == [(tmp_path / "b" / name).read_bytes() for name in names]


def test_logs_that_changed_are_read_again(tmp_path):
    logs = write_logs(tmp_path / "logs")
    first = drawn(logs, tmp_path / "out")
    write_log(logs, 30, {"absolute_change": {"utility": summary(4.0, 1.0)}})
    again = drawn(logs, tmp_path / "out")
    assert "3 training steps (10 to 30)" in again
    assert "2 training steps (10 to 20)" in first


def test_the_report_is_drawn_again_without_the_logs(tmp_path):
    logs, out = write_logs(tmp_path / "logs"), tmp_path / "out"
    text = drawn(logs, out)
    shutil.rmtree(logs)
    for name in ("report.html", "report.txt"):
        (out / name).unlink()
    assert Report(run_folder=out).run() == out / "report.html"
    assert (out / "report.txt").read_text() == text


@pytest.mark.parametrize("place", ["one file", "odd name"])
def test_one_log_alone_is_enough(place, tmp_path):
    file = write_log(
        tmp_path / "logs", 7, {"mine": {"a": summary(1.0, 1.0), "b": summary(2, 1)}}
    )
    if place == "odd name":
        file = file.rename(tmp_path / "logs/copy of it.json")
    text = flat(drawn(file, tmp_path / "out"))
    assert "1 training step (7), 1 metric and 2 groups" in text
    assert "no group is called one of `utility`, `random`, `matched`" in text
    assert "The logs do not say which direction means more drift." in text


def test_odd_groups_are_said_and_not_drawn(tmp_path):
    change = {
        "difference": empty(),
        "utility": summary(2.0, 0.0, low=2.0, high=2.0),
        "random": summary(2.0, 0.0, low=2.0, high=2.0),
    }
    write_log(tmp_path / "logs", 5, {"absolute_change": change})
    text = flat(drawn(tmp_path / "logs", tmp_path / "out"))
    assert "`difference` holds nothing (count 0) in `absolute_change` at step 5" in text
    assert "undefined: `difference` is empty" in text
    assert "undefined: neither varies" in text
    assert "`difference` 0 – – – – – – –" in text


def test_all_groups_may_be_empty(tmp_path):
    write_log(tmp_path / "logs", 5, {"absolute_change": {"top": empty()}})
    assert "no weight" in drawn(tmp_path / "logs", tmp_path / "out")


def test_names_of_strangers_neither_leave_the_folder_nor_become_html(tmp_path):
    odd = {"../../x/<b>`y`": {"utility": summary(1, 1), "../<i>": summary(2, 1)}}
    write_log(tmp_path / "logs", 5, odd)
    write_log(tmp_path / "logs", 6, odd)
    out = tmp_path / "out"
    drawn(tmp_path / "logs", out)
    page = (out / "report.html").read_text()
    assert "<b>" not in page
    assert "<i>" not in page
    assert all("/" not in p.name and ".." not in p.name for p in out.rglob("*.png"))
    assert not list(tmp_path.glob("x*"))


def test_a_d_that_does_not_follow_is_named(tmp_path):
    logs = write_logs(tmp_path / "logs")
    pair = {"safety_set_diff_vs_utility": comparison((5.0, 2.0), (3.0, 2.0), 0.9)}
    write_comparisons(logs, {"absolute_change": pair})
    text = flat(drawn(logs, tmp_path / "out"))
    assert "[It disagrees]" in text
    assert "1 of its 1 values of Cohen's d do not follow" in text
    assert "20 0.9 1 no" in text


@pytest.mark.parametrize(
    ("write", "told"),
    [
        (lambda f: None, "holds no drift log; it needs a file such as"),
        (lambda f: (f / "drift_step_000001.json").write_text("{"), "not JSON"),
        (lambda f: write_log(f, 1, {"a": {"g": {}}}), "has no number under 'mean'"),
        (
            lambda f: write_log(f, 1, {"a": {"g": summary(1, 1) | {"std": -1.0}}}),
            "a: g: 'std' is -1.0, below 0; write the log again",
        ),
        (
            lambda f: write_log(f, 1, {"a": {"g": summary(1, 1) | {"count": 1.5}}}),
            "'count' is 1.5, which counts nothing",
        ),
        (
            lambda f: write_log(f, 1, {"a": {"g": summary(1, 1) | {"mean": 10**400}}}),
            "'mean' is no finite number; did training diverge?",
        ),
        (
            lambda f: write_log(
                f, 1, {"a": {"g": summary(1, 1) | {"mean": float("nan")}}}
            ),
            "'mean' is no finite number; did training diverge?",
        ),
        (
            lambda f: write_log(f, 1, {"a": {"g": summary(1, 1) | {"min": 9.0}}}),
            "'min' is 9.0, above 'q25'",
        ),
        (
            lambda f: [
                write_log(f, 1, {"a": {"g": summary(1, 1)}}),
                write_log(f, 1, {"a": {"g": summary(1, 1)}}).rename(
                    f / "drift_step_000002.json"
                ),
                write_log(f, 1, {"a": {"g": summary(1, 1)}}),
            ],
            "is of step 1, as drift_step_000001.json is; keep one of the two",
        ),
        (lambda f: write_log(f, 10**30, {}), "has no whole number under 'step'"),
    ],
)
def test_bad_logs_are_named_and_leave_no_run(write, told, tmp_path):
    logs = tmp_path / "logs"
    logs.mkdir()
    write(logs)
    with pytest.raises(StoreError, match="logs") as error:
        drawn(logs, tmp_path / "out")
    assert told in str(error.value)
    assert not (tmp_path / "out").exists()


def test_a_missing_path_is_named(tmp_path):
    with pytest.raises(StoreError, match="there is no such file; check the name"):
        drawn(tmp_path / "none", tmp_path / "out")


def test_logs_mutated_at_random_end_in_a_sentence_or_a_report(tmp_path):
    whole = json.dumps(json.loads(write_log(
        tmp_path / "logs", 5,
        {"absolute_change": {"top": summary(2, 1), "utility": summary(1, 1)}},
    ).read_text()))  # fmt: skip
    cuts = ["{", "}", '"', ":", ",", "1", "null", "[]", "-", "1e999", "NaN", "true"]
    ended = set()
    for number in range(120):
        at, instead = (number * 37) % len(whole), cuts[number % len(cuts)]
        mutated = whole[:at] + instead + whole[at + number % 5 :]
        file = tmp_path / "logs/drift_step_000005.json"
        file.write_text(mutated)
        try:
            read_logs(tmp_path / "logs")
            ended.add("read")
        except DriftmapError as error:
            ended.add("a sentence" if "\n" not in str(error) else str(error))
    assert ended == {"read", "a sentence"}
