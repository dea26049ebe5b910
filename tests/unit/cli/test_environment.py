"""Do words win over the environment, and the environment over the file?"""

import os

import pytest
import yaml

from driftmap.cli.main import main
from driftmap.recipes.drift import Drift
from driftmap.recipes.score import Score
from tiny_studies import study_words


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A working folder of its own, in which nothing runs."""
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    return work


@pytest.fixture
def made(monkeypatch):
    """Recipes made of words, in order; none of them runs."""
    recipes = []

    def remember(recipe):
        recipes.append(recipe)
        return "done"

    monkeypatch.setattr(Score, "run", remember)
    monkeypatch.setattr(Drift, "run", remember)
    return recipes


SCORE = ["score", "--data=d.jsonl"]


def test_the_file_gives_defaults_and_says_so_once(folder, made, capsys):
    (folder / ".env").write_text(
        "DRIFTMAP_MODEL=m/m\nMT_DEVICE=cpu\nMT_SAMPLE_SIZE=7\nDRIFTMAP_SEED=3\nA=1\n"
    )
    assert main(SCORE) == 0
    assert made[0].source.model == "m/m"
    assert made[0].source.device == "cpu"
    assert made[0].scoring.num_samples == 7
    assert capsys.readouterr().err.splitlines() == [
        "--model: m/m (from DRIFTMAP_MODEL in .env)",
        "--device: cpu (from MT_DEVICE in .env)",
        "--num-samples: 7 (from MT_SAMPLE_SIZE in .env)",
    ]
    assert "A" not in os.environ
    assert "DRIFTMAP_MODEL" not in os.environ


PROCESS_WINS = {
    "a name of the process over the file": (
        ("DRIFTMAP_MODEL=f", {"DRIFTMAP_MODEL": "p"}),
        ("p", "DRIFTMAP_MODEL"),
    ),
    "our name over the other, wherever it stands": (
        ("DRIFTMAP_MODEL=f", {"MT_MODEL_NAME": "p"}),
        ("f", "DRIFTMAP_MODEL in .env"),
    ),
    "our name of the process over the other of the file": (
        ("MT_MODEL_NAME=f", {"DRIFTMAP_MODEL": "p"}),
        ("p", "DRIFTMAP_MODEL"),
    ),
    "the other name of the process over the file": (
        ("MT_MODEL_NAME=f", {"MT_MODEL_NAME": "p"}),
        ("p", "MT_MODEL_NAME"),
    ),
    "our name over the other in one file": (
        ("MT_MODEL_NAME=f\nDRIFTMAP_MODEL=d", {}),
        ("d", "DRIFTMAP_MODEL in .env"),
    ),
    "an empty name of the process over the file, and it counts as none": (
        ("DRIFTMAP_MODEL=f\nMT_MODEL_NAME=m", {"DRIFTMAP_MODEL": ""}),
        ("m", "MT_MODEL_NAME in .env"),
    ),
}


@pytest.mark.parametrize("rule", PROCESS_WINS)
def test_who_wins(rule, folder, made, monkeypatch, capsys):
    (file, process), (model, origin) = PROCESS_WINS[rule]
    (folder / ".env").write_text(file)
    for name, value in process.items():
        monkeypatch.setenv(name, value)
    assert main(SCORE) == 0
    assert made[0].source.model == model
    assert capsys.readouterr().err == f"--model: {model} (from {origin})\n"
    assert main([*SCORE, "--model=w"]) == 0
    assert made[1].source.model == "w"
    assert capsys.readouterr().err == ""


def test_a_map_of_devices_stands_in_for_a_device(made, monkeypatch):
    monkeypatch.setenv("DRIFTMAP_DEVICE", "cuda")
    assert main([*SCORE, "--model=m", "--device-map=auto"]) == 0
    assert made[0].source.device == "auto"


def test_commands_without_the_option_do_not_hear_of_it(monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("DRIFTMAP_NUM_SAMPLES", "lots")
    assert main(["report", str(tmp_path)]) == 1
    told = capsys.readouterr().err
    assert "lots" not in told
    assert told.count("\n") == 1


BAD = {
    "MT_SAMPLE_SIZE=lots": (
        "Invalid value for --num-samples from MT_SAMPLE_SIZE: unable to convert "
        '"lots" into int; see `driftmap score --help`'
    ),
    "DRIFTMAP_NUM_SAMPLES=0": (
        "--num-samples is 0; give at least 1 (from DRIFTMAP_NUM_SAMPLES)"
    ),
    "DRIFTMAP_DEVICE=abacus": (
        "device 'abacus' is unknown; known are auto, cpu, cuda, cuda:INDEX, mps "
        "(from DRIFTMAP_DEVICE)"
    ),
    "DRIFTMAP_MODEL=./no/model": (
        "./no/model: there is no such folder; check the path (from DRIFTMAP_MODEL)"
    ),
}


@pytest.mark.parametrize("given", BAD)
def test_a_bad_value_names_its_variable(given, model, data, monkeypatch, capsys):
    name, _, value = given.partition("=")
    monkeypatch.setenv(name, value)
    words = ["score", f"--data={data['utility']}"]
    if name != "DRIFTMAP_MODEL":
        words.append(f"--model={model}")
    assert main(words) in {1, 2}
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.split("; see docs/")[0] == f"error: {BAD[given]}"


def test_a_damaged_file_is_one_sentence_and_help_still_helps(folder, capsys):
    (folder / ".env").write_text("A=1\nwhat is this\n")
    assert main(SCORE) == 1
    assert capsys.readouterr().err == (
        "error: .env: line 2 is not of the form NAME=value; mend it or put a # before "
        "it\n"
    )
    assert main(["score", "--help"]) == 0
    assert main(["--version"]) == 0


def test_secrets_of_the_file_reach_the_process_but_never_replace_its_own(
    folder, made, monkeypatch
):
    (folder / ".env").write_text(
        "HF_TOKEN=of_the_file\nOPENAI_API_KEY=of_the_file\nOPENAI_BASE_URL=http://h\n"
    )
    monkeypatch.setenv("OPENAI_API_KEY", "of_the_process")
    assert main([*SCORE, "--model=m"]) == 0
    assert os.environ["HF_TOKEN"] == "of_the_file"
    assert os.environ["OPENAI_API_KEY"] == "of_the_process"
    assert os.environ["OPENAI_BASE_URL"] == "http://h"


def test_the_run_holds_what_was_resolved_and_a_replay_is_not_changed(
    model, data, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("DRIFTMAP_MODEL", str(model))
    monkeypatch.setenv("DRIFTMAP_NUM_SAMPLES", "3")
    monkeypatch.setenv("DRIFTMAP_DEVICE", "cpu")
    out = tmp_path / "out"
    assert main(["score", f"--data={data['utility']}", f"--out={out}"]) == 0
    before = (out / "run.yaml").read_bytes()
    saved = yaml.safe_load(before)
    assert saved["source"]["model"] == str(model)
    assert saved["source"]["device"] == "cpu"
    assert saved["scoring"]["num_samples"] == 3
    for name in ("DRIFTMAP_MODEL", "DRIFTMAP_DEVICE", "DRIFTMAP_NUM_SAMPLES"):
        monkeypatch.setenv(name, "9")
    capsys.readouterr()
    assert main(["run", str(out)]) == 0
    assert "from DRIFTMAP" not in capsys.readouterr().err
    assert (out / "run.yaml").read_bytes() == before


def test_a_file_of_ones_own_takes_what_it_leaves_open(folder, made, monkeypatch):
    monkeypatch.setenv("DRIFTMAP_MODEL", "of/environment")
    monkeypatch.setenv("DRIFTMAP_NUM_SAMPLES", "9")
    (folder / "study.yaml").write_text("kind: score\ndata: d\nnum_samples: 4\n")
    assert main(["run", "study.yaml"]) == 0
    assert made[0].source.model == "of/environment"
    assert made[0].scoring.num_samples == 4
    (folder / "run.yaml").write_text("kind: score\ndata: d\nmodel: m\nnum_samples:\n")
    assert main(["run", "run.yaml"]) == 0
    assert made[1].source.model == "m"
    assert made[1].scoring.num_samples == 128


def test_the_help_tells_of_the_defaults(capsys):
    for words in (["--help"], ["drift", "--help"]):
        assert main(words) == 0
        told = capsys.readouterr().out
        assert "DRIFTMAP_NUM_SAMPLES" in told
        assert ".env" in told


TOKEN, KEY, PASSWORD = "hf_theSecretOfTheHub", "sk-theSecretKey", "theSecretWord"


@pytest.fixture
def secrets(folder, monkeypatch):
    (folder / ".env").write_text(f"HF_TOKEN={TOKEN}\n")
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_BASE_URL", f"https://me:{PASSWORD}@host/v1")


def assert_nowhere(run, shown):
    files = [path for path in run.rglob("*") if path.is_file()]
    assert {"run.yaml", "log.txt", "provenance.json"} <= {path.name for path in files}
    for secret in (TOKEN, KEY, PASSWORD):
        assert secret not in shown
        for path in files:
            assert secret.encode() not in path.read_bytes(), path


def test_a_secret_in_an_error_is_shown_and_logged_by_its_name(
    secrets, model, data, tmp_path, monkeypatch, capsys
):
    def fail(*_, **__):
        raise RuntimeError(f"401 for {TOKEN}, {KEY} at {PASSWORD}")

    monkeypatch.setattr("driftmap.recipes.steps.tuning.training.tune_step", fail)
    words = study_words(model, data, tmp_path / "out")
    assert main([*words, "--debug"]) == 1
    shown = "".join(capsys.readouterr())
    assert "RuntimeError: 401 for <HF_TOKEN>, <OPENAI_API_KEY> at <OPENAI_BASE" in shown
    assert "Traceback" in shown
    logged = (tmp_path / "out/log.txt").read_text()
    assert "RuntimeError: 401 for <HF_TOKEN>, <OPENAI_API_KEY> at <OPENAI_BA" in logged
    assert_nowhere(tmp_path / "out", shown)


def test_words_that_hold_a_secret_are_refused(secrets, tmp_path, capsys):
    out = tmp_path / "out"
    words = ["score", "--model=m", f"--data=x{TOKEN}", f"--out={out}"]
    assert main(words) == 2
    assert capsys.readouterr().err == (
        "error: --data: it holds the value of HF_TOKEN, and a run writes its settings "
        "down; leave it out, what needs it looks it up\n"
    )
    assert not out.exists()


@pytest.mark.slow
def test_a_whole_study_writes_no_secret(secrets, model, data, tmp_path, capfd):
    assert main(study_words(model, data, tmp_path / "out")) == 0
    assert os.environ["HF_TOKEN"] == TOKEN
    assert (tmp_path / "out/report.html").exists()
    assert_nowhere(tmp_path / "out", "".join(capfd.readouterr()))
