"""Two models read alike: laws of what became of attention, from words to report."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from driftmap.cli.main import main
from driftmap.core.errors import StoreError, UsageError
from driftmap.load.model import load_model
from driftmap.load.source import ModelSource
from driftmap.load.tuned import find_tuned
from driftmap.notebook import open_run
from driftmap.recipes.attention_change_options import AttentionChangeOptions
from driftmap.recipes.steps import pages
from driftmap.recipes.steps.bench import Study
from driftmap.recipes.steps.comparing.attention.choosing import choose
from driftmap.recipes.steps.comparing.attention.reading import read_both
from driftmap.recipes.steps.comparing.pair import Pair, load_beside
from driftmap.results.facts import Fact
from driftmap.store.run_dir import RunDir
from tiny_studies import save_tiny_model, write_rows

NAMES = ("Ada", "Bo", "Cy", "Dee", "Eve", "Flo")
OTHERS = ("Gus", "Hal", "Ida")
FACTS = tuple(
    Fact(
        id=name,
        subject=name,
        prompt=f"We know {name} is in the",
        answer="sun",
        foil="moon",
        paraphrases=(f"{name} is a",),
        neighbours=tuple(f"We know {other} is in the" for other in OTHERS),
        attributes=("Somewhere else Jo is in the",),
    )
    for name in NAMES
)
OPTIONS = AttentionChangeOptions()


@pytest.fixture(scope="module", autouse=True)
def _no_pictures():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pages, "save_pictures", lambda figures, folder: None)
        yield


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A model, a copy of it, and one whose second layer asks for other tokens."""
    home = tmp_path_factory.mktemp("models")
    base = save_tiny_model(home / "base", layers=3)
    model = AutoModelForCausalLM.from_pretrained(base)
    model.save_pretrained(home / "same")
    with torch.no_grad():
        model.model.layers[1].self_attn.q_proj.weight.mul_(-3)
    model.save_pretrained(home / "planted")
    return home


def pair_of(folders, name):
    base = load_model(ModelSource(model=str(folders / "base"), device="cpu"))
    run = find_tuned([str(folders / name)])
    study = Study(run=RunDir.__new__(RunDir), loaded=base, seed=0)
    return Pair(study=study, run=run, tuned=load_beside(base, run.last))


def read(folders, name, facts=FACTS, texts=(), options=OPTIONS):
    pair = pair_of(folders, name)
    return pair, read_both(pair, choose(pair.base, facts, texts, options))


@pytest.fixture(scope="module")
def planted(folders):
    return read(folders, "planted", texts=("We know Ada is in the moon",))


def test_equal_models_give_exact_zeros_and_are_called_identical(folders):
    _, found = read(folders, "same", facts=FACTS[:2])
    assert found.is_identical
    assert found.is_undisturbed
    for one in found.prompts:
        assert not one.divergence.any()
        np.testing.assert_array_equal(one.before.subject_mass, one.after.subject_mass)
    for text in found.texts:
        np.testing.assert_array_equal(text.before, text.after)


def test_a_planted_change_of_queries_moves_no_earlier_layer(planted):
    _, found = planted
    assert not found.is_identical
    divergence = np.stack([one.divergence for one in found.prompts])
    assert not divergence[:, 0].any(), "the layer before it reads the same states"
    assert (divergence[:, 1].mean(axis=0) > 0.01).all()
    assert (divergence[:, 2] > 0).any()
    for text in found.texts:
        moved = np.abs(text.after - text.before).max(axis=(1, 2))
        assert moved[0] == 0
        assert moved[1] > 0.01


def test_shares_sum_to_one_before_and_after(folders, planted):
    """Against eager maps of transformers, read without this project's code."""
    pair, found = planted
    eager = {
        key: AutoModelForCausalLM.from_pretrained(
            folders / name, attn_implementation="eager"
        )
        for key, name in (("before", "base"), ("after", "planted"))
    }
    with_control = [one for one in found.prompts if one.prompt.control is not None]
    assert len(with_control) >= len(NAMES)
    for one in with_control[:4]:
        ids = pair.base.tokenizer(one.prompt.text, return_tensors="pt").input_ids
        spoken = {0, *range(*one.prompt.subject), *range(*one.prompt.control)}
        rest = [n for n in range(len(one.prompt.tokens)) if n not in spoken]
        for key in ("before", "after"):
            with torch.no_grad():
                maps = eager[key](ids, output_attentions=True).attentions
            rows = torch.stack(maps)[:, 0, :, -1].numpy()
            own = getattr(one, key)
            whole = own.first_mass + own.subject_mass + own.control_mass
            np.testing.assert_allclose(whole + rows[..., rest].sum(-1), 1, atol=1e-5)
            first, end = one.prompt.subject
            subject = rows[..., max(1, first) : end].sum(-1)
            np.testing.assert_allclose(own.subject_mass, subject, atol=1e-5)


def test_a_control_is_as_wide_as_the_part_of_a_subject_that_counts(folders):
    prompt = "Ada Bo is in the sun and we know Ada is in the"
    fact = Fact(id="a", subject="Ada Bo", prompt=prompt, answer="sun")
    _, found = read(folders, "same", facts=(fact,))
    (one,) = found.prompts
    first, end = one.prompt.subject
    assert first == 0, "its first token is the text's, and no part of any weight"
    assert one.prompt.control == (end, end + end - 1)


def test_both_models_answer_the_same_while_watched(planted):
    pair, found = planted
    ids = torch.tensor([pair.base.tokenizer("We know Ada is in the").input_ids])
    for loaded in (pair.base, pair.tuned):
        with torch.no_grad():
            said = loaded.model(ids, use_cache=False).logits[0, -1].log_softmax(-1)
        answers = found.prompts[0].answers
        (sun,) = pair.base.tokenizer(" sun", add_special_tokens=False).input_ids[:1]
        own = answers.given_before if loaded is pair.base else answers.given_after
        assert own == pytest.approx(float(said[sun]), abs=0)


def test_other_subjects_come_from_neighbours_in_the_facts_own_words(folders):
    pair = pair_of(folders, "same")
    chosen = choose(pair.base, FACTS, (), OPTIONS)
    others = {one.encoded.fact.subject for one in chosen.prompts if not one.is_edited}
    assert others == set(OTHERS), "each once, none that is edited, none guessed"
    texts = {one.encoded.fact.prompt for one in chosen.prompts if not one.is_edited}
    assert "Gus is a" in texts
    assert [one.text for one in chosen.texts] == [
        "We know Ada is in the moon",
        "We know Ada is in the sun",
    ]
    assert chosen.texts[0].words["Ada"]
    own = choose(pair.base, FACTS, (), OPTIONS, untouched=(FACTS[0], FACTS[1]))
    assert all(one.is_edited for one in own.prompts), "edited subjects are no controls"


def test_what_does_not_fit_is_kept_out_of_the_maps(folders, monkeypatch):
    from driftmap.recipes.steps.comparing.attention import reading

    _, whole = read(folders, "planted", facts=(), texts=("We know Ada is in",))
    size = len(whole.texts[0].tokens)
    monkeypatch.setattr(reading, "MOST_WEIGHTS", 3 * size * 2)
    _, some = read(folders, "planted", facts=(), texts=("We know Ada is in",))
    (text,), (all_of_it,) = some.texts, whole.texts
    assert text.rows == (size - 2, size - 1)
    assert len(text.heads) == 3
    np.testing.assert_allclose(text.before, all_of_it.before[:, -2:], atol=1e-7)
    kept = [all_of_it.heads.index(head) for head in text.heads]
    moved = np.abs(all_of_it.head_after - all_of_it.head_before)[:, -2:]
    left = [n for n in range(12) if n not in kept]
    assert moved[kept].max(axis=(1, 2)).min() >= moved[left].max(axis=(1, 2)).max()


@pytest.fixture(scope="module")
def words(folders, tmp_path_factory):
    rows = [
        {
            "id": f.id, "subject": f.subject, "prompt": f.prompt, "answer": f.answer,
            "foil": f.foil, "neighbours": list(f.neighbours),
        }
        for f in FACTS
    ]  # fmt: skip
    home = tmp_path_factory.mktemp("attention")
    facts = write_rows(home / "facts.jsonl", rows)
    return [
        "attention", "--model", str(folders / "base"), "--tuned",
        str(folders / "planted"), "--device", "cpu", "--facts", str(facts),
        "--words", "moon", "--words", "know", "--out", str(home / "run"),
    ]  # fmt: skip


def test_a_run_from_words_to_report_and_again(words, capsys):
    assert main(words) == 0
    run = Path(words[-1])
    told = (run / "report.txt").read_text()
    assert "Attention is context, not evidence" in told
    assert "By the logits, the taught answer became" in told
    assert "Change of the weight on the subject, layer by layer" in told
    assert "Change of the weight on “know”, layer by layer" in told
    assert "“moon”" not in told, "no prompt has it, only a text"
    drawn = (run / "report.html").read_text()
    assert "tuned minus base" in drawn
    assert "We know Ada is in the moon: what each token looks at" in drawn
    before = (run / "attention-change.safetensors").stat().st_mtime_ns
    assert main(words) == 0
    assert main(["report", str(run)]) == 0
    assert (run / "attention-change.safetensors").stat().st_mtime_ns == before
    assert "kind: attention-tuned" in (run / "run.yaml").read_text()
    marker = json.loads((run / "steps" / "attention-change.json").read_text())
    assert marker


def test_a_notebook_shows_the_run_and_leaves_it_alone(words):
    assert main(words) == 0
    run = Path(words[-1])
    before = {p: p.stat().st_mtime_ns for p in run.rglob("*") if p.name != ".lock"}
    opened = open_run(run)
    assert (opened.kind, opened.settings["device"]) == ("attention-tuned", "cpu")
    assert opened.sections == ("attention", "settings")
    shown = opened._repr_mimebundle_()
    assert "Attention is context, not evidence" in shown["text/plain"]
    assert shown["text/html"].count("data:image/svg+xml") == 2
    assert "tuned minus base" in repr(opened.section("attention"))
    assert "Single heads" in opened.section("attention")._repr_html_()
    assert (run / "report.txt").read_text() == opened.text
    after = {p: p.stat().st_mtime_ns for p in run.rglob("*") if p.name != ".lock"}
    assert before == after
    with pytest.raises(UsageError, match="no section 'x', only attention, settings"):
        opened.section("x")


def test_what_is_no_finished_run_is_not_opened(tmp_path):
    with pytest.raises(StoreError, match="holds no run"):
        open_run(tmp_path)
    RunDir.open(tmp_path / "score", {"seed": 0}, "score").close()
    with pytest.raises(UsageError, match="a run of score has no report to show"):
        open_run(tmp_path / "score")
    RunDir.open(tmp_path / "new", {"seed": 0}, "attention-tuned").close()
    with pytest.raises(StoreError, match="is not finished"):
        open_run(tmp_path / "new")


def test_equal_models_stop_at_one_sentence(folders, tmp_path):
    both = ["--model", str(folders / "base"), "--tuned", str(folders / "same")]
    own = ["attention", *both, "--device", "cpu", "--out", str(tmp_path / "run")]
    assert main([*own, "--text", "We know Ada"]) == 0
    told = (tmp_path / "run" / "report.txt").read_text()
    assert "identical, bit for bit, on all" in told
    assert "looks at, in both models" not in told


@pytest.mark.parametrize(
    ("told", "wanted"),
    [
        ([], "give --facts, a file, or --text, one or more texts"),
        (["--text", "a", "--untouched", "x"], "--untouched is set against --facts"),
        (["--text", "We know", "--words", "moon"], "--words 'moon' stands in no text"),
        (["--text", "a", "--words", " "], "--words holds an empty one"),
        (["--text", "a", "--num-untouched=-1"], "--num-untouched is -1"),
        (["--text", "word " * 200], "more than the 128 that the model reads"),
    ],
)
def test_mistakes_are_told_in_a_sentence(folders, tmp_path, capsys, told, wanted):
    both = ["--model", str(folders / "base"), "--tuned", str(folders / "same")]
    own = ["attention", *both, "--device", "cpu", "--out", str(tmp_path / "run")]
    assert main([*own, *told]) in (1, 2)
    assert wanted in capsys.readouterr().err


def test_models_of_other_shapes_are_refused(folders, tmp_path, capsys):
    save_tiny_model(tmp_path / "deep", layers=2)
    own = ["attention", "--model", str(folders / "base"), "--tuned",
           str(tmp_path / "deep"), "--device", "cpu", "--text", "We know",
           "--out", str(tmp_path / "run")]  # fmt: skip
    assert main(own) == 1
    assert "error" in capsys.readouterr().err
