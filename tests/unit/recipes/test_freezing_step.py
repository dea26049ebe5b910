"""Is what a study freezes drawn from the right group, told, and held?"""

import json
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from driftmap.cli.main import main
from driftmap.core.errors import DataError, UsageError
from driftmap.recipes.freeze_options import FreezeOptions
from driftmap.recipes.steps.tuning import freezing
from driftmap.recipes.steps.tuning.freezing import ALL_MOVE, freeze_step
from driftmap.results.groups import GroupOrigin, WeightGroup
from driftmap.store.groups import load_group, save_group
from driftmap.store.tables import load_table
from tiny_studies import save_tiny_data, save_tiny_model, study_words


def group_of(loaded, count=40, sites=None, **origin):
    identity = loaded.identity
    about = {"model_sha256": identity.sha256, "base_sha256": identity.base_sha256}
    sites = loaded.layout.sites if sites is None else sites
    members = {s: np.arange(3, 3 + count, dtype=np.int64) for s in sites}
    return WeightGroup(
        name="circuit",
        members=members,
        origin=GroupOrigin(rule="top", **(about | origin)),
    )


@pytest.fixture
def kept(study, loaded, tmp_path):
    """Freeze a group that is read from a file."""

    def of(group=None, mobile=None, **options):
        file = tmp_path / "circuit.safetensors"
        save_group(file, group_of(loaded) if group is None else group)
        options = FreezeOptions(freeze=str(file), **options)
        groups = study.run.step("groups", {}, lambda folder: None)
        mobile = loaded.layout.sites if mobile is None else mobile
        return freeze_step(study, options, groups, mobile)

    return of


def told(study):
    return json.loads((study.run.path / "freezing.json").read_text())


def members(kept):
    return {s.key: set(i.tolist()) for s, i in kept.frozen.members.items() if i.size}


def test_nothing_is_frozen_by_default(study, loaded):
    groups = study.run.step("groups", {}, lambda folder: None)
    found = freeze_step(study, FreezeOptions(), groups, loaded.layout.sites)
    assert found is ALL_MOVE
    assert (found.inputs(), found.way) == ({}, None)
    assert found.mobile(loaded.layout.sites[0]) is None
    assert not (study.run.path / "freezing.json").exists()


def test_group_of_a_file_is_kept_whole(study, loaded, kept):
    found = kept()
    assert members(found) == {s.key: set(range(3, 43)) for s in loaded.layout.sites}
    num, tuned = 40 * 14, sum(s.num_weights for s in loaded.layout.sites)
    assert {k: v for k, v in told(study).items() if k not in ("kind", "version")} == {
        "group": "circuit", "way": "element", "share": 1.0, "num_weights": num,
        "num_mobile": num, "num_blocked": 0, "num_tuned": tuned,
    }  # fmt: skip


def test_larger_parts_hold_the_smaller_ones(kept):
    parts = [members(kept(freeze_share=share)) for share in (0.25, 0.5, 1.0)]
    for small, large in pairwise(parts):
        for site, index in small.items():
            assert index < large[site]
    assert {len(index) for index in parts[0].values()} == {10}


def test_other_seeds_draw_other_parts(study, kept):
    one = members(kept(freeze_share=0.5))
    object.__setattr__(study, "seed", 1)
    assert members(kept(freeze_share=0.5)) != one


def test_share_of_0_freezes_nothing_and_is_no_error(study, kept):
    assert members(kept(freeze_share=0.0)) == {}
    assert told(study)["num_weights"] == 0


def test_what_is_not_tuned_is_counted_apart(study, loaded, kept):
    mobile = [s for s in loaded.layout.sites if s.part == "q"]
    found = kept(mobile=mobile)
    assert told(study)["num_mobile"] == 2 * 40
    assert told(study)["num_weights"] == 14 * 40
    assert set(found.unmoved) == set(mobile)


@pytest.mark.parametrize(("way", "axis"), [("rows", 1), ("columns", 0)])
def test_blocked_weights_are_those_beside_the_frozen(study, loaded, kept, way, axis):
    found = kept(freeze_by=way)
    sites = loaded.layout.sites
    still = 0
    for site in sites:
        mask = np.zeros(site.num_weights, dtype=bool)
        mask[3:43] = True
        beside = mask.reshape(site.shape).any(axis, keepdims=True)
        expected = ~np.broadcast_to(beside, site.shape)
        assert np.array_equal(found.mobile(site), expected)
        still += (~expected).sum()
    assert told(study)["num_blocked"] == still - 40 * len(sites)


def test_moving_part_of_a_group_is_what_is_not_kept(loaded, kept):
    found = kept(group=group_of(loaded, sites=loaded.layout.sites[:3]))
    other = replace(group_of(loaded, count=60), name="other")
    moving = found.moving_part(other)
    for number, site in enumerate(loaded.layout.sites):
        first = 43 if number < 3 else 3
        assert moving.at(site).tolist() == list(range(first, 63))


def test_what_is_kept_is_an_input_of_what_follows(kept):
    one, other = kept(freeze_share=0.5), kept(freeze_share=1.0)
    assert one.inputs() != other.inputs() != kept(freeze_by="rewind").inputs()
    assert one.inputs() == kept(freeze_share=0.5).inputs()


def test_empty_group_of_a_file_is_refused(loaded, kept):
    with pytest.raises(DataError, match="the group is empty; choose one with weights"):
        kept(group=group_of(loaded, count=0))


def test_empty_group_of_the_run_is_refused(study, loaded, monkeypatch):
    empty = replace(group_of(loaded, count=0), name="matched")
    monkeypatch.setattr(freezing, "load_groups", lambda *_: [empty])
    groups = study.run.step("groups", {}, lambda folder: None)
    with pytest.raises(UsageError, match="--freeze matched: the group has no weight,"):
        freeze_step(study, FreezeOptions(freeze="matched"), groups, loaded.layout.sites)


def test_share_below_one_weight_is_refused(loaded, kept):
    with pytest.raises(UsageError, match=r"--freeze-share 0\.1: that part of `circuit"):
        kept(group=group_of(loaded, count=5), freeze_share=0.1)


def test_group_of_another_model_is_refused(loaded, kept):
    other = group_of(loaded, model_sha256="b" * 64, base_sha256="b" * 64)
    with pytest.raises(DataError, match="chosen on another model"):
        kept(group=other)


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """Words of a study, without its folder."""
    folder = tmp_path_factory.mktemp("frozen")
    model, data = save_tiny_model(folder / "model"), save_tiny_data(folder)
    return folder, study_words(model, data, folder / "run")


def refused(begun, capsys, *more, code=2):
    assert main([*begun[1], *more]) == code
    return " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--freeze=nonsense"], "--freeze nonsense: is no group of this run ("),
        (["--freeze=no.safetensors"], "no.safetensors: there is no such file; check"),
        (["--freeze-by=rows"], "--freeze names none; name one, or leave them out"),
        (["--freeze-share=.5"], "--freeze names none; name one, or leave them out"),
        (["--freeze=top", "--freeze-share=1.5"], "--freeze-share is 1.5; give a share"),
        (["--freeze=top", "--dora"], "does not hold under --dora, which rescales"),
        (
            ["--freeze=top", "--tune=full", "--freeze-by=rows"],
            "masks the factors of an adapter, and --tune full has none",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_frozen_is_refused_before_any_work(
    begun, capsys, words, expected
):
    assert expected in refused(begun, capsys, *words)
    assert not (begun[0] / "run").exists()


def test_checkpoints_are_tuned_already(begun, capsys):
    words = [word for word in begun[1] if not word.startswith("--tune-on")]
    (begun[0] / "elsewhere").mkdir(exist_ok=True)
    more = [f"--checkpoints={begun[0] / 'elsewhere'}", "--freeze=top"]
    assert "--checkpoints are tuned already; leave one of them out" in refused(
        (begun[0], words), capsys, *more
    )


def into(out, words):
    """The same study in another folder."""
    return [word for word in words if not word.startswith("--out")] + [f"--out={out}"]


@pytest.mark.slow
@pytest.mark.parametrize("way", [["--freeze-by=rows"], ["--tune=full"]])
def test_merged_model_is_the_base_where_it_was_frozen(begun, tmp_path, way):
    folder, words = begun
    out = tmp_path / "run"
    more = ["--freeze=difference", "--freeze-share=.5", "--until=tune", "--merged"]
    assert main([*into(out, words), *more, "--weight-decay=.1", *way]) == 0
    base = load_file(folder / "model/model.safetensors")
    merged = load_file(out / "merged/seed-0/model.safetensors")
    frozen = load_group(out / "frozen/members.safetensors")
    num_moved = 0
    for site, index in frozen.members.items():
        name = f"{site.path}.weight"
        moved = (merged[name] != base[name]).reshape(-1)
        num_moved += int(moved.sum())
        still = torch.zeros(site.num_weights, dtype=torch.bool)
        still[torch.from_numpy(index)] = True
        assert not moved[still].any()
    assert num_moved > 500


@pytest.mark.slow
def test_whole_declared_group_frozen_from_end_to_end(begun, tmp_path, capsys):
    out = tmp_path / "run"
    words = [*into(out, begun[1]), "--freeze=difference"]
    # A stop between two phases changes nothing of what follows.
    assert main([*words, "--until=tune"]) == 0
    assert main([*words, "--export-json"]) == 0
    size = json.loads((out / "freezing.json").read_text())["num_weights"]
    line = f"{size} weights of `difference`, of which training would move {size}, and 0"
    assert line in " ".join(capsys.readouterr().err.split())
    statistics = json.loads((out / "statistics.json").read_text())
    assert statistics["verdict"]["kind"] == "inconclusive"
    assert "kept from moving" in statistics["verdict"]["reason"]
    assert not any(r["is_primary"] for r in statistics["ratios"])
    assert "difference" not in {r["group"] for r in statistics["ratios"]}
    kept = [c for c in statistics["cautions"] if c["name"] == "kept-weights"]
    assert "100.0% of difference was frozen" in kept[0]["sentence"]
    rows = load_table(out / "tables/drift.parquet").where(
        group="difference", layer=-1, unit="weight", metric="absolute", step=4, seed=0
    )
    assert (rows["count"].item(), rows["immobile"].item()) == (0, size)
    text = " ".join((out / "report.txt").read_text().split())
    assert "3. What was kept from moving" in text
    assert f"{size} of them (100 %)" in text
    logs = json.loads((out / "json/seed-0/drift_step_000004.json").read_text())
    figures = logs["metrics"]["absolute_change"]["safety_set_diff"]
    assert (figures["count"], figures["max"]) == (size, 0.0)
    # The same folder holds one freezing.
    assert main([*into(out, begun[1]), "--freeze=top"]) == 1
    said = " ".join(capsys.readouterr().err.split())
    assert "freezing.freeze difference (now top); choose another --out" in said
    assert json.loads((out / "freezing.json").read_text())["group"] == "difference"
