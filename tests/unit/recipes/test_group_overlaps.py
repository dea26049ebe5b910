"""Are overlaps of groups what sets of places say, with the right floor and ceiling?"""

import numpy as np
import pytest

from driftmap.core.places import Site
from driftmap.recipes.options import GroupOptions, ScoringOptions
from driftmap.recipes.steps import data as steps_data
from driftmap.recipes.steps import rows
from driftmap.recipes.steps.groups.choosing import group_step
from driftmap.recipes.steps.groups.files import read_groups, read_overlaps
from driftmap.recipes.steps.groups.overlaps import Halved, overlaps_of
from driftmap.results.drift import POOLED_LAYER
from driftmap.results.groups import GroupOrigin, WeightGroup

A, B = (
    Site(path=path, layer=layer, part="q", num_rows=2, num_columns=5)
    for layer, path in enumerate("ab")
)


def members(a=(), b=()):
    return {A: np.array(a, dtype=np.int64), B: np.array(b, dtype=np.int64)}


def group(name, a=(), b=()):
    origin = GroupOrigin(model_sha256="m", base_sha256="m", rule="top")
    return WeightGroup(name=name, members=members(a, b), origin=origin)


def row(table, left, right, layer=POOLED_LAYER):
    (found,) = table.where(left=left, right=right, layer=layer).rows()
    return found


def test_pairs_by_hand():
    top, utility = group("top", [0, 1], [0, 1]), group("utility", [1, 2], [5])
    table = overlaps_of([top, utility], {}, 0)
    whole = row(table, "top", "utility")
    assert (whole["num_left"], whole["num_right"], whole["num_common"]) == (4, 3, 1)
    assert whole["jaccard"] == pytest.approx(1 / 6)
    assert whole["kept"] == pytest.approx(1 / 4)
    assert whole["kept_right"] == pytest.approx(1 / 3)
    by_chance = 2 * 2 / 10 + 2 * 1 / 10
    assert whole["floor"] == pytest.approx(by_chance / (7 - by_chance))
    assert np.isnan([whole[name] for name in ("across", "ceiling", "standing")]).all()
    assert row(table, "top", "utility", 0)["jaccard"] == pytest.approx(1 / 3)
    assert row(table, "top", "utility", 1)["jaccard"] == 0
    assert len(table) == 3


def test_a_standing_by_hand():
    top, utility = group("top", [0, 1]), group("utility", [1, 2])
    halves = {
        "top": Halved(even=members([0, 1]), odd=members([0, 1, 2])),
        "utility": Halved(even=members([1, 2]), odd=members([2, 3])),
    }
    table = overlaps_of([top, utility], halves, 32)
    assert row(table, "top", "top")["jaccard"] == pytest.approx(2 / 3)
    assert row(table, "utility", "utility")["jaccard"] == pytest.approx(1 / 3)
    found = row(table, "top", "utility")
    across = (0 + 2 / 3) / 2
    floors = [(2 * 2 / 10) / (4 - 0.4), (3 * 2 / 10) / (5 - 0.6)]
    floor, ceiling = np.mean(floors), np.sqrt(2 / 9)
    assert found["across"] == pytest.approx(across)
    assert found["ceiling"] == pytest.approx(ceiling)
    assert found["standing"] == pytest.approx((across - floor) / (ceiling - floor))
    assert found["num_samples"] == 32
    assert row(table, "top", "utility", 0)["standing"] == found["standing"]


def test_groups_that_share_their_noise_have_no_ceiling():
    same = Halved(even=members([0, 1]), odd=members([0, 1]))
    table = overlaps_of(
        [group("difference", [0, 1]), group("top", [0])],
        {"difference": same, "top": same},
        4,
    )
    assert np.isnan(row(table, "difference", "top")["ceiling"])
    assert row(table, "difference", "top")["num_samples"] == 0


def test_empty_groups_are_left_out():
    nothing = {"top": Halved(even=members(), odd=members())}
    assert not len(overlaps_of([group("top"), group("utility")], nothing, 4))
    table = overlaps_of([group("top"), group("utility", [1])], nothing, 4)
    assert np.isnan(row(table, "top", "utility")["kept"])


def test_a_study_keeps_what_its_groups_share(study, data):
    scoring = ScoringOptions(num_samples=6)
    read = {
        name: rows.drawn(str(data[name]), 6, 0) for name in ("behaviour", "utility")
    }
    encoded = {
        name: steps_data.scored_samples(study.loaded, of, scoring)
        for name, of in read.items()
    }
    both = steps_data.ScoringData(
        **encoded, sha256={name: of.sha256 for name, of in read.items()}
    )
    step = group_step(
        study, both, scoring, GroupOptions(share=0.05), study.loaded.layout.sites
    )
    table = read_overlaps(step)
    groups = {one.name: one for one in read_groups(step)}
    for pair in table.where(layer=POOLED_LAYER).rows():
        left, right = (
            {(site, i) for site, index in groups[name].members.items() for i in index}
            for name in (pair["left"], pair["right"])
        )
        if pair["left"] == pair["right"]:
            continue
        assert pair["num_common"] == len(left & right)
        assert pair["jaccard"] == pytest.approx(len(left & right) / len(left | right))
    alone = [r for r in table.rows() if r["left"] == r["right"]]
    assert {r["left"] for r in alone} == {"difference", "top", "utility"}
    assert np.isfinite(row(table, "top", "utility")["standing"])
