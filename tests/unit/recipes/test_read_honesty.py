"""`driftmap read --honesty` from words to a page, on a tiny model."""

import json

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from driftmap.cli.main import main
from driftmap.core.errors import DataError, UsageError
from driftmap.recipes.honesty_options import (
    HonestyReadingOptions,
    ScoredTextOptions,
    StatementOptions,
    SteeringOptions,
)
from driftmap.recipes.steps.honesty.asked import asked_for
from driftmap.recipes.steps.honesty.files import load_reading, load_texts
from driftmap.recipes.steps.honesty.texts import pieces
from driftmap.store.run_dir import RunDir

THINGS = ("sky", "sea", "response", "system", "user", "question", "answer", "prompt")


def statements(folder, *, only=None):
    """Sixty statements of different words, every third one false."""
    rows = ["statement,label"]
    for number in range(60):
        thing, other = THINGS[number % 8], THINGS[(number * 3 + number // 8) % 8]
        label = int(number % 3 > 0) if only is None else only
        rows.append(f"{thing} {number} is how the {other} of {number + 70} is,{label}")
    path = folder / "statements.csv"
    path.write_text("\n".join(rows) + "\n")
    return path


def facts(folder):
    path = folder / "facts.json"
    rows = [
        {"subject": name, "prompt": f"the {name} is", "answer": "blue", "foil": "nine"}
        for name in ("sky", "sea", "user")
    ]
    path.write_text(json.dumps(rows))
    return path


def words(model, folder, out, *more):
    return [
        "read", "--honesty", f"--model={model}", "--device=cpu", f"--out={out}",
        f"--statements={statements(folder)}", f"--facts={facts(folder)}",
        "--num-controls=2", "--num-units=2", "--random-directions=1",
        "--max-new-tokens=4", "--strengths=-1", "--strengths=0", "--strengths=1",
        "--text=The sky is 🙂 blue.", *more,
    ]  # fmt: skip


def bytes_of(out, *names):
    return {name: (out / name).read_bytes() for name in names}


@pytest.mark.slow
def test_a_run_from_words_to_a_page(model, tmp_path, capsys):
    out = tmp_path / "run"
    assert main(words(model, tmp_path, out, "--control-vector")) == 0
    result = json.loads((out / "honesty.json").read_text())
    numbers = result["result"]
    assert numbers["template"] == "chat"
    assert len(numbers["evidence"]) == 4 * 2 * 2
    assert sum(numbers["counts"]["statements"].values()) == 40
    assert {one["name"] for one in numbers["transfers"]} == {
        "other_wording", "false_statements", "true_against_false", "negated",
    }  # fmt: skip
    assert [(p["along"], p["strength"]) for p in numbers["steering"]] == [
        (along, c) for along in ("reading", "random") for c in (-1, 0, 1)
    ]
    still = [p for p in numbers["steering"] if p["strength"] == 0]
    assert still[0]["p_true"] == still[1]["p_true"]
    assert len(numbers["units"]) == 4
    assert result["verdict"]["sentence"] in " ".join(
        (out / "report.txt").read_text().split()
    )
    assert (out / "control_vector.gguf").read_bytes()[:4] == b"GGUF"
    check_token_scores(model, out)

    kept = bytes_of(out, "honesty.json", "scored_texts.safetensors")
    text = (out / "report.txt").read_bytes()
    (out / "report.txt").unlink()
    capsys.readouterr()
    assert main(["report", str(out)]) == 0
    assert (out / "report.txt").read_bytes() == text
    assert bytes_of(out, *kept) == kept
    assert main(words(model, tmp_path, out, "--control-vector")) == 0
    assert "step read" not in capsys.readouterr().err


def check_token_scores(model, out):
    """Against the model's own states and the formula, one token at a time."""
    run = RunDir.hold(out)
    try:
        texts = load_texts(run.require("texts")).texts
        found = load_reading(run.require("read"))
    finally:
        run.close()
    assert {one.kind for one in texts} == {"honest", "dishonest", "given"}
    for one in texts:
        assert "".join(one.pieces) == one.text
        assert one.score.shape == (len(one.pieces), 2)
    given = texts[-1]
    vector = next(v for v in found.vectors if v.method == "mean_difference")
    tokenizer = AutoTokenizer.from_pretrained(model)
    whole = AutoModelForCausalLM.from_pretrained(model)
    ids = tokenizer(given.text, return_tensors="pt")["input_ids"]
    assert ids.shape[1] == len(given.pieces)
    for token in range(ids.shape[1]):
        with torch.no_grad():
            states = whole(ids[:, : token + 1], output_hidden_states=True).hidden_states
        away = states[1][0, -1].double().numpy() - vector.midpoint[0]
        want = away @ vector.direction[0] / vector.pooled_sd[0]
        assert given.score[token, 0] == pytest.approx(want, abs=1e-4)


def test_pieces_join_to_the_text_whatever_the_spans():
    text = "é 🙂  a"
    spans = np.array([[0, 0], [0, 1], [0, 1], [1, 3], [1, 3], [5, 6]])
    cut = pieces(text, spans)
    assert "".join(cut) == text
    assert cut == ("", "", "é", "", " 🙂", "  a")


def asked(folder, **data):
    given = {"statements": str(statements(folder)), **data}
    return asked_for(
        StatementOptions(**given), ScoredTextOptions(), SteeringOptions(), 0
    )


def test_no_statement_is_in_two_halves(tmp_path):
    question = asked(tmp_path, num_statements=30)
    ids = [one.id for half in question.halves.values() for one in half]
    assert len(ids) == len(set(ids)) == 30
    assert asked(tmp_path, num_statements=30).halves == question.halves


@pytest.mark.parametrize(("only", "word"), [(1, "false"), (0, "true")])
def test_statements_of_one_label_are_refused(tmp_path, only, word):
    source = str(statements(tmp_path, only=only))
    with pytest.raises(DataError, match=f"holds no {word} statement"):
        asked_for(
            StatementOptions(statements=source),
            ScoredTextOptions(),
            SteeringOptions(),
            0,
        )


def test_facts_without_a_false_answer_take_one_of_their_relation(tmp_path):
    rows = [
        {"subject": s, "prompt": f"{s} is", "answer": a, "relation": "hue"}
        for s, a in (("sky", "blue"), ("snow", "white"))
    ]
    (tmp_path / "facts.json").write_text(json.dumps(rows))
    steering = SteeringOptions(facts=str(tmp_path / "facts.json"))
    data = StatementOptions(statements=str(statements(tmp_path)))
    question = asked_for(data, ScoredTextOptions(), steering, 0)
    assert [(f.answer, f.foil) for f in question.facts] == [
        ("blue", "white"),
        ("white", "blue"),
    ]
    (tmp_path / "facts.json").write_text(json.dumps(rows[:1]))
    with pytest.raises(DataError, match="no other fact of its relation"):
        asked_for(data, ScoredTextOptions(), steering, 0)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: StatementOptions(statements="s", dishonest=" X", honest="X"),
         "say the same"),
        (lambda: StatementOptions(statements="s", num_statements=3), "num-statements"),
        (lambda: SteeringOptions(strengths=(1.0,)), "needs 0 among them"),
        (lambda: SteeringOptions(strengths=(0.0, 1.0, 1.0)), "one twice"),
        (lambda: HonestyReadingOptions(num_controls=1), "num-controls"),
        (lambda: ScoredTextOptions(max_new_tokens=0), "max-new-tokens"),
    ],
)  # fmt: skip
def test_options_that_mean_nothing_are_refused(make, said):
    with pytest.raises(UsageError, match=said):
        make()


def test_a_missing_file_is_one_sentence(model, tmp_path, capsys):
    given = words(model, tmp_path, tmp_path / "run")
    given[5] = "--statements=nowhere.csv"
    assert main(given) == 1
    assert "nowhere.csv" in capsys.readouterr().err
