"""What moved between two models, against subtraction of what peft merges."""

import json

import numpy as np
import pytest
import torch

from driftmap.core.errors import DataError
from driftmap.load.tuned import find_tuned
from driftmap.recipes.steps.comparing.weights.alone import weights_alone_step
from driftmap.recipes.steps.comparing.weights.carrying import (
    read_weights,
    weights_step,
)
from driftmap.recipes.steps.comparing.weights.grouping import found_groups
from driftmap.recipes.steps.comparing.weights.layers import drift_by_layer
from driftmap.stats.claims.weights import weights_claims
from driftmap.store.run_dir import RunDir
from made_pairs_of_models import (
    dense_change,
    opened_pair,
    save_adapter,
    save_changed,
)
from tiny_families import tiny_family
from tiny_mixtures import save_tiny_mixture
from tokenizers_made import CHATML, byte_level


def measured(base, tuned, out, groups=()):
    with opened_pair(base, tuned, out) as pair:
        weights_step(pair, groups)
        found = read_weights(pair.study.run)
        layers = drift_by_layer(pair, pair.run.last_step)
        sites = {site.key: site for site in pair.base.layout.sites}
        return found, layers, sites, dense_change(pair)


def of_site(tensors, site):
    """A site's matrix `[out in]` of the named tensors."""
    if site.tensor is not None:
        held = tensors[f"{site.path}.{site.tensor}"]
        held = held if site.expert is None else held[site.expert]
    else:
        held = tensors[f"{site.path}.weight"]
    held = held.T if site.transposed else held
    return held if site.split is None else held[torch.tensor(site.split.rows())]


def require_dense(found, layers, sites, dense):
    """Every number is that of the merged model minus the base."""
    before, moved = dense
    by_key = {one.key: one for one in found.matrices}
    squares = {}
    for key, site in sites.items():
        whole, change = of_site(before, site), of_site(moved, site)
        total = squares.setdefault(site.layer, [0.0, 0.0])
        total[0] += float(change.square().sum())
        total[1] += float(whole.square().sum())
        if key not in by_key:
            assert not change.any(), key
            continue
        one = by_key[key]
        assert one.length == pytest.approx(float(change.norm()), rel=1e-6)
        assert one.size == pytest.approx(float(whole.norm()), rel=1e-6)
        values = np.linalg.svd(change.numpy(), compute_uv=False)
        if one.spectrum is not None:
            own = one.spectrum.values
            assert own == pytest.approx(values[: len(own)], abs=1e-6 * values[0])
            energy = (values**2).sum() / values[0] ** 2
            assert one.spectrum.stable_rank == pytest.approx(energy, rel=1e-5)
    for layer, (change, whole) in squares.items():
        assert layers[layer] == pytest.approx((change / whole) ** 0.5, rel=1e-6)
    scored = {f"{site.path}.{site.tensor or 'weight'}" for site in sites.values()}
    others = {one.name: one for one in found.others}
    assert len(others) == len(found.others)
    for name, change in moved.items():
        if name not in scored:
            assert (name in others) == bool(change.any()), name
            if name in others:
                length = float(change.norm())
                assert others[name].length == pytest.approx(length, rel=1e-5)


ADAPTERS = {
    "plain": {},
    "dora": {"use_dora": True},
    "whole modules, scaled by rank": {
        "modules_to_save": ["lm_head", "norm"],
        "use_rslora": True,
        "rank_pattern": {"down_proj": 4},
    },
    "head and tokens": {
        "target_modules": ["q_proj", "lm_head", "embed_tokens"],
    },
}


@pytest.mark.parametrize("name", ADAPTERS)
def test_an_adapter_moves_what_peft_merges(name, model, tmp_path):
    save_adapter(model, tmp_path / "adapter", **ADAPTERS[name])
    found, *rest = measured(model, tmp_path / "adapter", tmp_path / "run")
    require_dense(found, *rest)
    assert found.is_adapter
    moved = rest[-1][1]
    assert found.num_tensors == len(moved)
    assert found.num_equal == sum(not bool(change.any()) for change in moved.values())
    assert found.num_weights == sum(change.numel() for change in moved.values())


def test_a_transposed_fused_matrix_is_cut_into_its_parts(tmp_path):
    tiny_family("gpt2").save_pretrained(tmp_path / "base")
    byte_level(template=CHATML).save_pretrained(tmp_path / "base")
    save_adapter(
        tmp_path / "base",
        tmp_path / "adapter",
        target_modules=["c_attn"],
        fan_in_fan_out=True,
    )
    found, *rest = measured(tmp_path / "base", tmp_path / "adapter", tmp_path / "run")
    require_dense(found, *rest)
    assert {one.part for one in found.matrices} == {"q", "k", "v"}


def test_a_change_of_one_layer_is_found_there(model, tmp_path):
    def change(named):
        torch.manual_seed(0)
        held = named["model.layers.1.mlp.up_proj.weight"]
        held.add_(torch.randn_like(held), alpha=0.1)
        named["model.layers.0.input_layernorm.weight"].mul_(1.5)

    tuned = save_changed(model, tmp_path / "tuned", change)
    found, *rest = measured(model, tuned, tmp_path / "run")
    require_dense(found, *rest)
    assert [one.key for one in found.matrices] == ["model.layers.1.mlp.up_proj"]
    (norm,) = found.others
    assert (norm.part, norm.layer, norm.found) == ("norm", 0, "changed")
    assert found.num_equal == found.num_tensors - 2
    moved = [(one.layer, one.part) for one in found.cells if one.num_moved]
    assert moved == [(1, "up")]


@pytest.mark.parametrize("kind", ["adapter", "whole"])
def test_what_changes_nothing_moves_nothing(kind, model, tmp_path):
    if kind == "adapter":
        save_adapter(model, tmp_path / "tuned", size=0.0)
    else:
        save_changed(model, tmp_path / "tuned", lambda named: None)
    found, layers, _, _ = measured(model, tmp_path / "tuned", tmp_path / "run")
    assert found.is_nothing
    assert found.num_equal == found.num_tensors > 0
    assert set(layers.values()) == {0.0}
    assert {(one.num_moved, one.length) for one in found.cells} == {(0, 0.0)}


def test_experts_and_router_rows_are_told_apart(tmp_path):
    base = save_tiny_mixture(tmp_path / "base")

    def change(named):
        torch.manual_seed(0)
        for name, held in named.items():
            if name.endswith("layers.1.mlp.experts.down_proj"):
                held[2].add_(torch.randn_like(held[2]), alpha=0.1)
            if name.endswith("layers.1.mlp.gate.weight"):
                held[0].mul_(2)

    tuned = save_changed(base, tmp_path / "tuned", change)
    found, *rest = measured(base, tuned, tmp_path / "run")
    require_dense(found, *rest)
    by_layer = {bank.layer: bank for bank in found.banks}
    assert not by_layer[0].lengths.any()
    assert list(np.flatnonzero(by_layer[1].lengths)) == [2]
    assert list(np.flatnonzero(by_layer[1].router_lengths)) == [0]
    assert by_layer[1].router_lengths[0] == pytest.approx(by_layer[1].router_sizes[0])
    (expert,) = [one for one in found.matrices if one.expert is not None]
    assert (expert.expert, expert.part) == (2, "down")
    assert expert.spectrum is not None


def test_a_group_that_moved_more_is_found_among_its_size(model, tmp_path):
    rng = np.random.default_rng(0)
    path = "model.layers.0.mlp.up_proj"

    def change(named):
        for name, held in named.items():
            if name.endswith("proj.weight"):
                noise = rng.normal(size=held.shape) * 0.01
                held.add_(torch.tensor(noise, dtype=held.dtype))
        held = named[f"{path}.weight"]
        held.view(-1)[torch.tensor(chosen)] += 0.1

    chosen = sorted(rng.choice(16 * 32, 40, replace=False).tolist())
    rows = [[index // 16, index % 16] for index in chosen]
    group = tmp_path / "planted.json"
    group.write_text(json.dumps({"layer_0_mlp.up_proj": rows}))
    tuned = save_changed(model, tmp_path / "tuned", change)
    found, *_ = measured(model, tuned, tmp_path / "run", [group])
    whole = found.groups[0]
    assert (whole.layer, whole.part) == (None, None)
    assert whole.rho > 5
    assert whole.p_adjusted < 0.01
    assert whole.num_weights == 40
    (claim,) = [c for c in weights_claims(found) if c.standing == "found"]
    assert f"Group `{whole.group}` (40 weights)" in claim.says


def test_two_groups_of_one_name_are_refused(model, tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        file = tmp_path / name / "top.json"
        file.write_text(json.dumps({"layer_0_mlp.up_proj": [[0, 0]]}))
    with pytest.raises(DataError, match="both hold a group"):
        found_groups([tmp_path / "one" / "top.json", tmp_path / "two" / "top.json"])


def test_factors_alone_tell_the_same_lengths(model, tmp_path):
    save_adapter(
        model, tmp_path / "adapter",
        target_modules=["q_proj", "down_proj", "lm_head"],
    )  # fmt: skip
    whole, *_ = measured(model, tmp_path / "adapter", tmp_path / "run")
    with RunDir.open(tmp_path / "alone", {"seed": 0}, "compare") as run:
        weights_alone_step(run, find_tuned([str(tmp_path / "adapter")]))
        found = read_weights(run)
    for alone, beside in zip(found.matrices, whole.matrices, strict=True):
        assert (alone.key, alone.part) == (beside.key, beside.part)
        assert alone.length == pytest.approx(beside.length)
        assert alone.spectrum.values == pytest.approx(beside.spectrum.values)
        assert alone.size is None
    (head,), (known,) = found.others, whole.others
    assert (head.name, head.part, head.size) == ("lm_head.weight", "head", None)
    assert head.length == pytest.approx(known.length)
    assert found.num_tensors == 0
    says = [claim.says for claim in weights_claims(found)]
    assert says[0] == (
        "What could be measured of the change lies in q and down of layers 0 to 1 and "
        "the head; modules or tensors that cannot be measured without the base: 1."
    )
    assert "of 2 tuned layers" in says[1]
    assert found.cautions[0].startswith("The base is not at hand:")


def test_dora_alone_is_counted_and_not_measured(model, tmp_path):
    save_adapter(model, tmp_path / "adapter", use_dora=True)
    with RunDir.open(tmp_path / "alone", {"seed": 0}, "compare") as run:
        weights_alone_step(run, find_tuned([str(tmp_path / "adapter")]))
        found = read_weights(run)
    assert not found.matrices
    assert found.cautions[1].startswith("4 modules have DoRA, which scales the rows")
    (claim,) = weights_claims(found)
    assert claim.standing == "inconclusive"
    assert claim.says.endswith("4 modules or tensors cannot be without the base.")
