import csv
from pathlib import Path

import pytest

from driftmap.cli.main import main
from driftmap.core.errors import DataError, UsageError
from driftmap.recipes.check_judge import CheckJudge
from driftmap.recipes.steps.evaluating.judging import opened_judge, read_labelled
from driftmap.store.plain import load_json

ANSWERS = (
    Path(__file__).resolve().parents[4]
    / "shared/data/xstest/xstest_v2_completions_llama2orig.csv"
)
ROWS = [
    ("How?", " I cannot say.", "2_full_refusal"),
    ("How?", "I CAN'T say all of it, but start so.", "3_partial_refusal"),
    ("How?", "Stir it.", "1_full_compliance"),
    ("How?", "No. Do stir it, though, until the milk is warm.", "1_full_compliance"),
]
JUDGE = """
def careful(prompt, answer):
    return "partial" if "but" in answer else "compliance"

def odd(prompt, answer):
    return "maybe"

def broken(prompt, answer):
    return answer.nothing
"""


def labelled(folder, rows=ROWS, columns=("prompt", "completion", "final_label")):
    file = folder / "labelled.csv"
    with file.open("w", newline="", encoding="utf-8") as opened:
        csv.writer(opened).writerows([columns, *rows])
    return file


@pytest.fixture
def judge(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(JUDGE)
    return file


def rows_of(text):
    lines = [line.split() for line in text.splitlines() if line.startswith("`")]
    return {line[0].strip("`"): line[1:] for line in lines if len(line) > 12}


def test_every_list_and_the_own_judge_are_counted(tmp_path, judge, capsys):
    out = tmp_path / "run"
    words = [
        "evaluate", "--check-judge", f"--labelled={labelled(tmp_path)}",
        f"--judge={judge}:careful", f"--out={out}",
    ]  # fmt: skip
    assert main(words) == 0
    printed = capsys.readouterr().out
    rows = rows_of(printed)
    # full found, partial found, compliance called refusal, sens., spec., accuracy
    assert " ".join(rows["mine.careful"]) == "0 of 1 1 of 1 0 of 2 .500 1.000 .750"
    assert " ".join(rows["jbb12"]) == "1 of 1 1 of 1 0 of 2 1.000 1.000 1.000"
    assert " ".join(rows["xstest21"]) == "1 of 1 1 of 1 1 of 2 1.000 .500 .750"
    assert " ".join(rows["gcg31"]) == "1 of 1 1 of 1 2 of 2 1.000 .000 .500"
    assert printed.rstrip().endswith(str(out / "report.html"))
    kept = load_json(out / "judges.json", "driftmap.judge_check")
    assert kept["judges"]["mine.careful"]["partial"] == {
        "refusal": 0, "partial": 1, "compliance": 0,
    }  # fmt: skip


def test_a_run_is_drawn_again_and_replayed(tmp_path, capsys):
    out = tmp_path / "run"
    CheckJudge(labelled=str(labelled(tmp_path)), out=out).run()
    before = (out / "report.txt").read_bytes()
    assert main(["report", str(out)]) == 0
    assert main(["run", str(out)]) == 0
    assert (out / "report.txt").read_bytes() == before
    assert "mine.careful" not in capsys.readouterr().out


@pytest.mark.skipif(
    not ANSWERS.exists(), reason="needs XSTest's answers under ../shared/data/xstest"
)
def test_the_published_answers_give_the_known_table(tmp_path):
    text = CheckJudge(labelled=str(ANSWERS), out=tmp_path / "run").run()
    rows = rows_of(text)
    known = {
        "gcg31": "278 of 294 48 of 55 38 of 101 .934 .624 .864",
        "gcg31-any-length": "278 of 294 48 of 55 33 of 101 .934 .673 .876",
        "jbb12": "269 of 294 40 of 55 8 of 101 .885 .921 .893",
        "xstest21": "268 of 294 41 of 55 8 of 101 .885 .921 .893",
        "jbb12-or-xstest21": "272 of 294 41 of 55 8 of 101 .897 .921 .902",
    }
    assert {name: " ".join(row) for name, row in rows.items()} == known


@pytest.mark.parametrize(
    ("function", "text"),
    [
        ("odd", 'odd: it says \'maybe\' of an answer; return "refusal", "partial"'),
        ("broken", "line 9: the function `broken` raised AttributeError"),
        ("missing", "the file has no function `missing`; define one that takes"),
    ],
)
def test_an_own_judge_that_is_wrong_is_told_in_a_sentence(
    tmp_path, judge, function, text
):
    check = CheckJudge(
        labelled=str(labelled(tmp_path)),
        judge=f"{judge}:{function}",
        out=tmp_path / "run",
    )
    with pytest.raises(DataError, match=text):
        check.run()


def test_an_unknown_judge_is_refused():
    with (
        pytest.raises(UsageError, match="--judge best: no judge has this name"),
        opened_judge("best"),
    ):
        pass


@pytest.mark.parametrize(
    ("columns", "text"),
    [
        (
            ("prompt", "completion", "verdict"),
            "need a column `final_label` or `ruling`",
        ),
        (("prompt", "said", "final_label"), "need a column `completion` or `response`"),
        (("ask", "completion", "final_label"), "need a column `prompt`; there are"),
    ],
)
def test_missing_columns_are_named(tmp_path, columns, text):
    with pytest.raises(DataError, match=text):
        read_labelled(str(labelled(tmp_path, columns=columns)))


def test_an_unknown_label_is_named_with_its_row(tmp_path):
    rows = [*ROWS, ("How?", "So.", "unsure")]
    with pytest.raises(DataError, match="row 4: its label is unsure; give refusal"):
        read_labelled(str(labelled(tmp_path, rows)))


def test_plain_words_are_labels_too(tmp_path):
    rows = [("p", "a", "Refusal"), ("p", "b", "partial"), ("p", "c", "compliance")]
    found = read_labelled(str(labelled(tmp_path, rows, ("prompt", "answer", "label"))))
    assert found.truth == ("refusal", "partial", "compliance")
