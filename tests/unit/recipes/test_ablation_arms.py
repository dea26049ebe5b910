"""What is done to a model at each dose, by group and by control?"""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from driftmap.core.errors import DataError, MeasureError, StoreError, UsageError
from driftmap.families.matrices import site_weight
from driftmap.intervene.editing import change_norms
from driftmap.load.encoding import Encoding, encode
from driftmap.load.model import load_model
from driftmap.load.samples import read_samples
from driftmap.load.source import ModelSource
from driftmap.recipes.ablation_options import AblationOptions
from driftmap.recipes.options import ScoringOptions
from driftmap.recipes.steps.ablating.beforehand import find_targets
from driftmap.recipes.steps.ablating.head_arms import head_treatment, heads_by_group
from driftmap.recipes.steps.ablating.rank_arms import rank_treatment, taken
from driftmap.recipes.steps.ablating.targets import Targets, read_targets
from driftmap.recipes.steps.ablating.weight_arms import weight_treatments
from driftmap.results.groups import GroupOrigin, WeightGroup
from driftmap.results.heads import Head
from driftmap.stats.bins import quantile_bins
from driftmap.store.groups import save_group
from tiny_studies import save_tiny_model


def a_group(loaded, *, name="mine", scores=False, every=11):
    sites = loaded.layout.sites
    members = {s: np.arange(0, s.num_weights, every) for s in sites}
    return WeightGroup(
        name=name,
        members=members,
        origin=GroupOrigin(
            model_sha256=loaded.identity.sha256,
            base_sha256=loaded.identity.base_sha256,
            rule="top",
        ),
        scores={s: i.astype(np.float32) for s, i in members.items()} if scores else {},
    )


def targets_of(*groups):
    return Targets(
        groups=groups, chosen=("somehow",) * len(groups), beside=(), sha256={}
    )


def treated(study, group, **options):
    options = AblationOptions(**{"controls": 2} | options)
    return weight_treatments(study, targets_of(group), options)[0]


def entries(change, sites):
    """Flat indices of everything that a change touches."""
    return {
        site: set(np.flatnonzero(change.regions[site].mask(site).numpy()).tolist())
        for site in sites
        if site in change.regions
    }


def weights(study):
    model = study.loaded.model
    return {s: site_weight(model, s).clone() for s in study.loaded.layout.sites}


def test_smaller_doses_are_part_of_larger_ones(study):
    group = a_group(study.loaded)
    sites = study.loaded.layout.sites
    for arm in treated(study, group).arms:
        seen = [entries(arm.change(dose), sites) for dose in (0.25, 0.5, 1.0)]
        for site in sites:
            small, middle, whole = (found[site] for found in seen)
            assert small < middle < whole
            assert len(middle) == round(0.5 * len(whole))
        if arm.is_own:
            assert seen[2] == {s: set(i.tolist()) for s, i in group.members.items()}


def test_controls_are_other_weights_of_the_same_sizes(study):
    group = a_group(study.loaded)
    found_all = treated(study, group)
    short = []
    controls = found_all.arms[1:]
    drawn = [entries(arm.change(1.0), study.loaded.layout.sites) for arm in controls]
    assert drawn[0] != drawn[1]
    for site, weight in weights(study).items():
        bins = quantile_bins(weight.abs().numpy().reshape(-1), 40)
        wanted = np.bincount(bins[group.at(site)], minlength=40)
        for found in drawn:
            assert not found[site] & set(group.at(site).tolist())
            has = np.bincount(bins[sorted(found[site])], minlength=40)
            left = np.bincount(bins, minlength=40) - wanted
            assert (has == np.minimum(wanted, left)).all()
            short.append(int((wanted - has).sum()))
    assert found_all.about.num_short == sum(short) / len(drawn)


def test_the_highest_scores_go_first_where_that_is_asked_for(study):
    group = a_group(study.loaded, scores=True)
    own, control, _ = treated(study, group, order="score").arms
    for site, found in entries(own.change(0.25), study.loaded.layout.sites).items():
        index = group.at(site)
        assert found == set(index[-round(0.25 * index.size) :].tolist())
    # A control has no scores: its weights go in drawn order.
    assert entries(control.change(0.25), study.loaded.layout.sites)


def test_scores_that_are_not_there_order_nothing(study):
    with pytest.raises(UsageError, match="group 'mine' holds no scores to go by"):
        treated(study, a_group(study.loaded), order="score")


def test_keeping_only_a_group_takes_all_others_in_the_end(study):
    group = a_group(study.loaded)
    found = treated(study, group, by="keep_only")
    sites = study.loaded.layout.sites
    half = entries(found.arms[0].change(0.5), sites)
    whole = entries(found.arms[0].change(1.0), sites)
    for site in sites:
        others = set(range(site.num_weights)) - set(group.at(site).tolist())
        assert whole[site] == others
        assert half[site] < others
        assert len(half[site]) == round(0.5 * len(others))
    assert found.about.num_units == sum(map(len, whole.values()))
    with found.arms[0].change(1.0).made(study.loaded.model):
        for site, weight in weights(study).items():
            assert (weight.reshape(-1)[group.at(site)] != 0).all()
            assert int((weight != 0).sum()) == group.at(site).size


@pytest.mark.parametrize("kind", ["gaussian", "shuffle"])
def test_noise_changes_controls_by_as_much_in_every_matrix(study, kind):
    found = treated(study, a_group(study.loaded), by="noise", noise_kind=kind)
    model = study.loaded.model
    norms = []
    for arm in found.arms:
        change = arm.change(1.0)
        norms.append(change_norms(model, change.regions, change.edit))
    for site, norm in norms[0].items():
        assert norm > 0
        assert norms[1][site] == pytest.approx(norm, rel=1e-9)
        assert norms[2][site] == pytest.approx(norm, rel=1e-9)


def test_restoring_takes_the_other_models_values_and_stretches_controls(
    study, tmp_path
):
    other = save_tiny_model(tmp_path / "other", seed=1)
    theirs = load_model(ModelSource(model=str(other), device="cpu"))
    group = a_group(study.loaded)
    found = treated(study, group, by="restore", restore_from=str(other))
    own, control, _ = (arm.change(1.0) for arm in found.arms)
    before = weights(study)
    with own.made(study.loaded.model):
        inside = weights(study)
    with control.made(study.loaded.model):
        beside = weights(study)
    for site, weight in before.items():
        expected = weight.clone().reshape(-1)
        index = group.at(site)
        expected[index] = site_weight(theirs.model, site).reshape(-1)[index]
        assert torch.equal(inside[site], expected.reshape(weight.shape))
        ours = (inside[site] - weight).norm()
        torch.testing.assert_close((beside[site] - weight).norm(), ours)


def test_scaling_uses_the_factor(study):
    group = a_group(study.loaded)
    change = treated(study, group, by="scale", scale_by=-2.0).arms[0].change(1.0)
    before = weights(study)
    with change.made(study.loaded.model):
        after = weights(study)
    for site, weight in before.items():
        index = group.at(site)
        assert torch.equal(
            after[site].reshape(-1)[index], -2 * weight.reshape(-1)[index]
        )


def test_two_groups_have_controls_outside_of_both(study):
    first = a_group(study.loaded)
    second = replace(
        a_group(study.loaded, name="other"),
        members={s: i[:-1] + 3 for s, i in first.members.items()},
    )
    options = AblationOptions(controls=1)
    for found in weight_treatments(study, targets_of(first, second), options):
        control = entries(found.arms[1].change(1.0), study.loaded.layout.sites)
        for site, drawn in control.items():
            assert not drawn & {*first.at(site).tolist(), *second.at(site).tolist()}


def test_heads_are_ranked_by_their_share_of_a_group(loaded):
    sites = loaded.layout.sites
    q = next(s for s in sites if s.part == "q" and s.layer == 1)
    o = next(s for s in sites if s.part == "o" and s.layer == 1)
    size = q.head_size
    group = replace(
        a_group(loaded),
        members={
            q: np.arange(2 * size * q.num_columns, (2 * size + 1) * q.num_columns),
            o: np.array([3 * size, o.num_columns + 3 * size]),
        },
    )
    ranked = heads_by_group(sites, group)
    assert len(ranked) == 8
    assert ranked[0].head == Head(layer=1, number=2)
    assert ranked[0].value == pytest.approx(1 / size / 2)
    assert ranked[1].head == Head(layer=1, number=3)
    assert ranked[1].value == pytest.approx(2 / (size * o.num_rows) / 2)
    assert ranked[2].value == 0


def test_heads_go_in_the_order_of_the_file_and_others_of_their_layers_instead(
    study, tmp_path
):
    ranks = {"layer-1-head-2": 0.9, "layer-0-head-1": 0.8, "layer-0-head-3": 0.1}
    (tmp_path / "ranks.json").write_text(json.dumps(ranks))
    options = AblationOptions(
        by="heads", heads=tmp_path / "ranks.json", num_heads=2, controls=3
    )
    found = head_treatment(study, None, options)
    assert found.about.chosen == "the first in ranks.json: 1.2, 0.1"
    assert found.about.num_units == 2

    def columns(change):
        return {
            site.layer: sorted(region.columns)
            for site, region in change.regions.items()
        }

    own, *controls = found.arms
    assert columns(own.change(0.5)) == {1: [8, 9, 10, 11]}
    assert columns(own.change(1.0)) == {0: [4, 5, 6, 7], 1: [8, 9, 10, 11]}
    for arm in controls:
        others = columns(arm.change(1.0))
        assert others.keys() == {0, 1}
        assert not set(others[0]) & {4, 5, 6, 7}
        assert not set(others[1]) & {8, 9, 10, 11}
        assert all(len(taken_) == 4 for taken_ in others.values())


def test_heads_that_leave_no_others_to_compare_with_are_refused(study):
    options = AblationOptions(by="heads", num_heads=5)
    message = "--num-heads 5: of 8 heads 8 are ranked, and as many others must be left"
    with pytest.raises(DataError, match=message):
        head_treatment(study, a_group(study.loaded), options)


def test_ranks_of_another_model_are_refused(study, tmp_path):
    (tmp_path / "ranks.json").write_text('{"layer-7-head-0": 1.0}')
    options = AblationOptions(by="heads", heads=tmp_path / "ranks.json")
    message = (
        "layer-7-head-0 is no head of this model, which has 8 up to layer-1-head-3"
    )
    with pytest.raises(DataError, match=message):
        head_treatment(study, None, options)


def encoded(study, data, name):
    samples = read_samples(str(data[name])).samples
    return encode(samples, study.loaded.tokenizer, Encoding())


def observed_outputs(study, site, samples):
    """Outputs of a map without bias at tokens that predict the response, stacked."""
    seen = []
    module = study.loaded.model.get_submodule(site.path)
    handle = module.register_forward_hook(lambda m, given, out: seen.append(given[0]))
    rows = []
    for sample in samples:
        seen.clear()
        with torch.no_grad():
            study.loaded.model(
                input_ids=torch.from_numpy(sample.token_ids.astype(np.int64))[None]
            )
        predicts = np.flatnonzero(sample.counted) - 1
        rows.append(seen[0][0, predicts].double())
    handle.remove()
    return torch.cat(rows) @ site_weight(study.loaded.model, site).double().T


@pytest.mark.parametrize("by", ["actsvd", "projection"])
def test_directions_go_as_the_stacked_outputs_say(study, data, by):
    sets = [encoded(study, data, name) for name in ("behaviour", "utility")]
    options = AblationOptions(
        by=by, behaviour_directions=0.25, utility_directions=0.5, controls=1
    )
    found, _ = rank_treatment(study, (sets, {}), options, ScoringOptions())
    before = weights(study)
    with found.arms[0].change(1.0).made(study.loaded.model):
        after = weights(study)
    for site in study.loaded.layout.sites[:7:3]:
        V_s, V_u = (
            torch.linalg.svd(observed_outputs(study, site, s), full_matrices=False)[2].T
            for s in sets
        )
        most = min(site.shape)
        V_s, V_u = V_s[:, : round(0.25 * most)], V_u[:, : round(0.5 * most)]
        wide = before[site].double()
        change = V_s @ V_s.T @ wide
        if by == "projection":
            change = change - V_u @ V_u.T @ change
        expected = (wide - change).float()
        torch.testing.assert_close(after[site], expected, rtol=1e-4, atol=1e-4)


def test_random_directions_change_every_matrix_by_as_much_and_of_that_rank(study, data):
    sets = [encoded(study, data, "behaviour")]
    options = AblationOptions(by="actsvd", behaviour_directions=0.25, controls=2)
    found, directions = rank_treatment(study, (sets, {}), options, ScoringOptions())
    before = weights(study)
    changes = []
    for arm in found.arms:
        with arm.change(0.5).made(study.loaded.model):
            after = weights(study)
        changes.append({s: (after[s] - before[s]).double() for s in before})
    own, *controls = changes
    for site, change in own.items():
        count = round(0.5 * taken(site, 0.25))
        for other in (change, *(control[site] for control in controls)):
            assert (torch.linalg.svdvals(other) > 1e-4 * other.norm()).sum() == count
            assert float(other.norm()) == pytest.approx(float(change.norm()), rel=1e-4)
    table = directions.table()
    assert table["taken"].tolist() == [taken(s, 0.25) for s in before]
    assert (table["rank"] >= table["taken"]).all()
    assert ((table["energy_share"] > 0) & (table["energy_share"] <= 1)).all()


def test_too_few_tokens_for_the_directions_are_refused(study, data):
    sets = [encoded(study, data, "behaviour")[:1]]
    short = replace(
        sets[0][0],
        counted=np.arange(sets[0][0].counted.size) == sets[0][0].counted.size - 1,
    )
    options = AblationOptions(by="actsvd", behaviour_directions=0.5, controls=1)
    found, _ = rank_treatment(study, ([(short,)], {}), options, ScoringOptions())
    message = "8 of 16 directions are asked for, but the 1 tokens that were seen tell 1"
    with (
        pytest.raises(MeasureError, match=message),
        found.arms[0].change(1.0).made(study.loaded.model),
    ):
        pass


def test_groups_are_read_by_file_by_name_and_by_folder(study, tmp_path):
    folder = tmp_path / "run" / "groups-of-a-run"
    for name in ("difference", "top", "random"):
        save_group(folder / f"{name}.safetensors", a_group(study.loaded, name=name))
    by_name = read_targets(study, [folder / "difference"])
    assert [group.name for group in by_name.groups] == ["difference"]
    assert by_name.beside == ()
    by_folder = read_targets(study, [folder])
    assert [group.name for group in by_folder.groups] == ["difference"]
    assert [group.name for group in by_folder.beside] == ["top"]
    both = read_targets(study, [folder / "top.safetensors", folder / "difference"])
    assert [group.name for group in both.groups] == ["top", "difference"]


def test_a_group_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(StoreError, match="no such file or folder; check --group"):
        find_targets([tmp_path / "nothing"])


def test_two_groups_of_one_name_are_refused(loaded, tmp_path):
    for folder in ("a", "b"):
        save_group(tmp_path / folder / "mine.safetensors", a_group(loaded))
    with pytest.raises(StoreError, match="are both the group `mine`"):
        find_targets([tmp_path / "a", tmp_path / "b" / "mine.safetensors"])
