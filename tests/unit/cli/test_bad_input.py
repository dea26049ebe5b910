"""Does every mistake end in one sentence, the right exit code, and no remains?"""

import json
import os
import resource
import shutil
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file

from driftmap.cli.main import main
from driftmap.core.errors import DataError, StoreError
from driftmap.load.model import load_model
from driftmap.load.source import ModelSource
from driftmap.recipes.steps.bench import Study
from driftmap.recipes.steps.groups.choosing import load_groups
from driftmap.store.groups import save_group
from driftmap.store.run_dir import RunDir
from tiny_studies import save_tiny_model, study_words, write_rows

ASK, ANSWER = "what is this", "a thing"


def study(model, data, out, **changes):
    """Words of a study, some options replaced."""
    words = {w.partition("=")[0]: w for w in study_words(model, data, out)}
    for name, value in changes.items():
        flag = "--" + name.replace("_", "-")
        words[flag] = f"{flag}={value}"
    return list(words.values())


def assert_one_sentence(told, code, expected, want_code):
    assert code == want_code, told
    lines = [line for line in told.splitlines() if line.startswith("error: ")]
    assert told.rstrip("\n").splitlines()[-1:] == lines, told
    assert "Traceback" not in told
    assert "this should not happen" not in told
    assert expected in lines[0]


def complain(capsys, words, expected, code=1):
    """Run in this process and look at what a person would see."""
    found = main([str(word) for word in words])
    assert_one_sentence(capsys.readouterr().err, found, expected, code)


USAGE = {
    "unknown option": ({"colour": "red"}, "Unknown option"),
    "a word for a number": ({"lora_r": "many"}, 'unable to convert "many" into int'),
    "unknown choice": ({"dtype": "int8"}, "Choose from"),
    "no share": ({"share": 0}, "--share is 0.0; give a share above 0"),
    "all left out": ({"p": 1}, "--p is 1.0; give a share from 0 to below 1"),
    "no seed": ({"seeds": 0}, "--seeds is 0; give at least 1"),
    "no margin": ({"margin": 1}, "--margin is 1.0; give a ratio above 1"),
    "too few draws": ({"permutations": 5}, "give at least 19"),
    "no memory": ({"memory": 0}, "--memory is 0.0; give at least"),
    "no step": ({"max_steps": 0}, "--max-steps is 0: it must be at least 1"),
    "adapter": ({"adapter": "a"}, "merge this one into its model"),
    "float16": ({"dtype": "float16"}, "use float32 or bfloat16"),
}


@pytest.mark.parametrize("mistake", USAGE)
def test_words_that_cannot_be_meant(mistake, data, tmp_path, capsys):
    changes, expected = USAGE[mistake]
    out = tmp_path / "out"
    complain(capsys, study("no/model/yet", data, out, **changes), expected, code=2)
    assert not out.exists()


def test_no_words(capsys):
    complain(capsys, ["drift"], "--model is missing, or has no value; give", code=2)


def test_names_are_shown_as_they_are(capsys, tmp_path):
    file = tmp_path / "a:books:.csv"
    words = ["score", "--model=m", f"--data={file}"]
    complain(capsys, words, "a:books:.csv: there is no such file")


def test_an_unknown_command(capsys):
    complain(capsys, ["drfit"], 'Unknown command "drfit"', code=2)


def bad_rows(folder, rows):
    return write_rows(folder / "bad.jsonl", rows)


ROWS = {
    "wrong columns": ([{"colour": "red"}], "colour"),
    "empty data": ([], "it holds no rows"),
    "empty response": ([{"prompt": ASK, "response": " "}], "its response is empty"),
    "no response": ([{"prompt": ASK}], "has no response"),
    "all masked": (
        [{"input_ids": [5, 6, 7], "labels": [-100, -100, -100]}],
        "none of its 3 tokens counts",
    ),
    "foreign ids": (
        [{"input_ids": [5, 6, 70000], "labels": [5, 6, 70000]}],
        "lies outside the vocabulary",
    ),
    "prompt longer than the context": (
        [{"prompt": "long " * 200, "response": ANSWER}],
        "128",
    ),
}


@pytest.mark.parametrize("role", ["behaviour", "tune_on", "held_out"])
@pytest.mark.parametrize("fault", ROWS)
def test_rows_that_cannot_be_used(fault, role, model, data, tmp_path, capsys):
    rows, expected = ROWS[fault]
    out = tmp_path / "out"
    words = study(model, data, out, **{role: bad_rows(tmp_path, rows)})
    complain(capsys, words, expected)
    assert not out.exists()


def test_a_prompt_to_refuse_that_is_too_long(model, data, tmp_path, capsys):
    asked = bad_rows(tmp_path, [{"prompt": "long " * 200}])
    words = study(model, data, tmp_path / "out", refusal_prompts=asked)
    complain(capsys, words, "128")


@pytest.mark.parametrize("role", ["behaviour", "utility", "tune_on", "held_out"])
def test_a_missing_file(role, data, tmp_path, capsys):
    words = study("no/model/yet", data, tmp_path / "out", **{role: "no.jsonl"})
    complain(capsys, words, "no.jsonl: there is no such file")


def test_two_held_out_sets_of_one_name(model, data, tmp_path, capsys):
    other = tmp_path / "other"
    other.mkdir()
    shutil.copy(data["utility"], other)
    words = study(model, data, tmp_path / "out", held_out=data["utility"])
    complain(
        capsys,
        [*words, f"--held-out={other / 'utility.jsonl'}"],
        "are called 'utility'",
    )


def without_weights(folder):
    (folder / "model.safetensors").unlink()


def with_nan(folder):
    file = folder / "model.safetensors"
    weights = load_file(file)
    weights["model.layers.1.mlp.up_proj.weight"][3, 3] = float("nan")
    save_file(weights, file, metadata={"format": "pt"})


def cut_short(folder):
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def of_no_family(folder):
    config = json.loads((folder / "config.json").read_text())
    config["model_type"] = "holograph"
    (folder / "config.json").write_text(json.dumps(config))


def with_strange_layout(folder):
    from transformers import MambaConfig, MambaForCausalLM

    config = MambaConfig(
        vocab_size=400, hidden_size=16, num_hidden_layers=1, state_size=4
    )
    MambaForCausalLM(config).save_pretrained(folder)


def without_tokenizer(folder):
    for file in folder.glob("tokenizer*"):
        file.unlink()


MODELS = {
    without_weights: "holds no safetensors weights",
    with_nan: "model.layers.1.mlp.up_proj.weight holds NaN",
    cut_short: "not a whole safetensors file",
    of_no_family: "cannot be loaded as a causal language model",
    with_strange_layout: "add-a-model-family",
    without_tokenizer: "holds no tokenizer",
}


@pytest.mark.parametrize("break_it", MODELS, ids=lambda b: b.__name__)
def test_models_that_cannot_be_used(break_it, model, data, tmp_path, capsys):
    broken = tmp_path / "broken"
    shutil.copytree(model, broken)
    break_it(broken)
    out = tmp_path / "out"
    complain(capsys, study(broken, data, out), MODELS[break_it])
    assert not out.exists()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("./nowhere", "there is no such folder; check the path"),
        ("someone/somewhere", "the hub cannot be reached"),
    ],
)
def test_a_model_out_of_reach(name, expected, data, tmp_path, capsys):
    complain(capsys, study(name, data, tmp_path / "out"), expected)


def test_a_data_set_out_of_reach(model, data, tmp_path, capsys):
    words = study(model, data, tmp_path / "out", utility="someone/somewhere")
    complain(capsys, words, "the hub cannot be reached")


@pytest.mark.skipif(torch.cuda.is_available(), reason="wants a machine without a GPU")
def test_a_device_that_is_not_there(model, data, tmp_path, capsys):
    words = study(model, data, tmp_path / "out", device="cuda")
    complain(capsys, words, "device cuda is not there")


def test_parts_that_no_adapter_can_tune(model, data, tmp_path, capsys):
    out = tmp_path / "out"
    words = study(model, data, out, lora_parts="router")
    complain(capsys, words, "Choose from", code=2)
    assert not out.exists()


def save_adapter(base, folder):
    loaded = load_model(ModelSource(model=str(base))).model
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        wrapped = get_peft_model(loaded, LoraConfig(r=2, target_modules=["q_proj"]))
    wrapped.save_pretrained(folder)
    return folder


def score(model, data, out, *more):
    return ["score", f"--model={model}", f"--data={data}", f"--out={out}", *more]


def test_an_adapter_of_another_model(model, data, tmp_path, capsys):
    other = save_tiny_model(tmp_path / "other", hidden=32)
    adapter = save_adapter(other, tmp_path / "adapter")
    words = score(model, data["utility"], tmp_path / "out", f"--adapter={adapter}")
    complain(capsys, words, "the adapter was made for")
    assert not (tmp_path / "out").exists()


def test_a_checkpoint_folder_without_adapters(model, data, tmp_path, capsys):
    empty = tmp_path / "empty"
    empty.mkdir()
    words = score(model, data["utility"], tmp_path / "out", f"--adapter={empty}")
    complain(capsys, words, "there is no adapter (adapter_config.json is missing)")


def test_a_group_of_another_model(model, data, tmp_path):
    """Steps read groups through `load_groups`, which knows the model at hand."""
    out = tmp_path / "run"
    assert main([*study(model, data, out), "--until=groups"]) == 0
    own, other = (
        load_model(ModelSource(model=str(folder)))
        for folder in (model, save_tiny_model(tmp_path / "other", seed=1))
    )
    with RunDir.reopen(out) as run:
        step = run.require("groups")
        groups = load_groups(Study(run=run, loaded=own, seed=0), step)
        assert groups[0].name == "difference"
        foreign = replace(groups[0].origin, base_sha256=other.identity.base_sha256)
        save_group(
            step.path("groups/random.safetensors"),
            replace(groups[-1], origin=foreign),
        )
        with pytest.raises(DataError, match="'random' was chosen on another model"):
            load_groups(Study(run=run, loaded=own, seed=0), step)


def test_a_folder_of_something_else_is_left_alone(model, data, tmp_path, capsys):
    out = tmp_path / "thesis"
    out.mkdir()
    (out / "thesis.tex").write_text("precious")
    complain(capsys, study(model, data, out), "thesis.tex")
    assert [p.name for p in out.iterdir()] == ["thesis.tex"]


def test_a_run_of_other_settings_is_left_alone(model, data, tmp_path, capsys):
    out = tmp_path / "out"
    words = score(model, data["utility"], out, "--num-samples=2")
    assert main(words) == 0
    before = (out / "run.yaml").read_bytes()
    capsys.readouterr()
    complain(capsys, [*words, "--seed=5"], "seed 0 (now 5)")
    complain(capsys, study(model, data, out), "holds a run of `score`, not `drift`")
    assert (out / "run.yaml").read_bytes() == before


def test_a_report_of_nothing(model, data, tmp_path, capsys):
    complain(capsys, ["report", tmp_path / "no"], "there is no such file")
    assert main(score(model, data["utility"], tmp_path / "s", "--num-samples=2")) == 0
    capsys.readouterr()
    complain(
        capsys,
        ["report", tmp_path / "s"],
        "holds a run of `score`, which has no report",
    )


def test_an_interruption_leaves_no_half_made_run(
    model, data, tmp_path, capsys, monkeypatch
):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    out = tmp_path / "out"
    monkeypatch.setattr("driftmap.recipes.steps.scoring.files.score_step", interrupt)
    assert main(score(model, data["utility"], out)) == 130
    assert capsys.readouterr().err.endswith(
        "interrupted; the same command goes on from here\n"
    )
    assert not out.exists()


def test_a_defect_says_how_to_see_it(model, data, tmp_path, capsys, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("a\nb")

    monkeypatch.setattr("driftmap.recipes.steps.scoring.files.score_step", fail)
    words = score(model, data["utility"], tmp_path / "out")
    assert main(words) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == (
        "error: RuntimeError: a b (this should not happen; `--debug` shows where)"
    )
    assert main([*words, "--debug"]) == 1
    assert "Traceback" in capsys.readouterr().err


def command(words, **changes):
    """The real command in a process of its own."""
    return subprocess.run(
        [str(Path(sys.executable).with_name("driftmap")), *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        **changes,
    )


def test_the_command_itself_ends_in_one_sentence(data, tmp_path):
    done = command(study("no/model/yet", data, tmp_path / "out", utility="no.csv"))
    assert done.stdout == ""
    assert_one_sentence(done.stderr, done.returncode, "no.csv: there is no", 1)
    done = command(["drift", "--colour"])
    assert_one_sentence(done.stderr, done.returncode, "driftmap drift --help", 2)


@pytest.mark.slow
@pytest.mark.parametrize("most_bytes", [200, 5_000])
def test_a_full_disk(most_bytes, model, data, tmp_path):
    """The system lets no file grow beyond a size, as a full disk would."""

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes))

    out = tmp_path / "out"
    words = score(model, data["utility"], out, "--num-samples=2", "--keep")
    done = command(words, preexec_fn=limit)
    assert_one_sentence(done.stderr, done.returncode, "free some space", 1)
    assert not out.exists()
    done = command(words)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("phase", "most_bytes"), [("tune", 20_000), ("report", 60_000)]
)
def test_a_disk_that_fills_up_later(phase, most_bytes, model, data, tmp_path):
    """Groups, then adapters, are there already; what is finished stays finished."""

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes))

    out = tmp_path / "out"
    words = study(model, data, out)
    before = {"tune": "groups", "report": "tune"}[phase]
    assert main([*words, f"--until={before}"]) == 0
    finished = {path.name for path in (out / "steps").iterdir()}
    done = command([*words, f"--until={phase}"], preexec_fn=limit)
    assert_one_sentence(done.stderr, done.returncode, "free some space", 1)
    assert finished <= {path.name for path in (out / "steps").iterdir()}
    assert not (out / "report.html").exists()
    assert main([*words, f"--until={phase}"]) == 0


def test_an_error_names_its_entry_of_the_troubleshooting_page(
    model, data, tmp_path, capsys, monkeypatch
):
    def fail(*_, **__):
        raise StoreError("x: it is full; empty it", topic="disk")

    monkeypatch.setattr("driftmap.recipes.steps.scoring.files.score_step", fail)
    words = score(model, data["utility"], tmp_path / "out")
    complain(capsys, words, "it; see docs/how-to/troubleshooting.md#disk")
