"""Does the built-in model learn new facts by default settings, and at which price?"""

import json

import pytest

from driftmap.cli.main import main
from driftmap.recipes.steps import pages
from driftmap.recipes.steps.comparing.edit_files import read_edits
from driftmap.recipes.steps.known_world import make_knowledge
from driftmap.store.run_dir import RunDir

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def out(organism, tmp_path_factory):
    folder = tmp_path_factory.mktemp("edit")
    facts = make_knowledge(0, folder / "cache")["facts"]
    words = [
        "edit", "--model", str(organism.aligned), "--device", "cpu",
        "--facts", str(facts), "--num-facts", "8", "--show", "2",
        "--num-written", "2", "--num-unrelated", "24", "--wordings", "first",
        "--out", str(folder / "run"),
    ]  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pages, "save_pictures", lambda figures, folder: None)
        assert main(words) == 0
    return folder / "run"


@pytest.fixture(scope="module")
def report(out):
    run = RunDir.hold(out)
    try:
        return read_edits(run)
    finally:
        run.close()


def change(report, name):
    return report.measure(name).change


def test_the_edit_takes_and_other_wordings_follow(report):
    efficacy = report.measure("efficacy")
    assert efficacy.before.estimate == 0
    assert efficacy.after.estimate >= 0.95
    assert report.measure("paraphrase").after.estimate > 0.8


def test_the_new_answer_goes_up_and_the_old_one_down(report):
    assert change(report, "logit new").low > 0
    assert change(report, "logit true").high < 0
    assert change(report, "log p new").low > 0
    assert change(report, "log p true").high < 0
    assert report.measure("nll new").after.high < report.measure("nll new").before.low


def test_the_damage_that_two_words_hide_is_measured(report):
    assert change(report, "neighbourhood magnitude").high < 0
    assert change(report, "same subject p").high < 0
    assert change(report, "unrelated p").estimate < 0


def test_the_page_shows_rows_answers_costs_and_attention(out):
    page = " ".join((out / "report.txt").read_text().split())
    for title in ("Answers before and after", "What was trained", "What was learnt"):
        assert title in page
    assert "Every row has exactly one end token among them" in page
    cost = json.loads((out / "tables/costs/lora.json").read_text())
    assert cost["num_steps"] == 60
    assert cost["num_trained"] < 0.1 * cost["num_total"]
    assert cost["last_loss"] < 0.1 * cost["first_loss"]
