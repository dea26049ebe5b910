"""Which runs are found, what is said of each, and what the index holds."""

import os
from pathlib import Path

import pytest

from driftmap.core.errors import StoreError, UsageError
from driftmap.recipes.steps.viewing import finding
from driftmap.recipes.steps.viewing.finding import find_runs, summary_of
from driftmap.recipes.steps.viewing.verdicts import told
from driftmap.recipes.view import View
from driftmap.render.html import html_of
from driftmap.render.index_page import index_page
from driftmap.render.text import text_of
from made_runs import REPORT, made_run

VERDICT = "Verdict: no. 2 seeds."


def summaries(*folders):
    found = find_runs(folders)
    return [summary_of(run, name, "there.html") for run, name in found.items()]


def test_runs_are_found_in_folders_and_in_other_runs(tmp_path):
    outer = made_run(tmp_path / "study", "study")
    inner = made_run(outer / "parts" / "one")
    deep = made_run(tmp_path / "a" / "b" / "c" / "d")
    made_run(tmp_path / "a" / "b" / "c" / "too" / "deep")
    made_run(tmp_path / ".hidden")
    (tmp_path / "link").symlink_to(inner)
    found = find_runs([tmp_path, inner])
    assert set(found) == {outer, inner, deep}


def test_what_is_no_run_is_refused(tmp_path):
    with pytest.raises(StoreError, match="there is no such folder"):
        find_runs([tmp_path / "nothing"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(StoreError, match=r"empty: holds no run, nor does a folder up"):
        find_runs([tmp_path / "empty"])


def test_a_run_says_what_it_found(tmp_path):
    (one,) = summaries(made_run(tmp_path / "one", share=0.5, layers=[1, 2]))
    assert one.title == "What does it do?"
    assert one.verdict == "It does it. In 80 % (70 to 90) of 40 cases it does it."
    assert one.points == (
        "In 80 % (70 to 90) of 40 cases it does it. Intact it is never done.",
    )
    assert (one.kind, one.model, one.report) == ("ablate", "models/tiny", "there.html")
    assert (one.state, one.stage) == ("finished", "")
    assert one.settings["layers"] == "1, 2"
    sizes = [file.stat().st_size for file in (tmp_path / "one").rglob("*.*")]
    assert one.num_bytes == sum(sizes)


@pytest.mark.parametrize(
    ("kind", "text", "verdict"),
    [
        (
            "drift",
            "T\n=\n\nL\n\n[Verdict: no]\n2 seeds. More.\n",
            "Verdict: no. 2 seeds.",
        ),
        ("read", REPORT, "In 80 % (70 to 90) of 40 cases it does it."),
        ("compare", "T\n=\n\nL\n\n[What is it?]\nThis. More.\n", "This."),
        ("evaluate", REPORT, "Model `tiny` does it."),
        ("drift", "T\n=\n\nOnly a lead.\n", "Only a lead."),
        (
            "similarity",
            "T\n=\n\nL\n\n[One]\n- First. More.\n- Second.\n",
            "One. First.",
        ),
        ("trace-compare", "T\n=\n\nL\n\n[Same]\nSame: .5\n", "Same: .5"),
        ("drift", "", ""),
    ],
)
def test_each_kind_has_its_verdict_at_its_place(kind, text, verdict, tmp_path):
    (tmp_path / "report.txt").write_text(text)
    assert told(tmp_path / "report.txt", kind).verdict == verdict


@pytest.mark.parametrize(
    ("error", "state", "stage"),
    [
        (KeyboardInterrupt(), "interrupted", "at step report"),
        (ValueError("no <b>room</b>"), "failed", "no <b>room</b> (at step report)"),
    ],
)
def test_a_run_that_stopped_says_where(error, state, stage, tmp_path):
    (one,) = summaries(made_run(tmp_path / "one", error=error))
    assert (one.state, one.stage) == (state, stage)
    assert (one.report, one.verdict) == ("", "")


def test_a_log_that_just_ends_is_no_finished_run(tmp_path):
    run = made_run(tmp_path / "one", error=ValueError("x"))
    log = run / "log.txt"
    lines = log.read_text().splitlines()
    log.write_text("\n".join(line for line in lines if "stopped" not in line))
    (one,) = summaries(run)
    assert (one.state, one.stage) == ("interrupted", "at step report, or still running")
    log.unlink()
    (one,) = summaries(run)
    assert one.state == "interrupted"


def test_a_report_drawn_again_leaves_a_run_finished(tmp_path):
    run = made_run(tmp_path / "one")
    with (run / "log.txt").open("a") as log:
        log.write("2026-01-01T00:00:00Z INFO driftmap 0.1.0: report\n")
        log.write("2026-01-01T00:00:01Z ERROR report stopped: OSError: full\n")
    (one,) = summaries(run)
    assert (one.state, one.date) == ("finished", "2026-01-01 00:00")


def test_a_damaged_run_is_listed_as_such(tmp_path):
    run = made_run(tmp_path / "one")
    (run / "run.yaml").write_text("[")
    (one,) = summaries(run)
    assert one.state == "damaged"
    assert "is damaged or not YAML" in one.stage


@pytest.mark.parametrize("text", ["seed: 2020-13-01", f"a: {'[' * 5000}"])
def test_no_settings_whatever_they_hold_end_the_search(text, tmp_path):
    run = made_run(tmp_path / "one")
    (run / "run.yaml").write_text(f"kind: ablate\n{text}\n")
    assert summaries(run)[0].state == "damaged"


def test_files_that_vanish_while_they_are_counted_have_no_size(tmp_path, monkeypatch):
    run = made_run(tmp_path / "one")
    at_work = [(str(run), [], ["run.yaml", "being-renamed"])]
    monkeypatch.setattr(finding.os, "walk", lambda _: at_work)
    (one,) = summaries(run)
    assert one.num_bytes == (run / "run.yaml").stat().st_size


def test_folders_that_cannot_be_read_are_passed_over(tmp_path, monkeypatch):
    run = made_run(tmp_path / "one")
    (tmp_path / "another").mkdir()
    is_file = Path.is_file

    def refusing(self):
        if self.parent.name == "another":
            raise PermissionError(self)
        return is_file(self)

    monkeypatch.setattr(Path, "is_file", refusing)
    assert list(find_runs([tmp_path])) == [run]


def test_a_name_in_no_known_letters_is_shown(tmp_path):
    made_run(tmp_path / "a").rename(Path(os.fsdecode(bytes(tmp_path) + b"/a\xff")))
    out = tmp_path / "index.html"
    View((tmp_path,), out=out).run()
    html = out.read_text()
    assert 'href="a%FF/report.html"' in html
    assert "a\u27e8DCFF\u27e9" in html


def test_a_report_that_is_a_link_is_not_read(tmp_path):
    run = made_run(tmp_path / "one")
    (tmp_path / "secret.txt").write_text(REPORT)
    (run / "report.txt").unlink()
    (run / "report.txt").symlink_to(tmp_path / "secret.txt")
    (one,) = summaries(run)
    assert one.verdict == ""


def test_runs_of_a_kind_stand_side_by_side_by_what_differs(tmp_path):
    made_run(tmp_path / "one", share=0.1, rank=8)
    made_run(tmp_path / "other", share=0.2, rank=8)
    made_run(tmp_path / "single", "trace")
    text = text_of(index_page(summaries(tmp_path)))
    assert "3 runs: 3 finished." in text
    assert "2. Side by side: ablate" in text
    assert "Side by side: trace" not in text
    beside = text.partition("2. Side by side")[2]
    rows = [line.split() for line in beside.splitlines()]
    assert ["share", "0.1", "0.2"] in rows
    assert not any(row[:1] == ["rank"] for row in rows)
    assert "equal in all of them, and not shown: 3." in beside  # rank, seed, model


def test_text_from_data_is_escaped(tmp_path):
    evil = "<script>alert(1)</script>"
    text = REPORT.replace("It does it]", f"{evil} `<i>`]")
    for name in ("one", "other"):
        made_run(tmp_path / name, text=text, note=f"{name} {evil}")
    html = html_of(index_page(summaries(tmp_path)))
    assert evil not in html
    assert "<i>" not in html
    assert html.count("&lt;script&gt;alert(1)&lt;/script&gt;") >= 6
    assert "http://" not in html.replace('location.protocol === "http:"', "")


def test_the_index_is_one_file_whose_links_lead_to_reports(tmp_path):
    made_run(tmp_path / "runs" / "a b")
    out = tmp_path / "pages" / "index.html"
    assert View((tmp_path / "runs",), out=out).run() == out
    html = out.read_text()
    assert 'href="../runs/a%20b/report.html"' in html
    assert "src=" not in html.partition("<script>")[0]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"runs": ()}, "RUNS is missing"),
        ({"port": 70_000}, "give a number from 0 to 65535"),
        ({"port": 8000, "out": Path("x.html")}, "leave --port and --open out"),
        ({"open": True, "out": Path("x.html")}, "leave --port and --open out"),
    ],
)
def test_what_cannot_be_meant_is_refused(settings, message, tmp_path):
    with pytest.raises(UsageError, match=message):
        View(**{"runs": (tmp_path,), **settings})
