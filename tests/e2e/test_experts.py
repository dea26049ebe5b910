"""One command finds experts, tunes them alone, and says whether to believe it."""

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from driftmap.cli.main import main

pytestmark = pytest.mark.slow

NUM_HELD_OUT = 32


@pytest.fixture(scope="module")
def words(moe_organism, tmp_path_factory):
    """A short study of the built-in model: fewer items, two rounds."""
    folder = tmp_path_factory.mktemp("experts")
    data = moe_organism.data
    held_out = folder / "held_out.json"
    held_out.write_text(
        json.dumps(json.loads(data["unsafe_test"].read_text())[:NUM_HELD_OUT])
    )
    benign = folder / "benign.jsonl"
    lines = data["benign"].read_text().splitlines()[::4]
    benign.write_text("\n".join(lines))
    return [
        "experts",
        "--model", str(moe_organism.model), "--device", "cpu",
        "--dataset_path", str(data["unsafe"]), "--held-out", str(held_out),
        "--benign", str(benign), "--num-samples", "64",
        "--safe-response", "dataset", "--identify", "gradient,routing",
        "--texts", "same", "--top-k-experts", "8", "--rounds", "2",
        "--expert-lr", "2e-3", "--router-lr", "1e-3", "--num-bootstrap", "50",
        "--ablation-draws", "2", "--max-new-tokens", "6",
        "--out", str(folder / "run"),
    ]  # fmt: skip


@pytest.fixture(scope="module")
def run(words):
    assert main(words) == 0
    return Path(words[-1])


def outcomes(run, name):
    told = json.loads((run / "outcomes" / f"{name}.json").read_text())["outcomes"]
    return {outcome: values["models"][0] for outcome, values in told.items()}


def mean(values):
    return sum(values) / len(values)


def test_tuned_experts_refuse_what_the_model_answered(run):
    base, tuned = outcomes(run, "base"), outcomes(run, "gradient")
    drawn = outcomes(run, "gradient-random-1")
    assert mean(base["refused"]) < 0.2
    assert mean(tuned["refused"]) > 0.7
    assert mean(tuned["refusal_log_odds"]) > mean(drawn["refusal_log_odds"]) + 1
    assert mean(tuned["benign_nats"]) < mean(base["benign_nats"]) + 0.2


def test_nothing_but_chosen_experts_and_routers_differs(run, moe_organism):
    home = run / "gradient" / "checkpoints"
    before = AutoModelForCausalLM.from_pretrained(moe_organism.model).state_dict()
    after = AutoModelForCausalLM.from_pretrained(home / "final_model").state_dict()
    told = json.loads((run / "gradient" / "training_metadata.json").read_text())
    rounds = told["identified_experts_per_round"].values()
    union = {tuple(place) for one in rounds for place in one["experts"]}
    for name, values in before.items():
        if ".experts." in name:
            layer = int(name.split(".layers.")[1].split(".")[0])
            for expert in range(len(values)):
                same = torch.equal(values[expert], after[name][expert])
                assert same == ((layer, expert) not in union), (name, expert)
        elif not name.endswith("mlp.gate.weight"):
            assert torch.equal(values, after[name]), name


def test_metadata_has_the_keys_of_published_runs(run):
    told = json.loads((run / "routing" / "training_metadata.json").read_text())
    assert told["training_strategy"] == "alternating_optimization"
    assert told["num_rounds"] == 2
    assert told["top_k_experts"] == 8
    logs = [(one["round"], one["step"]) for one in told["training_logs"]]
    assert logs == [(1, "expert"), (1, "router"), (2, "expert"), (2, "router")]
    assert told["training_logs"][0]["loss"] > 0
    first = told["identified_experts_per_round"]["1"]
    assert len(first["experts"]) == len(first["gradients"]) <= 8


def test_slices_are_put_in_and_taken_out_again(run, moe_organism, tmp_path):
    home = run / "gradient" / "checkpoints"
    applied, reverted = tmp_path / "applied", tmp_path / "reverted"
    model = str(moe_organism.model)
    slices = str(home / "round_2")
    assert (
        main(["slices", "apply", slices, "--model", model, "--out", str(applied)]) == 0
    )
    final = (home / "final_model" / "model.safetensors").read_bytes()
    assert (applied / "model.safetensors").read_bytes() == final
    base = str(home / "base_slices.safetensors")
    taken_out = ["slices", "revert", base, "--model", str(applied)]
    assert main([*taken_out, "--out", str(reverted)]) == 0
    untouched = (moe_organism.model / "model.safetensors").read_bytes()
    assert (reverted / "model.safetensors").read_bytes() == untouched


def test_the_report_shows_no_word_of_an_item(run, moe_organism):
    html = (run / "report.html").read_text()
    text = (run / "report.txt").read_text()
    for item in json.loads(moe_organism.data["unsafe"].read_text())[:64]:
        assert item["goal"] not in html
        assert item["all_prompt"][-1]["content"] not in html
    assert "8 of 64" in text or "8 experts of 64" in text


def test_a_round_that_was_lost_comes_back_bit_for_bit(run, words, capsys):
    slices = run / "gradient" / "checkpoints" / "round_2" / "expert_slices.safetensors"
    before = slices.read_bytes()
    slices.write_bytes(before[:-1])
    assert main(words) == 0
    assert slices.read_bytes() == before
    said = capsys.readouterr().err
    assert "gradient.tune.2" in said
    assert "gradient.tune.1" not in said


def test_experts_are_ranked_by_what_they_hold_back(words, tmp_path, capsys):
    others = dict(zip(words[1::2], words[2::2], strict=True))
    others |= {"--identify": "effect", "--num-samples": "16", "--rounds": "1"}
    others |= {"--ablation-draws": "1", "--out": str(tmp_path / "run")}
    short = [word for pair in others.items() for word in pair]
    assert main(["experts", *short, "--identify-only"]) == 0
    text = (tmp_path / "run" / "report.txt").read_text()
    assert "8 of 64 experts were ranked first by effect" in text
    # Without experts that hold it back the model is closer to refusing.
    assert "changes refusal log-odds by +" in " ".join(text.split())
