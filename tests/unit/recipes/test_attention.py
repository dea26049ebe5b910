from pathlib import Path

import numpy as np
import pytest

from driftmap.cli.main import main
from driftmap.recipes.steps import pages
from driftmap.results.attention_study import AttentionEffects, ReadAttention
from driftmap.store.arrays_apart import load_apart
from tiny_studies import save_tiny_model, write_rows

NAMES = ("Ada", "Bo", "Cy", "Dee", "Eve", "Flo")


@pytest.fixture(scope="module", autouse=True)
def _no_pictures():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pages, "save_pictures", lambda figures, folder: None)
        yield


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_tiny_model(tmp_path_factory.mktemp("model"), layers=3)


@pytest.fixture(scope="module")
def words(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("attention")
    rows = [
        {"subject": name, "prompt": f"We know {name} is in the", "answer": "sun"}
        for name in NAMES
    ]
    facts = write_rows(folder / "facts.jsonl", rows)
    return [
        "attention", "--model", str(model), "--device", "cpu", "--facts", str(facts),
        "--num-draws", "2", "--show", "2", "--num-effects", "5",
        "--out", str(folder / "run"),
    ]  # fmt: skip


@pytest.fixture(scope="module")
def run(words):
    assert main(words) == 0
    return Path(words[-1])


def test_a_study_from_words_to_report(run):
    told = (run / "report.txt").read_text()
    assert "6 prompts" in told
    assert "Attention is a description, not evidence" in told
    for third in ("early (layer 0)", "middle (layer 1)", "late (layer 2)"):
        assert third in told
    for row in ("weight on the subject", "sharpness", "loss beyond control"):
        assert row in told
    assert "last prompt token: produces answer token 1" in told
    drawn = (run / "report.html").read_text()
    assert "answer token 1 itself" in drawn
    assert "received over all rows" in drawn
    assert "token by token, for any layer and head" in drawn


def test_parts_of_every_row_sum_to_one(run):
    found = load_apart(run, "attention", ReadAttention, "attention-rows")
    assert [place.layer for place in found.places] == [0, 1, 2]
    assert len(found.numbers) == 2 * len(NAMES)
    assert len(found.rows) == 4
    for rows in found.rows:
        np.testing.assert_allclose(rows.weights.sum(-1) + rows.sink_mass, 1, atol=1e-6)
        assert rows.rollout is not None
        np.testing.assert_allclose(rows.rollout.sum(-1), 1, atol=1e-5)
    prompts = {prompt.id: prompt for prompt in found.prompts}
    for rows in found.rows:
        prompt = prompts[rows.prompt_id]
        one = next(
            n for n in found.numbers
            if n.prompt_id == rows.prompt_id and n.query == rows.query
        )  # fmt: skip
        assert prompt.subject is not None
        assert prompt.control is not None
        spoken = {0, *range(*prompt.subject), *range(*prompt.control)}
        others = [n for n in range(len(prompt.tokens)) if n not in spoken]
        rest = rows.weights[..., others].sum(-1)
        whole = one.first_mass + one.sink_mass + one.subject_mass + one.control_mass
        np.testing.assert_allclose(whole + rest, 1, atol=1e-6)


def test_edges_are_cut_for_as_many_prompts_as_asked(run):
    found = load_apart(run, "effects", AttentionEffects, "attention-effects")
    assert found.window == 1
    assert len(found.knock_outs) == len(found.traced) == 5
    for one in found.knock_outs:
        assert one.by_layer.shape == (3,)
        assert np.isfinite(one.by_layer).all()
        # with a third of one layer each, both ways cut the same edges
        np.testing.assert_allclose(one.by_third, one.by_layer, atol=1e-6)


def test_a_finished_study_is_told_again_and_not_done_again(run, words):
    before = {p: p.stat().st_mtime_ns for p in run.glob("*.safetensors")}
    assert main(words) == 0
    assert before == {p: p.stat().st_mtime_ns for p in run.glob("*.safetensors")}
    assert main(["report", str(run)]) == 0


def test_a_prompt_without_subject_is_only_described(model, tmp_path):
    words = ["attention", "--model", str(model), "--device", "cpu", "--prompt",
             "What is in the", "--num-answer-tokens", "2", "--queries", "all",
             "--no-whole", "--out", str(tmp_path / "run")]  # fmt: skip
    assert main(words) == 0
    told = (tmp_path / "run" / "report.txt").read_text()
    assert "Nothing was cut" in told
    drawn = (tmp_path / "run" / "report.html").read_text()
    assert "token before answer token 2: produces answer token 2" in drawn
    assert "received over all rows" not in drawn
    assert "loss" not in told.partition("2. Layers")[0]


@pytest.mark.parametrize(
    ("told", "wanted"),
    [
        ([], "give either --facts, a file, or --prompt, one text"),
        (["--prompt", "a", "--show", "0"], "--show is 0"),
        (["--prompt", "a", "--num-effects=-1"], "--num-effects is -1; give 0 or more"),
        (["--prompt", "a", "--window", "0"], "--window is 0"),
        (["--prompt", "a", "--subject", "b"], "subject 'b' is not in the text"),
    ],
)
def test_mistakes_are_told_in_a_sentence(model, tmp_path, capsys, told, wanted):
    own = ["--model", str(model), "--device", "cpu", "--out", str(tmp_path / "run")]
    assert main(["attention", *own, *told]) in (1, 2)
    assert wanted in capsys.readouterr().err
