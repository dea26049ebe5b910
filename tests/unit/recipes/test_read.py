"""`driftmap read` from words to a page, on a tiny model."""

import json
import re

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from driftmap.cli.main import main
from driftmap.core.errors import DataError, UsageError
from driftmap.load.source import ModelSource
from driftmap.recipes.read import Read
from driftmap.recipes.reading_options import ReadingOptions, TextOptions
from driftmap.recipes.steps.readings.files import load_readings
from driftmap.store.run_dir import RunDir
from driftmap.store.tables import load_table
from terminals import CODES

TEXT = "The sky is blue. Sure, here is how."


def words(model, out, *more):
    return ["read", f"--model={model}", "--device=cpu", f"--out={out}", *more]


def readings_of(out):
    run = RunDir.hold(out)
    try:
        return load_readings(run.require("read")).readings
    finally:
        run.close()


@pytest.mark.slow
def test_texts_files_and_prompts_are_read(model, tmp_path, capsys):
    (tmp_path / "page.txt").write_text("one two 🙂\n")
    out = tmp_path / "run"
    more = (f"--text={TEXT}", f"--file={tmp_path / 'page.txt'}", "--prompt=name one",
            "--max-new-tokens=5", "--lens", "--lens-tokens=4")  # fmt: skip
    assert main(words(model, out, *more)) == 0
    shown = capsys.readouterr().out
    assert "| text 1 (perplexity" in shown
    assert "| page (perplexity" in shown
    assert "| prompt 1 (perplexity" in shown
    assert shown.rstrip().endswith(str(out / "report.html"))
    assert not CODES.search(shown)
    first, page, prompt = readings_of(out)

    tokenizer = AutoTokenizer.from_pretrained(model)
    ids = tokenizer(TEXT, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        logits = AutoModelForCausalLM.from_pretrained(model)(ids).logits[0, :-1]
    p = logits.double().softmax(1).gather(1, ids[0, 1:, None])[:, 0]
    np.testing.assert_allclose(first.numbers.surprise[1:], -p.log(), atol=1e-5)
    assert page.spelled.text == "one two 🙂\n"
    assert prompt.spelled.text.startswith("<|im_start|>user\nname one<|im_end|>")
    assert prompt.num_scored <= 5
    assert prompt.is_generated
    report = (out / "report.txt").read_text()
    assert "What each layer would say" in report
    assert "sha256" in (out / "report.html").read_text()


@pytest.mark.slow
def test_an_answer_read_again_as_a_text_gives_the_same_numbers(model, tmp_path):
    out, again = tmp_path / "a", tmp_path / "b"
    more = ("--template=bare", "--max-new-tokens=6", "--temperature=1.5", "--seed=3")
    assert main(words(model, out, "--prompt=The sky", *more)) == 0
    (written,) = readings_of(out)
    assert main(words(model, again, f"--text={written.spelled.text}")) == 0
    (read,) = readings_of(again)
    assert read.spelled.text == written.spelled.text
    if read.spelled.token_ids.tolist() == written.spelled.token_ids.tolist():
        np.testing.assert_allclose(
            read.numbers.surprise[1:], written.numbers.surprise[1:], atol=1e-5
        )
    other = tmp_path / "c"
    assert main(words(model, other, "--prompt=The sky", *more)) == 0
    (same,) = readings_of(other)
    assert same.spelled.token_ids.tolist() == written.spelled.token_ids.tolist()
    np.testing.assert_array_equal(same.numbers.surprise, written.numbers.surprise)


def test_colours_are_forced_or_left_out(model, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLORTERM", "truecolor")
    more = (f"--text={TEXT}", "--colour=always")
    assert main(words(model, tmp_path / "run", *more)) == 0
    assert "\x1b[48;2;" in capsys.readouterr().out


@pytest.mark.slow
def test_other_thresholds_redo_the_report_alone(model, tmp_path, capsys):
    out = tmp_path / "run"
    assert main(words(model, out, f"--text={TEXT}")) == 0
    before = (out / "steps" / "read.json").read_bytes()
    capsys.readouterr()
    more = (f"--text={TEXT}", "--by=entropy", "--wrong-above=0.01", "--sure-below=99")
    assert main(words(model, out, *more)) == 0
    assert (out / "steps" / "read.json").read_bytes() == before
    assert capsys.readouterr().out.startswith("entropy (nats): sure to unsure")
    assert "surprise above 0.01 nats" in (out / "report.txt").read_text()
    assert main(["report", str(out)]) == 0
    assert main(["run", str(out)]) == 0


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ([], "there is nothing to read; give --text, --file or --prompt"),
        (["--text=a", "--temperature=1"], "--temperature is about answers, and there"),
        (["--text=a", "--window=8", "--stride=8"], "windows of 8 tokens would never"),
        (["--text=a", "--window=1"], "--window is 1; give at least 2"),
        (
            ["--prompt=a", "--max-new-tokens=0"],
            "--max-new-tokens is 0; give at least 1",
        ),
    ],
)
def test_mistakes_are_told_before_a_model_is_loaded(more, message, capsys, tmp_path):
    assert main(["read", "--model=none", f"--out={tmp_path / 'x'}", *more]) == 2
    assert message in " ".join(capsys.readouterr().err.split())


def test_what_the_model_cannot_hold_is_refused(model, tmp_path):
    source = ModelSource(model=str(model), device="cpu")
    with pytest.raises(
        UsageError, match=r"--window 500: .* reads at most 128 tokens at"
    ):
        Read(
            source=source,
            texts=TextOptions(text=(TEXT,)),
            reading=ReadingOptions(window=500),
            out=tmp_path / "a",
        ).run()
    with pytest.raises(DataError, match=r"prompt 1: its .* and 120 new ones are more"):
        Read(
            source=source,
            texts=TextOptions(prompt=(TEXT,), max_new_tokens=120),
            out=tmp_path / "b",
        ).run()


def test_the_files_of_a_run_are_pinned(model, tmp_path):
    out = tmp_path / "run"
    assert main(words(model, out, f"--text={TEXT}", "--window=8", "--stride=4")) == 0
    kept = json.loads((out / "readings.json").read_text())
    assert kept["kind"] == "driftmap.token_readings"
    assert kept["version"] == 1
    (text,) = kept["readings"]
    assert sorted(text) == [
        "is_generated", "numbers", "spelled", "stride", "tops", "window",
    ]  # fmt: skip
    assert sorted(text["numbers"]) == [
        "entropy", "rank", "surprise", "top_ids", "top_p", "vocabulary",
    ]  # fmt: skip
    table = load_table(out / "tables/tokens.parquet")
    assert len(table) == readings_of(out)[0].num_tokens
    assert table["counts"].tolist() == [False] + [True] * (len(table) - 1)
    assert np.isnan(table["surprise_nats"]).tolist() == [True] + [False] * (
        len(table) - 1
    )
    assert re.search(r"\d of 8 tokens, stride 4", (out / "report.txt").read_text())
