"""Do frozen weights stay where a family turns, fuses or ties its matrices?"""

from dataclasses import replace

import numpy as np
import pytest
import torch
from trl.trainer.sft_trainer import SFTTrainer

from driftmap.families.discover import find_layout
from driftmap.families.matrices import site_weight
from driftmap.families.quantised import four_bit
from driftmap.load.masked_adapters import merged_masked_tensors, read_masked_adapter
from driftmap.load.merged import merged_tensors
from driftmap.measure.drift import dense_change
from driftmap.tune.freezing import Frozen, unmoved
from driftmap.tune.settings import TuningSettings
from four_bit import needs_bitsandbytes, wide_llama
from frozen_groups import mask_of, scattered
from tiny import tiny_llama
from tiny_families import tiny_family
from tiny_tuning import Watched, llama_sites

LORA = TuningSettings(
    batch_size=3, grad_accum=2, max_steps=3, learning_rate=1e-2, weight_decay=0.1
)
FULL = replace(LORA, tune="full")

NONE = np.empty(0, dtype=np.int64)

ODD = ("gpt2", "gpt_neox", "phi3", "falcon_by_head")
"""Turned and fused in blocks, fused by head, fused in blocks twice, fused and tied."""


def some_of(sites):
    """A group in some parts alone, so that parts of one fused module differ."""
    return scattered(sites, 0.1, parts=("q", "v", "up", "o"))


def weights(model, sites, tensors):
    """Every site's matrix `[out in]` in a model that holds these tensors."""
    before = {name: t.clone() for name, t in model.state_dict().items()}
    model.load_state_dict(tensors, strict=False)
    found = {site: site_weight(model, site).clone() for site in sites}
    model.load_state_dict(before)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("family", ODD)
@pytest.mark.parametrize("way", ["element", "rows", "columns"])
def test_merged_adapter_is_the_base_at_what_cannot_move(tmp_path, family, way):
    model = tiny_family(family)
    sites = find_layout(model).sites
    frozen = Frozen(members=some_of(sites), way=way)
    run = Watched(tmp_path)
    run.run(model=model, sites=sites, settings=LORA, frozen=frozen)
    merge = merged_masked_tensors if way == "element" else merged_tensors
    after = weights(model, sites, merge(model, sites, tmp_path / "step_3"))
    still = unmoved(frozen, sites)
    assert set(frozen.members) <= set(still)
    for site in sites:
        moved = after[site] != site_weight(model, site)
        mask = mask_of(site, still.get(site, NONE))
        assert not (moved & mask).any()
        assert moved[~mask].float().mean() > 0.9 or mask.all()


@pytest.mark.slow
@pytest.mark.parametrize("family", ODD)
def test_adapter_on_disk_adds_nothing_to_frozen_weights_of_each_part(tmp_path, family):
    model = tiny_family(family)
    sites = find_layout(model).sites
    members = some_of(sites)
    Watched(tmp_path).run(
        model=model,
        sites=sites,
        settings=LORA,
        frozen=Frozen(members=members, way="element"),
    )
    found = read_masked_adapter(tmp_path / "step_3", sites)
    for site in sites:
        change = dense_change(found[site])
        mask = mask_of(site, members.get(site, NONE))
        assert torch.equal(change == 0, mask)


@pytest.mark.parametrize("family", ODD)
def test_full_tuning_leaves_frozen_weights_of_each_part(tmp_path, family):
    model = tiny_family(family)
    sites = find_layout(model).sites
    members = some_of(sites)
    run = Watched(tmp_path)
    frozen = Frozen(members=members, way="element")
    run.run(model=model, sites=sites, settings=FULL, frozen=frozen)
    for site in sites:
        change = run.factors[3][site].values
        mask = mask_of(site, members.get(site, NONE))
        assert not change[mask].any()
        assert (change[~mask] != 0).float().mean() > 0.9


def test_gradients_of_frozen_weights_are_0_before_they_are_clipped(
    tmp_path, monkeypatch
):
    model = tiny_llama(layers=1, hidden=8)
    sites = llama_sites(model)
    members, seen = scattered(sites, 0.3), []
    clip = SFTTrainer._clip_grad_norm

    def watched(self, tuned):
        for site in sites:
            gradient = tuned.get_submodule(site.path).weight.grad
            mask = mask_of(site, members[site])
            seen.append((gradient[mask].any().item(), gradient[~mask].any().item()))
        return clip(self, tuned)

    monkeypatch.setattr(SFTTrainer, "_clip_grad_norm", watched)
    frozen = Frozen(members=members, way="element")
    Watched(tmp_path).run(model=model, settings=FULL, frozen=frozen)
    assert set(seen) == {(False, True)}
    assert len(seen) == 3 * len(sites)


@needs_bitsandbytes
@pytest.mark.slow
@pytest.mark.parametrize("way", ["element", "rows"])
def test_rounded_base_is_left_where_it_is_frozen(tmp_path, way):
    model = wide_llama(layers=1)
    sites = llama_sites(model)
    frozen = Frozen(members=scattered(sites, 0.005), way=way)
    still, folder = unmoved(frozen, sites), tmp_path / "step_3"
    merge = merged_masked_tensors if way == "element" else merged_tensors
    with four_bit(model):
        base = {site: site_weight(model, site).clone() for site in sites}
        settings = replace(LORA, tune="qlora")
        Watched(tmp_path).run(
            model=model, sites=sites, settings=settings, frozen=frozen
        )
        merged = merge(model, sites, folder)
    for site in sites:
        after, mask = merged[f"{site.path}.weight"], mask_of(site, still[site])
        assert torch.equal(after[mask], base[site][mask].to(after.dtype))
        assert (after != base[site])[~mask].float().mean() > 0.9
