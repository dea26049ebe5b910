from dataclasses import replace

import numpy as np
import pytest
from torch import nn

from driftmap.families.discover import find_layout
from driftmap.families.matrices import site_weight
from driftmap.load.model import LoadedModel
from driftmap.recipes.steps.bench import Study
from driftmap.recipes.steps.inference import cautioning
from driftmap.recipes.steps.inference.cautioning import study_cautions
from driftmap.results.groups import GroupOrigin, WeightGroup
from driftmap.results.provenance import ModelIdentity
from driftmap.results.table import Table
from driftmap.stats.evidence import DrawPlan, matrix_evidence
from driftmap.stats.many_tests import adjust
from driftmap.stats.ratios import group_ratios
from driftmap.store.run_dir import RunDir
from tiny import tiny_llama
from tokenizers_made import byte_level


@pytest.fixture
def study(tmp_path):
    model = tiny_llama()
    assert isinstance(model, nn.Module)
    layout = find_layout(model)
    identity = ModelIdentity(
        source="tiny", sha256="a", base_sha256="a", family=layout.family,
        dtype="float32", device="cpu", num_weights=1,
    )  # fmt: skip
    loaded = LoadedModel(
        model=model, tokenizer=byte_level(), layout=layout, identity=identity
    )
    with RunDir.open(tmp_path / "run", {"seed": 0}, "drift", free=()) as run:
        yield Study(run=run, loaded=loaded, seed=0)


def group(name, rule, members):
    origin = GroupOrigin(model_sha256="a", base_sha256="a", rule=rule)
    return WeightGroup(name=name, members=members, origin=origin)


def groups_of(study, num=40):
    """The largest weights of each matrix, and as many drawn blindly."""
    sites = study.loaded.layout.sites[:3]
    size = {s: site_weight(study.loaded.model, s).abs().flatten() for s in sites}
    top = {s: np.sort(size[s].numpy().argsort()[-num:]) for s in sites}
    rng = np.random.default_rng(0)
    random = {s: np.sort(rng.permutation(s.num_weights)[:num]) for s in sites}
    return [group("difference", "difference", top), group("random", "random", random)]


def cautions_of(study, groups, *, still=(), num_shared=0, jaccard=0.7):
    rng = np.random.default_rng(0)
    evidence = []
    for site in study.loaded.layout.sites:
        members = {g.name: g.at(site) for g in groups}
        drift = rng.random(site.shape) * (site.part not in still)
        sizes = site_weight(study.loaded.model, site).abs().numpy()
        plan = DrawPlan(seed=0, num_permutations=19)
        evidence.append(matrix_evidence(site, sizes, [drift] * 3, members, plan))
    ratios = adjust(group_ratios(evidence, primary="difference", seed=0), {"random"})
    halves = {"group": groups[0].name, "num_samples": 8, "jaccard": jaccard}
    agreement = Table.from_rows([halves])
    found = study_cautions(study, groups, evidence, ratios, num_shared, agreement)
    return {caution.name: caution for caution in found}


def test_large_and_blind_weights_are_not_compared_relatively(study):
    found = cautions_of(study, groups_of(study))
    assert {"relative-change", "few-permutations"} <= found.keys()
    assert not {"structural-zeros", "tiny-weights", "few-seeds"} & found.keys()
    assert "difference is not comparable with that of random" in (
        found["relative-change"].sentence
    )


def test_what_was_not_tuned_is_named_and_counts_nowhere_else(study):
    part = study.loaded.layout.sites[0].part
    found = cautions_of(study, groups_of(study), still=(part,))
    assert found["structural-zeros"].value == pytest.approx(1 / 3)
    assert "module-mix" not in found


def test_groups_in_other_modules_are_not_pooled(study):
    first, second, _ = study.loaded.layout.sites[:3]
    index = np.arange(20)
    apart = [group("difference", "top", {first: index, second: index[:1]}),
             group("utility", "top", {second: index})]  # fmt: skip
    found = cautions_of(study, apart)
    assert found["module-mix"].value == pytest.approx(20 / 21)


def test_weights_next_to_zero_count_once_though_two_groups_hold_them(study):
    groups = groups_of(study)
    site = study.loaded.layout.sites[0]
    shared = groups[0].at(site)[:1]
    site_weight(study.loaded.model, site).view(-1)[int(shared[0])] = 0.0
    members = {site: np.union1d(shared, groups[1].at(site))}
    both = [groups[0], replace(groups[1], members=groups[1].members | members)]
    assert cautions_of(study, both)["tiny-weights"].value == 1


def test_a_model_in_16_bits_says_what_is_rounded(study):
    identity = replace(study.loaded.identity, dtype="bfloat16")
    narrow = replace(study, loaded=replace(study.loaded, identity=identity))
    found = cautions_of(narrow, groups_of(study))
    assert "Drift from an adapter's own factors is" in found["half-precision"].sentence
    assert not found["half-precision"].is_blocking


def test_a_group_that_halves_disagree_on_may_not_repeat(study):
    assert "low-ceiling" not in cautions_of(study, groups_of(study))
    found = cautions_of(study, groups_of(study), jaccard=0.2)
    assert "halves of 8 samples agree on 0.20" in found["low-ceiling"].sentence
    unknown = cautions_of(study, groups_of(study), jaccard=np.nan)
    assert "no ceiling was measured" in unknown["low-ceiling"].sentence


def test_shared_samples_are_counted(study):
    assert cautions_of(study, groups_of(study), num_shared=7)[
        "shared-samples"
    ].value == 7  # fmt: skip


def test_each_matrix_is_read_once(study, monkeypatch):
    read = []
    real = cautioning.effective_weight
    monkeypatch.setattr(
        cautioning,
        "effective_weight",
        lambda model, site: read.append(site) or real(model, site),
    )
    cautions_of(study, groups_of(study))
    assert len(read) == len(set(read)) == len(study.loaded.layout.sites)
