"""Do tuned experts go into models and out of them by command?"""

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from driftmap.cli.main import main
from driftmap.families.experts import find_experts
from driftmap.load.identity import weights_sha256
from driftmap.results.expert_tuning import ModelSlices
from driftmap.store.expert_slices import save_slices
from driftmap.tune.slices import take_experts, take_routers
from tiny_experts import tiny_moe


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A model, and two rounds of a run that moved two of its experts and routers."""
    folder = tmp_path_factory.mktemp("run")
    model = tiny_moe("olmoe")
    model.save_pretrained(folder / "base")
    sha256 = weights_sha256(folder / "base")
    banks = find_experts(model)
    experts = [banks[0].experts[1], banks[1].experts[4]]

    def keep(name, slices):
        whole = ModelSlices(model="tiny", model_sha256=sha256, slices=slices)
        save_slices(folder / f"{name}.safetensors", whole)

    keep(
        "base_slices", take_experts(model, banks, experts) + take_routers(model, banks)
    )
    for number in (1, 2):
        with torch.no_grad():
            model.model.layers[0].mlp.experts.down_proj[1] *= 2
            model.model.layers[1].mlp.gate.weight += 0.25
        keep(f"round_{number}/expert_slices", take_experts(model, banks, experts))
        keep(f"round_{number}/router", take_routers(model, banks))
    keep("one", take_experts(model, banks, experts[:1]))
    keep("other", take_experts(model, banks, [banks[0].experts[2]]))
    model.save_pretrained(folder / "tuned")
    return folder


def words(run, tmp_path, action, *parts, model="base"):
    named = [str(run / part) for part in parts]
    where = ["--model", str(run / model), "--out", str(tmp_path / "out")]
    return ["slices", action, *named, *where]


def test_a_round_is_applied_and_reverted_bit_for_bit(run, tmp_path, capsys):
    assert main(words(run, tmp_path, "apply", "round_2")) == 0
    assert str(tmp_path / "out") in capsys.readouterr().out
    made = AutoModelForCausalLM.from_pretrained(tmp_path / "out").state_dict()
    tuned = AutoModelForCausalLM.from_pretrained(run / "tuned").state_dict()
    assert all(torch.equal(tensor, tuned[name]) for name, tensor in made.items())

    again = ["--model", str(tmp_path / "out"), "--out", str(tmp_path / "again")]
    path = str(run / "base_slices.safetensors")
    assert main(["slices", "revert", path, *again]) == 0
    file = "model.safetensors"
    assert (tmp_path / "again" / file).read_bytes() == (
        (run / "base" / file).read_bytes()
    )


def test_checkpoints_come_together_unless_they_overlap(run, tmp_path, capsys):
    parts = "one.safetensors", "other.safetensors", "round_2/router.safetensors"
    assert main(words(run, tmp_path, "merge", *parts)) == 0
    made = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    tuned = AutoModelForCausalLM.from_pretrained(run / "tuned")
    assert torch.equal(
        made.model.layers[1].mlp.gate.weight, tuned.model.layers[1].mlp.gate.weight
    )
    assert torch.equal(
        made.model.layers[0].mlp.experts.down_proj,
        tuned.model.layers[0].mlp.experts.down_proj,
    )
    assert main(words(run, tmp_path / "x", "merge", "one.safetensors", "round_1")) == 1
    assert "holds model.layers.0.mlp.experts#expert.1, and so does" in _error(capsys)
    assert main(words(run, tmp_path / "x", "merge", "one.safetensors")) == 2
    assert "name two or more" in _error(capsys)


def test_what_changed_is_listed_with_the_largest_first(run, capsys):
    paths = [str(run / name) for name in ("base_slices.safetensors", "round_1")]
    assert main(["slices", "diff", *paths, "--num-rows", "1"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("4 in both, 2 of them differ; 0 only in ")
    row = out.splitlines()[2].split()
    router = AutoModelForCausalLM.from_pretrained(run / "base").model.layers[1].mlp.gate
    weight = router.weight.detach().numpy().astype(np.float64)
    expected = 0.25 * np.sqrt(weight.size) / np.linalg.norm(weight)
    assert float(row[0]) == pytest.approx(expected, rel=1e-2)
    assert row[1:] == ["2.5e-01", "100.0%", "model.layers.1.mlp.gate"]
    assert "and 3 more; see them with --num-rows" in out


def test_slices_go_onto_their_own_model_alone(run, tmp_path, capsys):
    assert main(words(run, tmp_path, "apply", "round_1", model="tuned")) == 1
    assert "give that model as --model, untouched" in _error(capsys)
    reverted = words(run, tmp_path, "revert", "one.safetensors", model="tuned")
    assert main(reverted) == 1
    assert "are not those of tiny" in _error(capsys)
    assert not (tmp_path / "out").exists()
    assert main(words(run, tmp_path, "apply", "nowhere")) == 1
    assert "there is no such file" in _error(capsys)
    tiny_moe("mixtral").save_pretrained(tmp_path / "mixtral")
    other = ["slices", "apply", str(run / "round_1"), "--out", str(tmp_path / "out")]
    assert main([*other, "--model", str(tmp_path / "mixtral")]) == 1
    assert "are not those that" in _error(capsys)


def _error(capsys):
    return " ".join(capsys.readouterr().err.replace("│", " ").split())
