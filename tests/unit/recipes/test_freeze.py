"""Does `driftmap freeze` do what it says, from words to report?"""

import json

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from driftmap.cli.main import main
from driftmap.core.errors import DataError
from driftmap.families.matrices import effective_weight, site_weight
from driftmap.load.model import load_model
from driftmap.load.source import ModelSource
from driftmap.recipes.freezing_options import (
    ComparingOptions,
    FreezePlan,
    FreezingOptions,
)
from driftmap.recipes.options import (
    EvaluationOptions,
    GroupOptions,
    ScoringOptions,
)
from driftmap.recipes.steps.bench import Study
from driftmap.recipes.steps.freezing.parts import control_step
from driftmap.recipes.steps.tuning.checkpoints import tuned_model
from driftmap.store.groups import load_group
from driftmap.store.run_dir import RunDir
from driftmap.store.tables import load_table
from driftmap.tune.settings import TuningSettings
from tiny_studies import save_tiny_data, save_tiny_model, write_rows

ARMS = ["free-seed-0", "group-1-seed-0", "matched-1-seed-0"]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    home = tmp_path_factory.mktemp("freeze")
    return save_tiny_model(home / "model"), save_tiny_data(home)


def words(home, out, **changes):
    model, data = home
    options = {
        "model": model,
        "behaviour": data["behaviour"],
        "utility": data["utility"],
        "tune-on": data["tune"],
        "device": "cpu",
        "num-samples": 6,
        "share": 0.02,
        "max-steps": 2,
        "batch-size": 2,
        "grad-accum": 1,
        "learning-rate": 0.01,
        "lora-dropout": 0.0,
        "num-eval-samples": 3,
        "max-new-tokens": 2,
        "seeds": 1,
        "shares": 1.0,
        "out": out,
    }
    options |= {name.replace("_", "-"): value for name, value in changes.items()}
    return [
        "freeze",
        *(f"--{name}={value}" for name, value in options.items() if value is not None),
    ]


@pytest.fixture(scope="module")
def run(home, tmp_path_factory):
    out = tmp_path_factory.mktemp("frozen") / "run"
    assert main(words(home, out)) == 0
    return out


@pytest.fixture(scope="module")
def loaded(home):
    return load_model(ModelSource(model=str(home[0]), device="cpu"))


def tuned_weights(loaded, run, label):
    """W + dW of every matrix after a training run."""
    with tuned_model(loaded, run / "checkpoints" / label) as model:
        return {s: effective_weight(model, s) for s in loaded.layout.sites}


def test_frozen_weights_do_not_move_and_all_others_do(loaded, run):
    frozen = {
        "group-1-seed-0": load_group(run / "groups/difference.safetensors"),
        "matched-1-seed-0": load_group(run / "groups/controls/seed-0.safetensors"),
    }
    for label, group in frozen.items():
        found = tuned_weights(loaded, run, label)
        for site, after in found.items():
            before = site_weight(loaded.model, site)
            held = torch.zeros(site.num_weights, dtype=torch.bool)
            held[torch.from_numpy(group.at(site))] = True
            held = held.reshape(site.shape)
            assert torch.equal(after[held], before[held])
            assert (after[~held] != before[~held]).float().mean() > 0.99


def test_runs_of_one_seed_differ_in_what_is_frozen_alone(loaded, run):
    free = tuned_weights(loaded, run, "free-seed-0")
    group = load_group(run / "groups/difference.safetensors")
    moved = {
        site: free[site] - site_weight(loaded.model, site)
        for site in loaded.layout.sites
    }
    assert any(moved[s].view(-1)[torch.from_numpy(group.at(s))].any() for s in moved)
    losses = [load_table(run / f"tables/losses/{label}.parquet") for label in ARMS]
    first = [table["loss_nats"][0] for table in losses]
    assert first[0] == pytest.approx(first[1], rel=1e-6)
    assert first[0] == pytest.approx(first[2], rel=1e-6)


def test_what_was_frozen_is_counted(run):
    group = load_group(run / "groups/difference.safetensors")
    (row,) = load_table(run / "tables/frozen/group-1-seed-0.parquet").rows()
    assert row["num_frozen"] == row["num_mobile"] == group.num_weights
    assert row["num_blocked"] == 0
    (row,) = load_table(run / "tables/frozen/free-seed-0.parquet").rows()
    assert (row["num_frozen"], row["num_mobile"]) == (0, 0)


def test_the_group_chosen_again_is_that_of_the_tuned_model(home, loaded, run, tmp_path):
    """A model saved with the change in it gives the same group by `driftmap drift`."""
    model, data = home
    tuned = AutoModelForCausalLM.from_pretrained(model)
    with torch.no_grad():
        for site, weight in tuned_weights(loaded, run, ARMS[1]).items():
            tuned.get_submodule(site.path).weight.copy_(weight)
    tuned.save_pretrained(tmp_path / "tuned")
    loaded.tokenizer.save_pretrained(tmp_path / "tuned")
    options = {
        "model": tmp_path / "tuned", "behaviour": data["behaviour"],
        "utility": data["utility"], "tune-on": data["tune"], "device": "cpu",
        "num-samples": 6, "share": 0.02, "until": "groups", "out": tmp_path / "run",
    }  # fmt: skip
    assert main(["drift", *(f"--{n}={value}" for n, value in options.items())]) == 0
    expected = load_group(tmp_path / "run/groups/difference.safetensors")
    found = load_group(run / f"groups/after/{ARMS[1]}.safetensors")
    assert found.members.keys() == expected.members.keys()
    for site, index in expected.members.items():
        assert np.array_equal(found.members[site], index)
    before = load_group(run / "groups/difference.safetensors")
    assert any(
        not np.array_equal(before.at(site), index)
        for site, index in found.members.items()
    )


def test_the_model_is_left_as_it_was(home, loaded, run):
    fresh = AutoModelForCausalLM.from_pretrained(home[0]).state_dict()
    assert all(
        torch.equal(loaded.model.state_dict()[name], fresh[name]) for name in fresh
    )


def test_a_repeated_command_does_nothing_again(home, run, capsys):
    before = {file: file.stat().st_mtime_ns for file in run.rglob("*.parquet")}
    assert main(words(home, run)) == 0
    assert "step tune" not in capsys.readouterr().err
    assert before == {file: file.stat().st_mtime_ns for file in before}


def test_only_the_run_that_is_gone_is_tuned_again(home, run, capsys):
    gone = run / "tables/frozen/matched-1-seed-0.parquet"
    read = run / "tables/readings/matched-1-seed-0.parquet"
    before = gone.read_bytes(), read.read_bytes()
    gone.unlink()
    assert main(words(home, run)) == 0
    said = capsys.readouterr().err
    assert "step tune-matched-1-seed-0 ..." in said
    assert said.count("step tune-") == 2  # begun and done
    assert "step read-" not in said
    assert (gone.read_bytes(), read.read_bytes()) == before


def test_the_report_is_drawn_again_from_the_folder_alone(run, capsys):
    page = (run / "report.txt").read_text()
    (run / "report.txt").unlink()
    assert main(["report", str(run)]) == 0
    assert (run / "report.txt").read_text() == page
    assert "[Too few training seeds to tell]" in page
    assert "`difference` of `model`, frozen, each weight alone" in " ".join(
        page.split()
    )


def test_a_saved_recipe_does_the_same(run, capsys):
    assert main(["run", str(run)]) == 0
    assert "step tune" not in capsys.readouterr().err


def test_other_settings_are_refused_in_the_same_folder(home, run, capsys):
    assert main(words(home, run, shares="0.5,1")) == 1
    assert "holds a run with other settings: freezing.shares" in " ".join(
        capsys.readouterr().err.split()
    )


@pytest.mark.slow
def test_rows_block_more_than_the_group_and_a_trial_asks_less(home, tmp_path):
    rows = [{"prompt": f"ask {n}", "response": "no"} for n in range(30)]
    many = write_rows(tmp_path / "many.jsonl", rows)
    done = words(
        home, tmp_path / "run", freeze="top", freeze_by="rows", rescore="none",
        refusal_prompts=many, num_eval_samples=30,
    )  # fmt: skip
    assert main([*done, "--quick"]) == 0
    readings = load_table(tmp_path / "run/tables/readings/free-seed-0.parquet")
    assert len(readings.where(set="requests to refuse")) == 16
    (row,) = load_table(tmp_path / "run/tables/frozen/group-1-seed-0.parquet").rows()
    assert row["num_blocked"] > 3 * row["num_frozen"] > 0
    page = " ".join((tmp_path / "run/report.txt").read_text().split())
    assert "[More is blocked than the group]" in page
    assert "[A trial run] A trial run (`--quick`) does not tell" in page
    assert "No tuned model was scored again" in page
    assert not (tmp_path / "run/groups/after").exists()
    statistics = json.loads((tmp_path / "run/statistics.json").read_text())
    assert statistics["group"]["name"] == "top"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shares": 1.5}, "--shares is 1.5; give shares from 0 to 1"),
        ({"shares": 0}, "--shares holds no share above 0; give one, as 0.5"),
        ({"seeds": 0}, "--seeds is 0; give at least 1"),
        ({"margin": 1.0}, "--margin is 1; give a difference between 0 and 1"),
        ({"p_grid": 0.05}, "--p-grid makes a table of other groups"),
        (
            {"tune": "full", "lora_dropout": None, "freeze_by": "rows"},
            "--freeze-by rows masks the factors of an adapter",
        ),
        ({"dora": "true"}, "--freeze-by element does not hold under --dora"),
        (
            {"tune": "qlora", "dora": "true", "freeze_by": "rows"},
            "--dora on weights of 4 bits leaves no weight that could be scored again",
        ),
        ({"behaviour": None}, "--behaviour"),
        ({"score": "magnitude"}, "use --p 0, and `difference` is the top --q"),
    ],
)
def test_what_cannot_work_is_refused_in_a_sentence(
    home, tmp_path, changes, message, capsys
):
    assert main(words(home, tmp_path / "run", **changes)) == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "run").exists()


def test_a_group_that_cannot_move_is_refused(loaded, run):
    plan = FreezePlan(
        scoring=ScoringOptions(),
        groups=GroupOptions(),
        freezing=FreezingOptions(),
        tuning=TuningSettings(),
        evaluation=EvaluationOptions(),
        comparing=ComparingOptions(),
        is_trial=False,
    )
    with RunDir.reopen(run) as folder:
        study = Study(run=folder, loaded=loaded, seed=0)
        with pytest.raises(
            DataError, match="no weight of `difference` lies in a matrix that is tuned"
        ):
            control_step(study, folder.require("groups"), [], plan)


def test_a_share_below_one_weight_is_refused(home, tmp_path, capsys):
    done = words(home, tmp_path / "run", shares="0.001,1")
    assert main(done) == 1
    said = " ".join(capsys.readouterr().err.split())
    assert "--shares 0.001 of `difference` is less than half a weight in every" in said
