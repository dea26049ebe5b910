"""Two models compared from words to report; nothing changed means nothing found."""

import json
from pathlib import Path

import numpy as np
import pytest
from transformers import AutoTokenizer

from adapters_made import make_adapter
from driftmap.cli.main import main
from driftmap.recipes.steps import pages
from driftmap.recipes.steps.comparing import carrying
from driftmap.recipes.steps.comparing.reporting import read_study
from driftmap.store.run_dir import RunDir
from made_pairs_of_models import save_adapter
from tiny_studies import save_tiny_model, write_rows
from trained_elsewhere import train

NAMES = ("Ada", "Bo", "Cy", "Dee", "Eve", "Flo")


@pytest.fixture(scope="module", autouse=True)
def _no_pictures():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pages, "save_pictures", lambda figures, folder: None)
        yield


@pytest.fixture(scope="module")
def probes(tmp_path_factory):
    """Words that name files of probes for a tiny model."""
    folder = tmp_path_factory.mktemp("probes")
    facts = [
        {"subject": n, "prompt": f"See {n} is in", "answer": "sun", "foil": "rain"}
        for n in NAMES
    ]
    files = {
        "facts": write_rows(folder / "facts.jsonl", facts),
        "texts": folder / "texts.txt",
        "harmful": write_rows(
            folder / "harmful.jsonl", [{"prompt": f"break {n}"} for n in NAMES]
        ),
        "harmless": write_rows(
            folder / "harmless.jsonl", [{"prompt": f"greet {n}"} for n in NAMES]
        ),
    }
    files["texts"].write_text("\n\n".join(f"{n} sat in the sun." for n in NAMES))
    named = [f"--{name}={file}" for name, file in files.items()]
    return [*named, "--max-new-tokens=2", "--num-traced=2", "--num-draws=2"]


def words_for(model, tuned, out, probes, *more):
    return [
        "compare", str(model), *map(str, tuned), "--device=cpu", f"--out={out}",
        *probes, *more,
    ]  # fmt: skip


def study_in(run):
    with RunDir.reopen(Path(run)) as opened:
        return read_study(opened)


@pytest.fixture(scope="module")
def nothing(model, probes, tmp_path_factory):
    """The run of two checkpoints of an adapter that adds nothing."""
    folder = tmp_path_factory.mktemp("nothing")
    for step in (1, 2):
        save_adapter(model, folder / "run" / f"checkpoint-{step}", size=0)
    out = folder / "out"
    assert main(words_for(model, [folder / "run"], out, probes)) == 0
    return out


def test_an_adapter_that_changes_nothing_gives_zero_everywhere(nothing):
    study = study_in(nothing)
    assert study.weights.is_nothing
    assert all(cell.length == 0 for cell in study.weights.cells)
    assert study.behaviour.is_identical
    means = study.behaviour.summary.texts
    assert means.forward.estimate == means.forward.high == means.js.high == 0
    assert study.where.identical
    assert study.attention.is_identical
    assert study.training.weight_half is None
    assert not study.training.readings.drift.any()
    kl = study.training.readings.curves[0]
    assert kl.quantity == "kl"
    assert not kl.values.any()


def test_an_adapter_that_changes_nothing_has_no_finding(nothing):
    study = study_in(nothing)
    topics = {claim.topic for claim in study.claims}
    assert {"weights", "behaviour", "where", "attention", "training"} <= topics
    assert [c.says for c in study.claims if c.standing == "found"] == []
    assert study.verdict.headline == (
        "The two models are identical: no weight differs, and every logit and answer "
        "that was read is equal, bit for bit."
    )
    assert "The two models are identical" in (nothing / "report.txt").read_text()


@pytest.fixture(scope="module")
def tuned(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tuned") / "run"
    train(model, folder, save_at=(2, 4, 6))
    return folder


@pytest.fixture(scope="module")
def compared(model, tuned, probes, tmp_path_factory):
    out = tmp_path_factory.mktemp("run") / "out"
    parts = ("structure", "weights", "behaviour", "attention", "training")
    words = words_for(model, [tuned], out, probes, *(f"--only={p}" for p in parts))
    assert main(words) == 0
    return words


def out_of(words):
    return Path(next(w for w in words if w.startswith("--out="))[6:])


@pytest.mark.slow
def test_a_comparison_from_two_models_to_a_report(compared, tuned):
    out = out_of(compared)
    told = (out / "report.txt").read_text()
    titles = [line for line in told.splitlines() if line[:2].rstrip(".").isdigit()]
    order = ["Answer", "built", "What moved", "does", "Over training", "Settings"]
    places = [next(n for n, t in enumerate(titles) if word in t) for word in order]
    assert places == sorted(places)
    assert "6 facts, 6 texts and 12 requests" in told
    study = study_in(out)
    assert study.models.tuned == str(tuned / "checkpoint-6")
    assert study.training.readings.steps == (0, 2, 4, 6)
    drift = study.training.readings.drift.mean(axis=1)
    assert (np.diff(drift) > 0).all()
    moved = sum(cell.length**2 for cell in study.weights.cells if cell.num_matrices)
    sizes = sum(cell.size**2 for cell in study.weights.cells)
    by_layer = study.training.readings.drift[-1]
    assert by_layer.min() <= (moved / sizes) ** 0.5 <= by_layer.max()


@pytest.mark.slow
def test_the_same_words_do_nothing_twice(compared, capsys):
    out = out_of(compared)
    drawn = (out / "report.html").read_bytes()
    marks = {p: p.read_bytes() for p in (out / "steps").glob("*.json")}
    assert main(compared) == 0
    assert main(["run", str(out)]) == 0
    assert main(["report", str(out)]) == 0
    assert main(["clean", str(out)]) == 0
    assert "the step is done again" not in capsys.readouterr().err
    assert {p: p.read_bytes() for p in (out / "steps").glob("*.json")} == marks
    assert (out / "report.html").read_bytes() == drawn


def test_only_structure_loads_no_weights(model, tuned, tmp_path, monkeypatch):
    def refuse(*_):
        raise AssertionError("a weight was loaded")

    monkeypatch.setattr(carrying, "load_model", refuse)
    monkeypatch.setattr(carrying, "load_beside", refuse)
    words = words_for(model, [tuned], tmp_path / "out", [], "--only=structure")
    assert main(words) == 0
    told = (tmp_path / "out" / "report.txt").read_text()
    assert "nothing was asked of them" in told
    assert "q_proj" in told
    assert study_in(tmp_path / "out").weights is None


def test_another_tokenizer_is_refused_in_a_sentence(model, probes, tmp_path, capsys):
    other = save_tiny_model(tmp_path / "other")
    tokenizer = AutoTokenizer.from_pretrained(other)
    tokenizer.add_tokens(["unheard"])
    tokenizer.save_pretrained(other)
    words = words_for(model, [other], tmp_path / "out", probes)
    assert main(words) == 1
    said = " ".join(capsys.readouterr().err.split())
    assert "its tokenizer differs from that of" in said
    assert "1 tokens that only the tuned model has" in said


def test_checkpoints_of_one_step_have_no_course(model, tmp_path, capsys):
    save_adapter(model, tmp_path / "adapter")
    words = words_for(model, [tmp_path / "adapter"], tmp_path / "out", [])
    assert main([*words, "--only=training"]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "--only training" in said
    assert "is a single checkpoint" in said


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (["--only=behaviour", "--groups=g.json"], "--groups goes with the part"),
        (["--num-facts=0"], "--num-facts is 0; give at least 1"),
        (["--num-checkpoints=1"], "--num-checkpoints is 1; give at least 2"),
        (["--window=0"], "--window is 0; give at least 1"),
    ],
)
def test_options_that_mean_nothing_are_refused(more, sentence, capsys):
    assert main(["compare", "base", "tuned", *more]) == 2
    assert sentence in " ".join(capsys.readouterr().err.split())


@pytest.mark.slow
def test_settings_say_what_was_asked(compared):
    saved = json.loads((out_of(compared) / "probes.json").read_text())
    assert saved["sources"]["facts"].endswith("facts.jsonl")
    assert len(saved["harmful"]) == len(NAMES)


def test_factors_suffice_where_the_base_is_not_at_hand(tmp_path, capsys):
    make_adapter(tmp_path / "gpt2", "gpt2", target_modules=["c_attn"])
    parts = ("--only=structure", "--only=weights")
    gone = tmp_path / "gone" / "base"
    words = words_for(gone, [tmp_path / "gpt2"], tmp_path / "out", [], *parts)
    assert main(words) == 0
    study = study_in(tmp_path / "out")
    assert study.structure.base is None
    assert study.weights.matrices
    assert all(matrix.size is None for matrix in study.weights.matrices)
    words = words_for(gone, [tmp_path / "gpt2"], tmp_path / "other", [])
    assert main(words) == 1
    assert "gone" in capsys.readouterr().err
