"""Do whole models that were trained elsewhere become what tuning would have left?"""

import json
import re
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from driftmap.core.errors import ModelError, UsageError
from driftmap.families.matrices import site_weight
from driftmap.load.training_runs import find_runs
from driftmap.measure.drift import dense_change, drift_baseline
from driftmap.recipes.options import ElsewhereOptions
from driftmap.recipes.steps.beforehand import found_elsewhere
from driftmap.recipes.steps.inference.cautioning import ChangeCount, read_cautions
from driftmap.recipes.steps.inference.drifting import drift_step
from driftmap.recipes.steps.tuning import whole
from driftmap.recipes.steps.tuning.checkpoints import (
    changes_at,
    nothing_moved,
    tuned_model,
)
from driftmap.recipes.steps.tuning.foreign import checkpoint_step, mobile_sites
from driftmap.recipes.steps.tuning.merging import merge_step
from driftmap.recipes.steps.tuning.training import LiveDrift, checkpoint_folders
from driftmap.results.groups import GroupOrigin, WeightGroup
from driftmap.store.tables import load_table
from driftmap.tune.masked import save_masked_adapter
from driftmap.tune.settings import TuningSettings
from laws.restores import assert_restores_model
from tiny_studies import save_tiny_model
from trained_elsewhere import LEARNT, train


def train_whole(model, folder, *, seed=0, save_at=(2, 4), dtype=torch.float32):
    """Train every weight of the second block, as somebody else would have."""
    torch.manual_seed(seed)
    tuned = AutoModelForCausalLM.from_pretrained(model)
    learnt = [
        weight for name, weight in tuned.named_parameters() if "layers.1." in name
    ]
    optimizer = torch.optim.AdamW(learnt, lr=0.01 * (1 + seed))
    losses = []
    for step in range(1, max(save_at) + 1):
        loss = tuned(input_ids=LEARNT, labels=LEARNT).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        if step in save_at:
            home = folder / f"checkpoint-{step}"
            state = {k: v.detach().to(dtype) for k, v in tuned.state_dict().items()}
            tuned.save_pretrained(home, state_dict=state, max_shard_size="20KB")
            history = [{"step": n, "loss": x} for n, x in enumerate(losses, 1)]
            (home / "trainer_state.json").write_text(
                json.dumps({"global_step": step, "log_history": history})
            )
    return tuned.eval()


@pytest.fixture(scope="module")
def trained(model, tmp_path_factory):
    root = tmp_path_factory.mktemp("whole")
    for seed in (0, 1):
        train_whole(model, root / f"run-{seed}", seed=seed)
    return [root / f"run-{seed}" for seed in (0, 1)]


@pytest.fixture
def said(monkeypatch):
    heard = []
    monkeypatch.setattr(whole, "say", heard.append)
    return heard


def take(study, folders):
    runs = find_runs(folders)
    mobile = mobile_sites(study, runs)
    return mobile, [checkpoint_step(study, run, n) for n, run in enumerate(runs)]


def live(loaded):
    sites = [s for s in loaded.layout.sites if s.part in ("q", "down")]
    origin = GroupOrigin(
        model_sha256=loaded.identity.sha256,
        base_sha256=loaded.identity.base_sha256,
        rule="top",
    )
    members = {site: np.arange(site.num_weights) for site in sites}
    group = WeightGroup(name="all", members=members, origin=origin)
    baseline = drift_baseline([group], partial(site_weight, loaded.model))
    return LiveDrift(groups_key="k" * 64, baseline=lambda: baseline)


def test_models_are_not_copied(study, trained, said):
    mobile, steps = take(study, trained)
    assert {site.layer for site in mobile} == {1}
    assert len(mobile) == 7
    assert list(steps[0].files) == [
        f"checkpoints/seed-0/step-{step:06d}/whole_model.json" for step in (2, 4)
    ] + ["tables/losses/seed-0.parquet"]
    losses = load_table(steps[1].path("tables/losses/seed-1.parquet"))
    assert losses["step"].tolist() == [1, 2, 3, 4]
    assert said == [
        f"{trained[0] / 'checkpoint-4'}: it also tunes "
        "model.layers.1.input_layernorm.weight, "
        "model.layers.1.post_attention_layernorm.weight, which counts in the "
        "behaviour but holds no weight of a group"
    ]
    _, again = take(study, trained)
    assert not any(step.redone for step in again)


def test_drift_is_that_of_the_two_models(study, model, tmp_path, said):
    after = train_whole(model, tmp_path / "a", save_at=(4,))
    _, steps = take(study, [tmp_path / "a"])
    outcome = drift_step(study, steps, live(study.loaded))
    drift = load_table(outcome.path("tables/drift.parquet"))
    assert drift.unique("step") == [0, 4]
    absolute = {"unit": "weight", "metric": "absolute"}
    before = drift.where(step=0, layer=1, **absolute)
    assert before["mean"].tolist() == [0, 0]
    for row in drift.where(step=4, **absolute).rows():
        if row["path"].startswith("model.layers.0"):
            assert row["count"] == 0
            assert row["immobile"] > 0
        elif row["path"]:
            site = next(s for s in study.loaded.layout.sites if s.key == row["path"])
            moved = site_weight(after, site).double()
            moved -= site_weight(study.loaded.model, site).double()
            assert row["mean"] == pytest.approx(moved.abs().mean().item(), rel=1e-9)
            assert row["max"] == pytest.approx(moved.abs().max().item(), rel=1e-9)


def test_the_tuned_model_answers_and_the_base_stays(study, model, tmp_path, said):
    after = train_whole(model, tmp_path / "a", save_at=(4,))
    _, (step,) = take(study, [tmp_path / "a"])
    folder = checkpoint_folders(step, 0)[4]
    with (
        torch.no_grad(),
        assert_restores_model(study.loaded.model),
        tuned_model(study.loaded, folder) as tuned,
    ):
        assert not tuned.training
        assert not any(p.requires_grad for p in tuned.parameters())
        torch.testing.assert_close(
            tuned(input_ids=LEARNT).logits, after(input_ids=LEARNT).logits
        )


def cautions_at(study, steps):
    folders = [checkpoint_folders(step, n) for n, step in enumerate(steps)]
    read = [changes_at(study, of_run, 4) for of_run in folders]
    counted = ChangeCount()
    for of_run in read:
        for site in of_run.by_site:
            moved = of_run.by_site[site].values.abs().numpy()
            counted.add(np.full(moved.shape, 0.5, dtype=np.float32), moved)
    return {caution.name: caution for caution in read_cautions(study, read, counted)}


def test_models_saved_in_16_bits_give_no_verdict(study, model, trained, tmp_path, said):
    _, steps = take(study, trained)
    found = cautions_at(study, steps)
    assert found.keys() == {"whole-models"}
    train_whole(model, tmp_path / "a", save_at=(4,), dtype=torch.bfloat16)
    _, steps = take(study, [tmp_path / "a"])
    found = cautions_at(study, steps)
    assert found["rounded-weights"].is_blocking
    assert "saved in bfloat16" in found["rounded-weights"].sentence
    assert "at the mean |W0| of 0.5" in found["rounded-weights"].sentence
    assert 0 <= found["rounded-weights"].value < 1


def test_dora_counts_from_its_first_step(study, model, tmp_path, said):
    train(model, tmp_path / "a", use_dora=True, save_at=(0, 4))
    train(model, tmp_path / "b", use_dora=True, save_at=(4,), seed=1)
    _, (begun,) = take(study, [tmp_path / "a"])
    folders = checkpoint_folders(begun, 0)
    known = changes_at(study, folders, 4)
    assert (known.num_dora, known.num_open) == (4, 0)
    drift = load_table(
        drift_step(study, [begun], live(study.loaded)).path("tables/drift.parquet")
    ).where(unit="weight", metric="absolute", layer=-1)
    assert drift.where(step=0)["mean"].tolist() == [0.0]
    assert drift.where(step=4)["mean"][0] > 1e-3
    late = changes_at(study, {4: folders[4]}, 4)
    assert (late.num_dora, late.num_open) == (4, 4)
    (caution,) = read_cautions(study, [late], ChangeCount())
    assert caution.name == "dora"


def test_replaced_matrices_of_an_adapter_are_compared_whole(study, model, tmp_path):
    wrapped = train(model, tmp_path / "a", save_at=(4,), modules_to_save=["o_proj"])
    mobile, (step,) = take(study, [tmp_path / "a"])
    assert {site.part for site in mobile} == {"q", "o", "down"}
    read = changes_at(study, checkpoint_folders(step, 0), 4)
    assert list(read.by_site) == list(mobile)
    assert read.num_whole == 2
    for site in mobile:
        if site.part == "o":
            module = wrapped.get_base_model().get_submodule(site.path)
            moved = module.modules_to_save["default"].weight.detach().double()
            moved = moved - site_weight(study.loaded.model, site).double()
            assert torch.equal(read.by_site[site].values, moved)
    still = nothing_moved(read.by_site)
    assert list(still) == list(mobile)
    assert not any(change.up.any() for change in still.values())


def refused(study, folders, words):
    with pytest.raises(ModelError, match=re.escape(words)) as caught:
        take(study, folders)
    assert "\n" not in str(caught.value)
    assert not (study.run.path / "checkpoints").exists()


def test_what_is_no_training_of_this_model_is_refused(
    study, model, trained, tmp_path, said
):
    shutil.copytree(model, tmp_path / "checkpoint-4")
    refused(study, [tmp_path / "checkpoint-4"], "no matrix of its blocks differs from")
    wide = save_tiny_model(tmp_path / "wide", hidden=32)
    refused(study, [wide], "give a checkpoint of this model")
    shutil.copytree(trained[0], tmp_path / "copy")
    refused(study, [trained[0], tmp_path / "copy"], "a copy is no further training run")


def test_runs_move_the_same_matrices(study, model, trained, tmp_path, said):
    folder = tmp_path / "a/checkpoint-4"
    shutil.copytree(model, folder)
    tensors = load_file(folder / "model.safetensors")
    tensors["model.layers.0.mlp.up_proj.weight"] += 1
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    refused(
        study, [trained[0], tmp_path / "a"],
        f"only one of it and {trained[0] / 'checkpoint-4'} tunes model.layers.0.mlp",
    )  # fmt: skip


def test_a_model_that_was_moved_away_is_named(study, model, trained, tmp_path, said):
    shutil.copytree(trained[0], tmp_path / "a")
    _, (step,) = take(study, [tmp_path / "a"])
    shutil.move(tmp_path / "a", tmp_path / "b")
    with pytest.raises(ModelError, match="is no longer there; put it back, or give"):
        changes_at(study, checkpoint_folders(step, 0), 4)


def test_a_model_that_does_not_load_is_named(study, trained, tmp_path, said):
    shutil.copytree(trained[0], tmp_path / "a")
    _, (step,) = take(study, [tmp_path / "a"])
    for file in (tmp_path / "a/checkpoint-4").glob("*.safetensors"):
        tensors = load_file(file)
        tensors.pop("model.norm.weight", None)
        save_file(tensors, file, metadata={"format": "pt"})
    with (
        pytest.raises(ModelError, match="1 weights are not in its files, such as"),
        tuned_model(study.loaded, checkpoint_folders(step, 0)[4]),
    ):
        pass


def test_frozen_weights_of_a_masked_adapter_do_not_move(study, model, tmp_path):
    wrapped = train(model, tmp_path / "a", save_at=(4,)).eval()
    with torch.no_grad():
        free = wrapped(input_ids=LEARNT).logits
    folder, path = tmp_path / "a/checkpoint-4", "model.layers.0.self_attn.q_proj"
    frozen = np.array([0, 3, 17, 200])
    save_masked_adapter(folder, {path: frozen})
    read = changes_at(study, {4: folder}, 4)
    assert read.num_whole == 0
    (site,) = (s for s in read.by_site if s.path == path)
    moved = dense_change(read.by_site[site]).flatten()
    assert not moved[frozen].any()
    assert np.count_nonzero(moved) == site.num_weights - frozen.size
    with torch.no_grad(), tuned_model(study.loaded, folder) as tuned:
        assert not torch.equal(tuned(input_ids=LEARNT).logits, free)


def test_whole_models_have_no_weights_under_an_adapter(trained):
    named = ElsewhereOptions(checkpoints=(trained[0],))
    with pytest.raises(UsageError, match=r"^--tune qlora rounds the weights under"):
        found_elsewhere(named, TuningSettings(tune="qlora"))


@pytest.mark.parametrize("kind", ["whole", "masked"])
def test_the_merged_folder_is_the_tuned_model(study, model, tmp_path, said, kind):
    frozen = np.array([0, 3, 17, 200])
    path = "model.layers.0.self_attn.q_proj"
    folder = tmp_path / "a/checkpoint-4"
    if kind == "whole":
        train_whole(model, tmp_path / "a", save_at=(4,))
    else:
        train(model, tmp_path / "a", save_at=(4,))
        save_masked_adapter(folder, {path: frozen})
    home = Path("checkpoints/seed-0/step-000004")
    tuned = study.run.step(
        "tune-seed-0", {}, lambda made: shutil.copytree(folder, made / home)
    )
    merged = merge_step(study, tuned, 0).path("merged/seed-0/model.safetensors").parent
    again = AutoModelForCausalLM.from_pretrained(merged)
    with torch.no_grad(), tuned_model(study.loaded, tuned.root / home) as worn:
        expected = worn(input_ids=LEARNT).logits
        assert torch.allclose(again(input_ids=LEARNT).logits, expected, atol=1e-4)
    before = AutoModelForCausalLM.from_pretrained(model)
    assert not torch.allclose(before(input_ids=LEARNT).logits, expected, atol=1e-2)
    was, now = (m.get_submodule(path).weight.flatten() for m in (before, again))
    assert torch.equal(was[frozen], now[frozen])
    assert torch.equal(was, now) == (kind == "whole")
