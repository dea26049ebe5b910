from dataclasses import replace

import numpy as np
import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file

from driftmap.core.errors import ModelError, StoreError, UsageError
from driftmap.families.matrices import effective_weight
from driftmap.load.adapter_config import read_adapter_config
from driftmap.load.masked_adapters import (
    attach_masked_adapter,
    is_masked,
    merged_masked_tensors,
    read_masked_adapter,
)
from driftmap.signals.changes import DenseChange, MaskedFactors
from driftmap.tune.freezing import Frozen
from driftmap.tune.settings import TuningSettings
from frozen_groups import mask_of, scattered, seen_weight
from tiny import tiny_llama
from tiny_tuning import Watched, llama_sites

STEPS = 50
LORA = TuningSettings(
    batch_size=2,
    grad_accum=2,
    max_steps=STEPS,
    learning_rate=1e-2,
    weight_decay=0.1,
    lora_dropout=0.1,
    save_steps=25,
    drift_every=STEPS,
)
FULL = TuningSettings(
    tune="full",
    batch_size=2,
    grad_accum=2,
    max_steps=STEPS,
    learning_rate=1e-2,
    weight_decay=0.1,
    save_steps=25,
    drift_every=STEPS,
)
FIVE_WAYS = [
    (LORA, "rows"),
    (LORA, "columns"),
    (LORA, "element"),
    (FULL, "element"),
    (LORA, "rewind"),
    (FULL, "rewind"),
]
"""The last two are one way: free training, then put back."""

BASE = {"base_name": "tiny", "base_sha256": ""}


def one_layer(dtype=torch.float32):
    return tiny_llama(layers=1, hidden=8).to(dtype)


class Seen(Watched):
    """A run whose maps are asked at every checkpoint what they multiply by."""

    seen = None

    def _checkpoint(self, step, live):
        super()._checkpoint(step, live)
        model = live.model
        base = model.get_base_model() if isinstance(model, PeftModel) else model
        self.seen = {
            site: seen_weight(
                base.get_submodule(site.path), site.num_columns, base.dtype
            )
            for site in llama_sites(tiny_llama(layers=1, hidden=8))
        }


def short(settings):
    return replace(settings, max_steps=6, save_steps=3, drift_every=6)


def run_with_a_kill(folder, model, settings, way, *, die_at, share=0.2):
    """Steps with accumulation, clipping, weight decay, and one resume."""
    sites = llama_sites(one_layer())
    members = scattered(sites, share)
    run = Seen(folder, die_at=die_at)
    given = {
        "model": model,
        "settings": replace(settings, drift_every=die_at),
        "frozen": Frozen(members=members, way=way),
    }
    with pytest.raises(KeyboardInterrupt):
        run.run(**given)
    run.die_at = None
    run.run(**given)
    return run, members


def of_checkpoint(run, model, settings, sites):
    """Effective weights of the last checkpoint, in the model's type."""
    folder = run.folder / f"step_{settings.max_steps}"
    if settings.tune == "full":
        saved = load_file(folder / "model.safetensors")
        return {site: saved[f"{site.path}.weight"] for site in sites}
    if is_masked(folder):
        merged = merged_masked_tensors(model, sites, folder)
        return {site: merged[f"{site.path}.weight"] for site in sites}
    return run.seen


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("settings", "way"), FIVE_WAYS)
def test_frozen_weights_are_the_same_bits_after_50_steps_and_a_resume(
    tmp_path, settings, way, dtype
):
    model = one_layer(dtype)
    sites = llama_sites(model)
    base = {s: model.get_submodule(s.path).weight.detach().clone() for s in sites}
    run, members = run_with_a_kill(
        tmp_path, model, settings, way, die_at=30, share=0.05
    )
    saved = of_checkpoint(run, model, settings, sites)
    for site in sites:
        mask = mask_of(site, members[site])
        then = base[site].to(saved[site].dtype)
        assert torch.equal(saved[site][mask], then[mask])
        if way != "rewind":
            live = run.seen[site]
            assert torch.equal(live[mask], base[site].to(live.dtype)[mask])
        free = ~mask
        if way == "rows":
            free = (~mask.any(1))[:, None].expand_as(mask)
        if way == "columns":
            free = (~mask.any(0)).expand_as(mask)
        assert (saved[site] != then)[free].float().mean() > 0.5 or not free.any()
    # What hides behind a map that cannot move is no proof of the others.
    assert (
        sum((saved[s] != base[s].to(saved[s].dtype)).sum().item() for s in sites) > 50
    )


@pytest.mark.parametrize(("settings", "way"), [(LORA, "rewind"), (FULL, "rewind")])
def test_rewinding_lets_the_group_move_until_the_end(tmp_path, settings, way):
    model = one_layer()
    run, members = run_with_a_kill(tmp_path, model, short(settings), way, die_at=4)
    for site, index in members.items():
        mask = mask_of(site, index)
        base = model.get_submodule(site.path).weight.detach()
        assert (run.seen[site] != base)[mask].all()


@pytest.mark.parametrize(
    ("settings", "way", "kind"),
    [
        (LORA, "element", MaskedFactors),
        (LORA, "rewind", MaskedFactors),
        (FULL, "element", DenseChange),
        (FULL, "rewind", DenseChange),
    ],
)
def test_drift_at_frozen_weights_is_0(tmp_path, settings, way, kind):
    run, members = run_with_a_kill(
        tmp_path, one_layer(), short(settings), way, die_at=4
    )
    for site, change in run.factors[6].items():
        assert isinstance(change, kind)
        if isinstance(change, DenseChange):
            still = change.values.reshape(-1) == 0
            assert np.array_equal(still.nonzero()[:, 0].numpy(), members[site])
        else:
            assert np.array_equal(change.frozen, members[site])


@pytest.fixture(scope="module")
def masked(tmp_path_factory):
    """A run whose q and up matrices have frozen entries, and the base it ran on."""
    folder = tmp_path_factory.mktemp("masked")
    model = one_layer()
    members = scattered(llama_sites(model), parts=("q", "up"))
    settings = replace(LORA, max_steps=4, save_steps=4)
    run = Seen(folder)
    run.run(
        model=model, settings=settings, frozen=Frozen(members=members, way="element")
    )
    run.members = members
    return run


def test_masked_adapter_is_read_as_it_was_live(masked):
    folder = masked.folder / "step_4"
    found = read_masked_adapter(folder, llama_sites(one_layer()))
    assert list(found) == list(masked.factors[4])
    for site, live in masked.factors[4].items():
        if site in masked.members:
            assert np.array_equal(found[site].frozen, masked.members[site])
            found[site], live = found[site].factors, live.factors
        assert torch.equal(found[site].up, live.up)
        assert torch.equal(found[site].down, live.down)


def test_masked_adapter_on_a_model_does_what_the_live_one_did(masked):
    model = one_layer()
    before = {name: t.clone() for name, t in model.state_dict().items()}
    modules = [*model.modules()]
    folder = masked.folder / "step_4"
    wrapped = attach_masked_adapter(model, folder, **BASE)
    merged = merged_masked_tensors(one_layer(), llama_sites(one_layer()), folder)
    for site in llama_sites(one_layer()):
        module = wrapped.get_base_model().get_submodule(site.path)
        seen = seen_weight(module, site.num_columns, torch.float32)
        assert torch.equal(seen, masked.seen[site])
        weight = effective_weight(wrapped, site)
        assert torch.allclose(seen, weight, atol=1e-6)
        assert torch.allclose(merged[f"{site.path}.weight"], weight, atol=1e-6)
    wrapped.unload()
    assert [*model.modules()] == modules
    assert all(torch.equal(t, before[n]) for n, t in model.state_dict().items())


def test_masked_adapter_is_no_plain_adapter(masked):
    folder = masked.folder / "step_4"
    names = {file.name for file in folder.iterdir()}
    assert names == {
        "masked_adapter.safetensors",
        "masked_adapter_config.json",
        "README.md",
    }
    with pytest.raises(ModelError, match="leaves frozen weights alone, which no plain"):
        read_adapter_config(folder)
    with pytest.raises(ValueError, match=r"Can't find 'adapter_config.json'"):
        PeftModel.from_pretrained(one_layer(), str(folder))


def test_damaged_masked_adapter_is_named(masked, tmp_path):
    (tmp_path / "masked_adapter.safetensors").write_bytes(b"{}")
    with pytest.raises(ModelError, match="its masked adapter is damaged; copy the fo"):
        read_masked_adapter(tmp_path, llama_sites(one_layer()))


@pytest.mark.parametrize("other", ["way", "members"])
def test_state_of_a_run_that_froze_otherwise_is_refused(tmp_path, other):
    sites = llama_sites(one_layer())
    settings = replace(LORA, max_steps=1)
    frozen = Frozen(members=scattered(sites), way="element")
    run = Watched(tmp_path)
    run.run(model=one_layer(), settings=settings, frozen=frozen)
    changed = {"way": "rows"} if other == "way" else {"members": scattered(sites, 0.1)}
    with pytest.raises(StoreError, match="other settings, seed or samples"):
        run.run(model=one_layer(), settings=settings, frozen=replace(frozen, **changed))


def test_way_that_the_tuning_lacks_is_refused_before_anything_runs(tmp_path):
    frozen = Frozen(members={}, way="columns")
    with pytest.raises(UsageError, match="--freeze-by columns masks the factors"):
        Watched(tmp_path).run(model=one_layer(), settings=FULL, frozen=frozen)
    assert not (tmp_path / "work").exists()


def test_frozen_rows_of_dora_are_the_base_rows(tmp_path):
    model = one_layer()
    settings = replace(LORA, dora=True, max_steps=20, save_steps=20, lora_dropout=0.0)
    sites = llama_sites(model)
    members = scattered(sites, share=0.03)
    run = Seen(tmp_path)
    run.run(model=model, settings=settings, frozen=Frozen(members=members, way="rows"))
    for site in sites:
        rows = mask_of(site, members[site]).any(1)
        base = model.get_submodule(site.path).weight.detach()
        assert torch.equal(run.seen[site][rows], base[rows])
        assert (run.seen[site] != base)[~rows].all()
