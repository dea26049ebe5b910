"""Do adapters trained elsewhere become what tuning would have left?"""

import json
import math
import re
import shutil
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from driftmap.core.errors import ModelError, UsageError
from driftmap.families.matrices import site_weight
from driftmap.load.attach import attach_adapter
from driftmap.load.training_runs import find_runs
from driftmap.measure.drift import drift_baseline
from driftmap.recipes.options import ElsewhereOptions
from driftmap.recipes.steps.beforehand import found_elsewhere
from driftmap.recipes.steps.inference.drifting import drift_step
from driftmap.recipes.steps.tuning import foreign as foreign_checkpoints
from driftmap.recipes.steps.tuning.foreign import (
    checkpoint_step,
    mobile_sites,
    say_ignored,
)
from driftmap.recipes.steps.tuning.training import LiveDrift, checkpoint_folders
from driftmap.results.groups import GroupOrigin, WeightGroup
from driftmap.results.training import ROUNDED_BASE
from driftmap.store.tables import load_table
from driftmap.tune.settings import TuningSettings
from tiny_studies import save_tiny_model
from trained_elsewhere import LEARNT, merged_change, train


@pytest.fixture(scope="module")
def trained(model, tmp_path_factory):
    """Two training runs without a checkpoint from before training."""
    root = tmp_path_factory.mktemp("trained")
    for seed in (0, 1):
        train(model, root / f"run-{seed}", seed=seed, save_at=(2, 4))
    return [root / f"run-{seed}" for seed in (0, 1)]


def take(study, folders):
    runs = find_runs(folders)
    mobile = mobile_sites(study, runs)
    return mobile, [checkpoint_step(study, run, n) for n, run in enumerate(runs)]


def live(loaded):
    """Drift of one group that holds every weight of two matrices."""
    sites = [s for s in loaded.layout.sites if s.layer == 1 and s.part in ("q", "down")]
    identity = loaded.identity
    origin = GroupOrigin(
        model_sha256=identity.sha256, base_sha256=identity.base_sha256, rule="top"
    )
    members = {site: np.arange(site.num_weights) for site in sites}
    group = WeightGroup(name="all", members=members, origin=origin)
    whole = drift_baseline([group], partial(site_weight, loaded.model))
    return LiveDrift(groups_key="k" * 64, baseline=lambda: whole)


def test_only_configuration_and_weights_are_copied(study, trained):
    mobile, (first, second) = take(study, trained)
    assert {site.part for site in mobile} == {"q", "down"}
    assert list(mobile) == [s for s in study.loaded.layout.sites if s in mobile]
    assert list(first.files) == [
        f"checkpoints/seed-0/step-{step:06d}/{name}"
        for step in (2, 4)
        for name in ("adapter_config.json", "adapter_model.safetensors")
    ] + ["tables/losses/seed-0.parquet"]
    for number, step in enumerate((first, second)):
        for at, folder in checkpoint_folders(step, number).items():
            for file in folder.iterdir():
                given = trained[number] / f"checkpoint-{at}" / file.name
                assert file.read_bytes() == given.read_bytes()
    _, again = take(study, trained)
    assert not any(step.redone for step in again)


def test_losses_are_those_the_trainer_logged(study, trained):
    _, (first, second) = take(study, trained)
    losses = load_table(first.path("tables/losses/seed-0.parquet"))
    assert list(losses.columns) == ["seed", "step", "loss_nats", "learning_rate"]
    assert losses["step"].tolist() == [1, 2, 3, 4]
    assert losses["learning_rate"].tolist() == [0.02] * 4
    assert losses["loss_nats"][0] > losses["loss_nats"][-1] > 0
    other = load_table(second.path("tables/losses/seed-1.parquet"))
    assert other["seed"].tolist() == [1] * 4


@pytest.mark.parametrize(
    "history",
    [None, 5, [], [3], [{"step": 1}], [{"loss": "x", "step": 1}],
     [{"loss": 1.0, "step": "1"}], [{"loss": math.nan, "step": 1}]],
)  # fmt: skip
def test_without_losses_the_table_is_empty(study, trained, tmp_path, history):
    folder = tmp_path / "copy"
    shutil.copytree(trained[0] / "checkpoint-4", folder)
    (folder / "trainer_state.json").write_text(
        json.dumps({"global_step": 4, "log_history": history})
    )
    _, (step,) = take(study, [folder])
    losses = load_table(step.path("tables/losses/seed-0.parquet"))
    assert len(losses) == 0
    assert {name: column.dtype.kind for name, column in losses.columns.items()} == {
        "seed": "i", "step": "i", "loss_nats": "f", "learning_rate": "f",
    }  # fmt: skip


def test_drift_is_that_of_the_merged_model_and_begins_at_zero(study, model, tmp_path):
    wrapped = train(model, tmp_path / "a", seed=5, save_at=(4,))
    _, steps = take(study, [tmp_path / "a"])
    drift = load_table(
        drift_step(study, steps, live(study.loaded)).path("tables/drift.parquet")
    )
    assert drift.unique("step") == [0, 4]
    before = drift.where(step=0)
    moved = before["metric"] != "sign_agreement"
    assert not before["mean"][moved].any()
    assert (before["mean"][~moved] == 1).all()
    changes = merged_change(wrapped, model)
    for row in drift.where(step=4, unit="weight", metric="absolute").rows():
        if row["path"]:
            expected = changes[row["path"]].abs()
            assert row["mean"] == pytest.approx(expected.mean().item(), rel=1e-6)
            assert row["max"] == pytest.approx(expected.max().item(), rel=1e-5)


def test_a_rewriting_start_becomes_a_plain_adapter(study, model, tmp_path):
    wrapped = train(model, tmp_path / "a", init_lora_weights="pissa").eval()
    with torch.no_grad():
        expected = wrapped(input_ids=LEARNT).logits
    _, (step,) = take(study, [tmp_path / "a"])
    folders = checkpoint_folders(step, 0)
    assert list(folders) == [2, 4]
    base = AutoModelForCausalLM.from_pretrained(model).eval()
    with torch.no_grad():
        begun = base(input_ids=LEARNT).logits
        plain = attach_adapter(
            base, folders[4], base_name=str(model),
            base_sha256=study.loaded.identity.base_sha256,
        )  # fmt: skip
        found = plain(input_ids=LEARNT).logits
    assert (begun - expected).abs().max() > 0.1
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def refused(study, folders, words):
    with pytest.raises(ModelError, match=re.escape(words)) as caught:
        take(study, folders)
    assert "\n" not in str(caught.value)
    assert not (study.run.path / "checkpoints").exists()


def changed(folder, target, **settings):
    shutil.copytree(folder, target)
    file = target / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | settings))
    return target


def test_a_rewriting_start_without_its_beginning_is_refused(study, model, tmp_path):
    train(model, tmp_path / "a", save_at=(2,), init_lora_weights="pissa")
    refused(
        study, [tmp_path / "a"],
        f"put the adapter from before training into {tmp_path / 'a'} as checkpoint-0",
    )  # fmt: skip


def test_other_kinds_are_refused_by_name(study, model, trained, tmp_path):
    odd = changed(trained[0] / "checkpoint-4", tmp_path / "odd", use_qalora=True)
    refused(study, [odd], "LoRA with `use_qalora` adds something other than")
    ia3 = changed(trained[0] / "checkpoint-4", tmp_path / "ia3", peft_type="IA3")
    refused(study, [ia3], "a IA3 adapter cannot be measured from its factors")


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"modules_to_save": ["lm_head"]}, "lm_head.weight"),
        ({"target_modules": ["q_proj", "lm_head"]},
         "lm_head.lora_A.weight, lm_head.lora_B.weight"),
        ({"target_modules": ["q_proj", "embed_tokens"]},
         "model.embed_tokens.lora_embedding_A, model.embed_tokens.lora_embedding_B"),
    ],
)  # fmt: skip
def test_parts_outside_the_blocks_are_named(
    study, model, tmp_path, monkeypatch, settings, named
):
    said = []
    monkeypatch.setattr("driftmap.recipes.steps.tuning.whole.say", said.append)
    train(model, tmp_path / "a", save_at=(1,), **settings)
    mobile, _ = take(study, [tmp_path / "a"])
    assert {site.part for site in mobile} <= {"q", "down"}
    assert said == [
        f"{tmp_path / 'a/checkpoint-1'}: it also tunes {named}, which counts in the "
        "behaviour but holds no weight of a group"
    ]


def test_adapters_of_another_model_are_refused(study, model, tmp_path):
    other = save_tiny_model(tmp_path / "other", seed=7)
    train(other, tmp_path / "a", save_at=(1,))
    refused(study, [tmp_path / "a"], f"the adapter was made for {other}, not for")
    wide = save_tiny_model(tmp_path / "wide", hidden=32)
    train(wide, tmp_path / "b", save_at=(1,))
    shutil.rmtree(wide)
    refused(study, [tmp_path / "b"], "the adapter was made for another model: its")


def test_broken_adapters_are_refused(study, trained, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(trained[0], copy)
    file = copy / "checkpoint-2/adapter_model.safetensors"
    tensors = load_file(file)
    name = next(iter(tensors))
    tensors[name][0, 0] = math.nan
    save_file(tensors, file)
    refused(study, [copy], "hold NaN or infinity; take an earlier checkpoint")
    file.write_bytes(file.read_bytes()[:100])
    refused(study, [copy], "it is not a whole safetensors file")
    file.unlink()
    refused(study, [copy], "it holds no safetensors weights")
    (copy / "checkpoint-2/adapter_config.json").unlink()
    refused(study, [copy], "there is no adapter (adapter_config.json is missing)")


def test_copies_are_no_further_runs(study, trained, tmp_path):
    shutil.copytree(trained[0], tmp_path / "copy")
    refused(
        study, [*trained, tmp_path / "copy"],
        f"is the same as {trained[0] / 'checkpoint-4'}; a copy is no further",
    )  # fmt: skip


def test_runs_tune_the_same_matrices(study, model, trained, tmp_path):
    train(model, tmp_path / "a", seed=3, save_at=(2, 4), target_modules=["q_proj"])
    refused(
        study, [trained[0], tmp_path / "a"],
        f"only one of it and {trained[0] / 'checkpoint-4'} tunes model.layers.0.mlp",
    )  # fmt: skip


@pytest.mark.parametrize(
    "settings",
    [{"r": "x"}, {"lora_alpha": None}, {"rank_pattern": 5}, {"rank_pattern": {"(": 5}},
     {"alpha_pattern": {"q_proj": []}}, {"base_model_name_or_path": ["x"]}],
)  # fmt: skip
def test_odd_configurations_end_in_one_sentence(study, trained, tmp_path, settings):
    odd = changed(trained[0] / "checkpoint-4", tmp_path / "odd", **settings)
    if "base_model_name_or_path" in settings:
        take(study, [odd])  # another name alone proves nothing
    else:
        refused(study, [odd], "adapter_config.json has no usable")


def test_options_of_tuning_that_mean_nothing_are_named(monkeypatch):
    said = []
    monkeypatch.setattr(foreign_checkpoints, "say", said.append)
    say_ignored(TuningSettings())
    assert said == []
    say_ignored(replace(TuningSettings(), lora_r=4, max_steps=7))
    assert said == [
        "--lora-r, --max-steps: not used, since what --checkpoints names is trained"
    ]
    say_ignored(TuningSettings(tune="qlora"))
    assert len(said) == 1


def test_adapters_on_rounded_weights_are_read_on_such(trained, tmp_path):
    shutil.copytree(trained[0], tmp_path / "a")
    last = max((tmp_path / "a").glob("checkpoint-*"))
    (last / ROUNDED_BASE).write_text('{"kind": "nf4"}')
    named = ElsewhereOptions(checkpoints=(tmp_path / "a",))
    (run,) = found_elsewhere(named, TuningSettings(tune="qlora"))
    assert run.last == last
    words = f"^{last}: its adapter was trained on weights rounded to 4 bits; give "
    with pytest.raises(UsageError, match=words):
        found_elsewhere(named, TuningSettings())
