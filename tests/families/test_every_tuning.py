"""Is drift of a checkpoint what merging it would show, on every proved family?"""

from contextlib import contextmanager

import numpy as np
import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from driftmap.core.errors import UsageError
from driftmap.families.discover import find_layout
from driftmap.families.matrices import site_weight
from driftmap.load.adapters import read_adapter
from driftmap.load.full_changes import FullChanges, StoredMatrices, moved_sites
from driftmap.load.masked_adapters import (
    attach_masked_adapter,
    merged_masked_tensors,
    read_masked_adapter,
)
from driftmap.load.merged import merged_tensors
from driftmap.measure.drift import dense_change, weight_change
from driftmap.tune.freezing import Frozen
from driftmap.tune.full import tuned_whole
from driftmap.tune.live import Task
from driftmap.tune.lora import tuned_with_lora
from driftmap.tune.settings import TuningSettings
from driftmap.tune.targets import tuned_sites
from laws.restores import assert_restores_model
from tiny_families import FAMILY_NAMES, ROW_NAMES, tiny_family, tiny_tokens
from tiny_tuning import tiny_samples

FAST = ("llama", "gpt2", "phi3", "falcon_grouped", "gemma3")
"""Plain, turned, fused in blocks, fused by head, of its own head size."""

EVERY_NAME = [
    name if name in FAST else pytest.param(name, marks=pytest.mark.slow)
    for name in FAMILY_NAMES + ROW_NAMES
]
FUSED = {
    "phi3", "gpt2", "gpt_neox", "falcon", "falcon_grouped", "falcon_by_head", "bloom",
    "gpt_bigcode", "gpt_bigcode_by_head", "mpt", "persimmon",
}  # fmt: skip

of_every_family = pytest.mark.parametrize("name", EVERY_NAME)


@of_every_family
@pytest.mark.parametrize("dora", [False, True], ids=["lora", "dora"])
def test_factors_say_what_the_merged_matrix_says(name, dora, tmp_path):
    settings = TuningSettings(
        dora=dora, rslora=dora, lora_r=3, alpha_pattern=(r".*\.1\..*=5",)
    )
    model = tiny_family(name)
    sites = find_layout(model).sites
    with assert_restores_model(model), learnt(model, settings, tmp_path) as live:
        seen = live.changes()
    read = read_adapter(tmp_path / "after", sites, reference=tmp_path / "before")
    assert list(read.factors) == list(sites)
    merged = PeftModel.from_pretrained(
        tiny_family(name).double(), tmp_path / "after", autocast_adapter_dtype=False
    ).merge_and_unload()
    for site, change in read.factors.items():
        before = site_weight(model, site)
        wanted = site_weight(merged, site) - before.double()
        found = dense_change(change, weight=before)
        # PEFT keeps the lengths of DoRA's rows in float32.
        torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-6 if dora else 0)
        torch.testing.assert_close(
            dense_change(seen[site], weight=before), found, rtol=1e-6, atol=1e-7
        )
        index = np.array([0, 5, site.num_weights - 1])
        torch.testing.assert_close(
            weight_change(change, None, index, before), found.reshape(-1)[index]
        )
        assert found.abs().max() > 1e-3
    written = merged_tensors(model, sites, tmp_path / "after")
    same_logits(with_tensors(model, written), merged)


@of_every_family
def test_whole_models_are_subtracted_matrix_by_matrix(name, tmp_path):
    model = tiny_family(name)
    sites = find_layout(model).sites
    model.save_pretrained(tmp_path / "base", max_shard_size="8KB")
    settings = TuningSettings(tune="full")
    with assert_restores_model(model), learnt(model, settings, tmp_path) as live:
        seen = live.changes()
        kept = {site: seen[site].values for site in sites}
    before, after = (StoredMatrices(tmp_path / n) for n in ("base", "after"))
    assert moved_sites(before, after, sites) == tuple(sites)
    assert moved_sites(before, before, sites) == ()
    changes = FullChanges(before, after, sites)
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "after")
    for site in sites:
        wanted = site_weight(again, site).double() - site_weight(model, site).double()
        assert torch.equal(changes[site].values, wanted)
        assert torch.equal(kept[site], wanted)
        assert wanted.any()


@of_every_family
def test_frozen_weights_stay_and_the_rest_moves(name, tmp_path):
    model = tiny_family(name)
    sites = find_layout(model).sites
    members = {site: np.arange(0, site.num_weights, 7) for site in sites}
    frozen = Frozen(members=members, way="element")
    settings = TuningSettings(lora_r=3)
    with assert_restores_model(model), learnt(model, settings, tmp_path, frozen) as at:
        worn = at.model.eval()(tiny_tokens()).logits.detach()
    read = read_masked_adapter(tmp_path / "after", sites)
    merged = merged_masked_tensors(model, sites, tmp_path / "after")
    whole = with_tensors(model, merged)
    for site in sites:
        moved = dense_change(read[site]).reshape(-1)
        held = torch.zeros(site.num_weights, dtype=torch.bool)
        held[members[site]] = True
        assert not moved[held].any()
        assert moved[~held].all()
        before, after = (site_weight(m, site).reshape(-1) for m in (model, whole))
        assert torch.equal(before[held], after[held])
        torch.testing.assert_close(
            after.double() - before.double(), moved, rtol=1e-4, atol=1e-6
        )
    torch.testing.assert_close(logits(whole), worn, rtol=1e-3, atol=1e-4)
    attached = attach_masked_adapter(
        tiny_family(name), tmp_path / "after", base_name="", base_sha256=""
    )
    torch.testing.assert_close(logits(attached), worn)


@of_every_family
def test_one_part_of_a_fused_matrix_is_not_tuned_alone(name):
    sites = find_layout(tiny_family(name)).sites
    settings = TuningSettings(lora_parts=("q",))
    if name in FUSED:
        words = "holds several parts in one matrix, [kv] among them: add [kv] to"
        with pytest.raises(UsageError, match=words):
            tuned_sites(sites, settings)
    else:
        assert {site.part for site in tuned_sites(sites, settings)} == {"q"}


@of_every_family
def test_a_gate_is_tuned_where_there_is_one(name):
    sites = find_layout(tiny_family(name)).sites
    parts = {site.part for site in sites}
    settings = TuningSettings(lora_parts=("gate",))
    fused = {site.path for site in sites if site.part == "gate" and site.split}
    if "gate" not in parts:
        words = "names gate, but the maps of this model are down k o q up v$"
        with pytest.raises(UsageError, match=words):
            tuned_sites(sites, settings)
    elif fused:
        with pytest.raises(UsageError, match="parts in one matrix, up among them"):
            tuned_sites(sites, settings)
    else:
        assert {site.part for site in tuned_sites(sites, settings)} == {"gate"}


@contextmanager
def learnt(model, settings, folder, frozen=None):
    """A model that training would have left: all that it may move is drawn anew.

    Leaves `before` and `after`, saved as a training run saves its checkpoints.
    """
    task = Task(
        sites=find_layout(model).sites, samples=tiny_samples(2), settings=settings,
        seed=0, frozen=frozen,
    )  # fmt: skip
    make = tuned_whole if settings.tune == "full" else tuned_with_lora
    with make(model, task) as live:
        live.save(folder / "before")
        torch.manual_seed(3)
        with torch.no_grad():
            for parameter in live.model.parameters():
                if parameter.requires_grad:
                    parameter += 0.1 * torch.randn_like(parameter)
        live.save(folder / "after")
        yield live


def with_tensors(model, tensors):
    again = type(model)(model.config).eval()
    again.load_state_dict(tensors)
    return again


def same_logits(found, wanted):
    torch.testing.assert_close(
        logits(found).double(), logits(wanted).double(), rtol=1e-3, atol=1e-4
    )


def logits(model):
    with torch.no_grad():
        return model.eval()(input_ids=tiny_tokens(), use_cache=False).logits
