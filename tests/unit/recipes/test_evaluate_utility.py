"""Do perplexity and tasks reach the report, for one model and for two?"""

import sys

import numpy as np
import pytest
import torch

from choice_items import items
from driftmap.cli.main import main
from driftmap.evaluate.choices import choice_readings
from driftmap.evaluate.task_files import write_tasks
from driftmap.load.model import load_model
from driftmap.load.source import ModelSource
from driftmap.store.plain import load_json
from tiny_studies import save_tiny_model, write_rows

TEXT = "It was a bright cold day, and the clocks were striking thirteen. " * 9
WINDOW = 32


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("utility")
    save_tiny_model(folder / "this")
    save_tiny_model(folder / "other", seed=1)
    (folder / "text.txt").write_text(TEXT)
    write_tasks(items(12), folder)
    return folder


def evaluate(place, out, *words, model="this"):
    known = [f"--model={place / model}", "--device=cpu", f"--out={out}"]
    return main(["evaluate", *known, *words])


def found_in(out):
    return load_json(out / "usefulness.json", "driftmap.usefulness")


def flat(out):
    return " ".join((out / "report.txt").read_text().split())


@pytest.fixture(scope="module")
def both(place):
    """A text and a task, read on two models."""
    out = place / "both"
    words = [f"--perplexity={place / 'text.txt'}", f"--window={WINDOW}"]
    words += ["--tasks=world", "--limit=6", f"--compare={place / 'other'}"]
    assert evaluate(place, out, *words) == 0
    return out


def loaded(place, name):
    return load_model(ModelSource(model=str(place / name), device="cpu"))


def perplexity_by_hand(place, name):
    model = loaded(place, name)
    ids = model.tokenizer(TEXT)["input_ids"]
    nll, num = 0.0, 0
    for first in range(0, len(ids) - WINDOW + 1, WINDOW):
        some = torch.tensor([ids[first : first + WINDOW]])
        log_p = model.model(input_ids=some).logits[0].double().log_softmax(1)
        for place_ in range(1, WINDOW):
            nll -= log_p[place_ - 1, some[0, place_]].item()
            num += 1
    return np.exp(nll / num)


def test_perplexity_is_that_of_a_loop(both, place):
    found = {one["model"]: one for one in found_in(both)["perplexities"]}
    expected = {name: perplexity_by_hand(place, name) for name in ("this", "other")}
    assert found["this"]["perplexity"] == pytest.approx(expected["this"], rel=1e-5)
    assert found["compared"]["perplexity"] == pytest.approx(expected["other"], rel=1e-5)
    [ratio] = found_in(both)["ratios"]
    assert ratio["ratio"] == pytest.approx(expected["this"] / expected["other"])
    assert ratio["interval"]["low"] < ratio["ratio"] < ratio["interval"]["high"]


def test_the_page_names_limit_error_window_and_null(both):
    text = flat(both)
    assert "The first 6 items of each task were read (--limit), so scores" in text
    assert "standard error" in text
    assert "6 of 116" in text
    assert "mean of 3 tasks" in text
    assert f" {WINDOW} " in text
    assert "The null is 1." in text
    assert "goes either way with probability one half" in text
    assert "Refusal was not asked for" in text


def test_a_task_of_a_folder_is_read_like_our_own_items(place, tmp_path):
    pytest.importorskip("lm_eval", reason="pip install 'driftmap[eval]'")
    out = tmp_path / "run"
    words = [
        "--tasks=colours",
        f"--task-folder={place}",
        f"--compare={place / 'other'}",
    ]
    assert evaluate(place, out, *words) == 0
    this, other = (loaded(place, name) for name in ("this", "other"))
    [mine], [theirs] = (
        choice_readings(one.model, one.tokenizer, items(12)) for one in (this, other)
    )
    scores = {one["model"]: one["score"] for one in found_in(out)["scores"]}
    assert scores["this"]["estimate"] == mine.values.mean()
    assert scores["compared"]["estimate"] == theirs.values.mean()
    [change] = found_in(out)["changes"]
    assert change["num_gained"] == ((mine.values == 1) & (theirs.values == 0)).sum()
    assert change["num_lost"] == ((mine.values == 0) & (theirs.values == 1)).sum()
    assert change["num_gained"] + change["num_lost"] > 0


def test_an_earlier_run_compares_like_its_model(place, both, tmp_path):
    words = [f"--perplexity={place / 'text.txt'}", f"--window={WINDOW}"]
    words += ["--tasks=world", "--limit=6"]
    assert evaluate(place, tmp_path / "before", *words, model="other") == 0
    words.append(f"--compare={tmp_path / 'before'}")
    assert evaluate(place, tmp_path / "after", *words) == 0
    now, known = found_in(tmp_path / "after"), found_in(both)
    assert (now["changes"], now["ratios"]) == (known["changes"], known["ratios"])


def test_a_window_that_the_model_cannot_read_is_refused_before_anything_is_asked(
    place, tmp_path, capsys
):
    asked = write_rows(tmp_path / "bad.jsonl", [{"prompt": "how do I break lock 1"}])
    words = [f"--perplexity={place / 'text.txt'}", "--window=500"]
    words.append(f"--refusal-prompts={asked}")
    assert evaluate(place, tmp_path / "run", *words) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.endswith("this reads at most 128 tokens at once; give at most 128")
    assert not list((tmp_path / "run").glob("steps/answers-*"))


def test_the_window_of_a_short_model_is_said_once(place, tmp_path, capsys):
    words = [f"--perplexity={place / 'text.txt'}", f"--compare={place / 'other'}"]
    assert evaluate(place, tmp_path / "run", *words) == 0
    assert capsys.readouterr().err.count("perplexity is read in windows of 128") == 1


def test_without_the_harness_nothing_begins(place, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    assert evaluate(place, tmp_path / "run", "--tasks=boolq") == 1
    assert capsys.readouterr().err.strip() == (
        "error: tasks are run by the library lm-eval, which is not installed; install "
        "it with `pip install 'driftmap[eval]'`"
    )
    assert not (tmp_path / "run").exists()


def test_a_task_of_the_world_is_read_without_the_harness(
    place, both, tmp_path, monkeypatch
):
    from driftmap.recipes.steps.evaluating import utility

    monkeypatch.setattr(utility, "_version", lambda: "none")
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    out = tmp_path / "run"
    assert evaluate(place, out, "--tasks=world", "--limit=6") == 0
    known = [one for one in found_in(both)["scores"] if one["model"] == "this"]
    assert found_in(out)["scores"] == known
    assert found_in(out)["read_by"] == "driftmap"
