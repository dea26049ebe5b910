"""Does a converted adapter change the published base as training changed the model?"""

import json
import re
import shutil

import pytest
import torch
from transformers import AutoModelForCausalLM

from driftmap.core.errors import ModelError
from driftmap.families.discover import find_layout
from driftmap.load.adapter_conversion import convert_adapter
from driftmap.load.adapters import read_adapter
from tiny_studies import save_tiny_model
from trained_elsewhere import merged_change, train


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def sites(model):
    return find_layout(AutoModelForCausalLM.from_pretrained(model)).sites


@pytest.mark.parametrize(
    "settings",
    [
        {"init_lora_weights": "pissa"},
        {"init_lora_weights": "olora", "use_rslora": True},
        {
            "init_lora_weights": "pissa",
            "rank_pattern": {"down_proj": 3},
            "alpha_pattern": {"down_proj": 5},
        },
    ],
    ids=["pissa", "olora-rslora", "patterns"],
)
def test_the_change_is_that_of_the_trained_model(model, sites, tmp_path, settings):
    wrapped = train(model, tmp_path, **settings)
    target = tmp_path / "plain"
    convert_adapter(tmp_path / "checkpoint-4", tmp_path / "checkpoint-0", sites, target)
    plain = read_adapter(target, sites)
    expected = merged_change(wrapped, model)
    assert {site.path for site in plain.factors} == expected.keys()
    for site, factors in plain.factors.items():
        change = factors.scale * factors.up @ factors.down
        assert change.abs().max() > 1e-3
        # The residual base was rounded to float32.
        torch.testing.assert_close(change, expected[site.path], atol=1e-6, rtol=0)
    written = json.loads((target / "adapter_config.json").read_text())
    assert written["init_lora_weights"] is True
    assert written["r"] == 4


@pytest.fixture(scope="module")
def pissa(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pissa")
    train(model, folder, init_lora_weights="pissa")
    return folder


def refused(folder, reference, sites, words):
    with pytest.raises(ModelError, match=re.escape(words)):
        convert_adapter(folder, reference, sites, folder.parent / "plain")
    assert not (folder.parent / "plain").exists()


def changed(folder, target, **settings):
    shutil.copytree(folder, target)
    file = target / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | settings))
    return target


def test_no_reference_is_refused(pissa, sites):
    refused(pissa / "checkpoint-4", None, sites, "keep the step-0 adapter")


def test_a_reference_of_another_start_is_refused(pissa, model, sites, tmp_path):
    train(model, tmp_path / "usual", save_at=(0,))
    other = tmp_path / "usual/checkpoint-0"
    refused(pissa / "checkpoint-4", other, sites, "its start is `None` where")


def test_a_reference_of_another_scale_is_refused(pissa, sites, tmp_path):
    other = changed(pissa / "checkpoint-0", tmp_path / "other", lora_alpha=8)
    refused(pissa / "checkpoint-4", other, sites, "`lora_alpha` is 8 where")


def test_a_reference_of_other_matrices_is_refused(pissa, model, sites, tmp_path):
    train(
        model, tmp_path, save_at=(0,), init_lora_weights="pissa",
        target_modules=["q_proj"],
    )  # fmt: skip
    other = tmp_path / "checkpoint-0"
    refused(pissa / "checkpoint-4", other, sites, "tunes other matrices than")


def test_a_rounded_base_is_refused(pissa, sites, tmp_path):
    now, then = (
        changed(pissa / name, tmp_path / name, init_lora_weights="loftq")
        for name in ("checkpoint-4", "checkpoint-0")
    )
    refused(now, then, sites, "replaced the base by a rounded one")


def test_dora_is_refused(pissa, sites, tmp_path):
    dora = changed(pissa / "checkpoint-4", tmp_path / "dora", use_dora=True)
    begun = pissa / "checkpoint-0"
    refused(dora, begun, sites, "DoRA that starts with `pissa` is no sum of factors")
