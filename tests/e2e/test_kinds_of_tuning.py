"""Does a whole study go through, with drift as the adapters on disk say it?"""

import importlib.util
import json

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from driftmap.cli.main import main
from driftmap.families.discover import find_layout
from driftmap.families.matrices import site_weight
from driftmap.families.quantised import four_bit
from driftmap.load.adapters import read_adapter
from driftmap.load.attach import attach_adapter
from driftmap.measure.drift import dense_change
from driftmap.recipes.steps import pages
from driftmap.store.groups import load_group
from driftmap.store.tables import load_table
from four_bit import WIDTH, needs_bitsandbytes
from tiny_studies import save_tiny_data, save_tiny_model, study_words

SEEDS = ("seed-0", "seed-1")
PLACE = ("seed", "step", "layer", "part", "path", "group", "unit", "metric")

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch):
    """Drawing takes most of the time of a study this small."""
    monkeypatch.setattr(pages, "save_pictures", lambda figures, folder: None)


def study(folder, *more, hidden=16):
    """Run a study; its model's folder and its own."""
    model = save_tiny_model(folder / "model", hidden=hidden)
    words = study_words(model, save_tiny_data(folder), folder / "run")
    assert main([*words, *more]) == 0
    return model, folder / "run"


def assert_again(folder, run, *more):
    """The run's own checkpoints, given back, give its numbers to the last bit."""
    words = study_words(folder / "model", save_tiny_data(folder), folder / "again")
    given = [f"--checkpoints={run / 'checkpoints' / seed}" for seed in SEEDS]
    assert main([*words, *given, *more]) == 0
    first, again = (
        {
            tuple(row[name] for name in PLACE): row
            for row in load_table(folder / "tables/drift.parquet").rows()
            if row["step"] in (2, 4)
        }
        for folder in (run, folder / "again")
    )
    assert first.keys() == again.keys()
    for place, row in first.items():
        np.testing.assert_equal(again[place], row)
    read = [
        json.loads((folder / "statistics.json").read_text())
        for folder in (run, folder / "again")
    ]
    assert read[0]["ratios"] == read[1]["ratios"]
    assert read[0]["behaviours"] == read[1]["behaviours"]


def pooled_change(run, model, step, group):
    """Mean |dW| over the members of a group, from an adapter on disk."""

    def folder(number):
        return run / f"checkpoints/seed-0/step-{number:06d}"

    sites = find_layout(model).sites
    adapter = read_adapter(folder(step), sites, reference=folder(0))
    members = load_group(run / f"groups/{group}.safetensors").members
    moved = []
    for site, change in adapter.factors.items():
        weight = site_weight(model, site)
        dense = dense_change(change, weight=weight).abs().reshape(-1)
        if site in members:
            moved.append(dense[torch.from_numpy(members[site].astype(np.int64))])
    return torch.cat(moved).mean().item()


def measured(run, step, group):
    table = load_table(run / "tables/drift.parquet").where(
        seed=0, step=step, group=group, unit="weight", metric="absolute", layer=-1
    )
    return table["mean"].item()


def test_every_parameter(tmp_path):
    model, run = study(tmp_path, "--tune=full", "--merged", "--export-json")
    before = AutoModelForCausalLM.from_pretrained(model)
    sites = find_layout(before).sites
    for step in (2, 4):
        after = AutoModelForCausalLM.from_pretrained(
            run / f"checkpoints/seed-0/step-{step:06d}"
        )
        members = load_group(run / "groups/top.safetensors").members
        moved = [
            (site_weight(after, site).double() - site_weight(before, site).double())
            .abs()
            .reshape(-1)[torch.from_numpy(members[site].astype(np.int64))]
            for site in sites
        ]
        expected = torch.cat(moved).mean().item()
        assert measured(run, step, "top") == pytest.approx(expected, rel=1e-9)
    merged = AutoModelForCausalLM.from_pretrained(run / "merged/seed-0")
    for name, weight in merged.state_dict().items():
        assert torch.equal(weight, after.state_dict()[name]), name
    assert (run / "json/seed-0/drift_step_000004.json").is_file()
    report = " ".join((run / "report.txt").read_text().split())
    assert "Every parameter is trained, in float32, under several seeds." in report
    assert "14 of 14 tuned matrices were saved whole" in report
    assert "LoRA" not in report
    assert_again(tmp_path, run)


def test_rank_scaled_dora_with_patterns(tmp_path):
    model, run = study(
        tmp_path,
        "--rslora",
        "--dora",
        *("--rank-pattern=q_proj=2", "--rank-pattern=up_proj=3"),
        *("--alpha-pattern=q_proj=4", "--merged"),
        *("--target-modules=q_proj", "--target-modules=up_proj"),
    )
    plain = AutoModelForCausalLM.from_pretrained(model)
    config = json.loads(
        (run / "checkpoints/seed-0/step-000004/adapter_config.json").read_text()
    )
    assert config["use_rslora"]
    assert config["use_dora"]
    for step in (2, 4):
        found, expected = (
            measured(run, step, "top"),
            pooled_change(run, plain, step, "top"),
        )
        assert found == pytest.approx(expected, rel=1e-9)
        assert found > 0
    worn = AutoModelForCausalLM.from_pretrained(model)
    ids = AutoTokenizer.from_pretrained(model)("a lock", return_tensors="pt").input_ids
    merged = AutoModelForCausalLM.from_pretrained(run / "merged/seed-0")
    worn = attach_adapter(
        worn,
        run / "checkpoints/seed-0/step-000004",
        base_name=str(model),
        base_sha256="",
    )
    assert torch.allclose(merged(ids).logits, worn(ids).logits, atol=1e-4)
    assert not torch.allclose(merged(ids).logits, plain(ids).logits, atol=1e-2)
    report = " ".join((run / "report.txt").read_text().split())
    assert "A rank-scaled LoRA adapter, with DoRA for the lengths of the rows" in report
    assert "It sits on `q_proj`, `up_proj` alone." in report
    assert "4 of 4 tuned matrices have DoRA" in report
    assert_again(tmp_path, run)


@needs_bitsandbytes
def test_four_bit_base(tmp_path, capsys):
    model, run = study(tmp_path, "--tune=qlora", "--merged", hidden=WIDTH)
    assert "rounded to 4 bits (nf4)" in capsys.readouterr().err
    rounded = AutoModelForCausalLM.from_pretrained(model)
    with four_bit(rounded):
        for step in (2, 4):
            expected = pooled_change(run, rounded, step, "top")
            assert measured(run, step, "top") == pytest.approx(expected, rel=1e-9)
        worn = attach_adapter(
            rounded,
            run / "checkpoints/seed-0/step-000004",
            base_name=str(model),
            base_sha256="",
        )
        tokenizer = AutoTokenizer.from_pretrained(model)
        ids = tokenizer("a lock", return_tensors="pt").input_ids
        merged = AutoModelForCausalLM.from_pretrained(run / "merged/seed-0")
        assert torch.allclose(merged(ids).logits, worn(ids).logits, atol=1e-4)
    provenance = json.loads((run / "provenance.json").read_text())
    dtypes = [environment["dtype"] for environment in provenance["environments"]]
    assert dtypes == ["float32", "float32, blocks in nf4"]
    statistics = json.loads((run / "statistics.json").read_text())
    assert "quantised-base" in json.dumps(statistics)
    report = " ".join((run / "report.txt").read_text().split())
    assert "The weights under the adapter are rounded to 4 bits (nf4)." in report
    assert "trained under several seeds, on weights rounded to 4 bits." in report
    assert_again(tmp_path, run, "--tune=qlora")


def test_missing_bitsandbytes_is_one_sentence(tmp_path, capsys, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *more: None if name == "bitsandbytes" else found(name, *more),
    )
    model = save_tiny_model(tmp_path / "model")
    words = study_words(model, save_tiny_data(tmp_path), tmp_path / "run")
    assert main([*words, "--tune=qlora"]) == 2
    assert (
        "--tune qlora needs bitsandbytes, which is not installed: "
        "`pip install 'driftmap[qlora]'`" in " ".join(capsys.readouterr().err.split())
    )
    assert not (tmp_path / "run").exists()
