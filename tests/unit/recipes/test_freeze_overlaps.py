"""Do overlaps after tuning agree with sets of coordinates, counted one by one?"""

import math

import numpy as np
import pytest

from driftmap.core.places import Site
from driftmap.recipes.steps.freezing.chosen import Picked
from driftmap.recipes.steps.freezing.overlapping import after_tuning
from driftmap.results.table import Table
from driftmap.stats.freeze_overlaps import overlap_reading

SITES = [
    Site(path=f"layers.{layer}.{part}", layer=layer, part=part, num_rows=9,
         num_columns=11)
    for layer in (0, 1) for part in ("q", "down")
]  # fmt: skip
EMPTY_BEFORE, EMPTY_BOTH = SITES[2], SITES[3]


def drawn(rng, share):
    """A group of all matrices but two that it leaves empty."""
    members = {}
    for site in SITES:
        count = int(share * site.num_weights)
        some = np.sort(rng.choice(site.num_weights, count, replace=False))
        members[site] = some if site is not EMPTY_BOTH else some[:0]
    return members


def made(seed=0):
    rng = np.random.default_rng(seed)
    before = Picked(whole=drawn(rng, 0.3), even=drawn(rng, 0.3), odd=drawn(rng, 0.3))
    after = Picked(whole=drawn(rng, 0.2), even=drawn(rng, 0.2), odd=drawn(rng, 0.2))
    for members in (before.whole, before.even, before.odd):
        members[EMPTY_BEFORE] = members[EMPTY_BEFORE][:0]
    return before, after, drawn(rng, 0.4)


def places(members, matrix):
    """A group as a set of (matrix, row, column), in one matrix or in all."""
    return {
        (site.key, int(flat) // 11, int(flat) % 11)
        for site, index in members.items()
        for flat in index
        if matrix in ("all", site.key)
    }


def jaccard(left, right):
    return len(left & right) / len(left | right) if left | right else math.nan


def by_chance(left, right, matrix):
    """Expected Jaccard of blind draws, from the sizes in each matrix."""
    common = 0.0
    for site in SITES:
        if matrix in ("all", site.key):
            sizes = [sum(p[0] == site.key for p in group) for group in (left, right)]
            common += sizes[0] * sizes[1] / 99
    return common / (len(left) + len(right) - common)


@pytest.mark.parametrize("seed", range(3))
def test_every_figure_is_that_of_naive_sets(seed):
    before, after, frozen = made(seed)
    table = after_tuning(before, after, frozen, 32)
    assert table["matrix"].tolist() == ["all", *(s.key for s in SITES[:3])]
    for row in table.rows():
        matrix = str(row["matrix"])
        old, new, held = (
            places(m, matrix) for m in (before.whole, after.whole, frozen)
        )
        halves = [
            (places(before.even, matrix), places(after.odd, matrix)),
            (places(before.odd, matrix), places(after.even, matrix)),
        ]
        across = np.mean([jaccard(*pair) for pair in halves])
        low = np.mean([by_chance(*pair, matrix) for pair in halves])
        high = jaccard(places(before.even, matrix), places(before.odd, matrix))
        expected = {
            "num_old": len(old),
            "num_new": len(new),
            "num_common": len(old & new),
            "jaccard": jaccard(old, new),
            "kept": len(old & new) / len(old) if old else math.nan,
            "floor": by_chance(old, new, matrix),
            "ceiling": high,
            "across": across,
            "across_standing": (across - low) / (high - low),
            "num_frozen": len(held),
            "kept_frozen": _part(held & old & new, held & old),
            "kept_mobile": _part((old - held) & new, old - held),
            "frozen_new": _part(held & new, held),
            "num_samples": 32,
        }
        for name, value in expected.items():
            if name == "across_standing" and not high > low:
                value = math.nan
            assert row[name] == pytest.approx(value, nan_ok=True), (matrix, name)


def _part(some, of):
    return len(some) / len(of) if of else math.nan


def test_an_unchanged_model_stands_at_its_own_ceiling():
    before, _, frozen = made()
    fewer = {site: index[3:] for site, index in before.even.items()}
    before = Picked(whole=before.whole, even=before.even, odd=fewer)
    table = after_tuning(before, before, frozen, 32).where(matrix="all")
    assert table["jaccard"].tolist() == [1.0]
    assert table["across"].tolist() == table["ceiling"].tolist()
    assert table["across_standing"][0] == pytest.approx(1.0)
    assert table["kept_frozen"].tolist() == table["kept_mobile"].tolist() == [1.0]


def test_another_group_altogether_stands_at_the_floor_or_below():
    before, _, _ = made()
    everything = {s: np.arange(s.num_weights) for s in SITES}
    others = {
        s: np.setdiff1d(everything[s], np.union1d(before.even[s], before.odd[s]))
        for s in SITES
    }
    after = Picked(whole=others, even=others, odd=others)
    table = after_tuning(before, after, {}, 32).where(matrix="all")
    assert table["across"].tolist() == [0.0]
    assert table["across_standing"][0] < 0
    assert np.isnan(table["kept_frozen"][0])


def test_a_score_without_samples_has_no_halves_and_no_ceiling():
    before, after, frozen = made()
    nothing = {site: np.empty(0, dtype=np.int64) for site in SITES}
    table = after_tuning(
        Picked(whole=before.whole, even=nothing, odd=nothing),
        Picked(whole=after.whole, even={}, odd={}),
        frozen,
        0,
    )
    for name in ("ceiling", "standing", "across", "across_standing"):
        assert np.isnan(table[name]).all()
    assert np.isfinite(table["jaccard"]).all()


def test_seeds_are_the_sample_of_a_reading():
    before, after, frozen = made()
    other = after_tuning(before, before, frozen, 32)
    table = Table.joined([after_tuning(before, after, frozen, 32), other])
    rows = table.where(matrix="all")
    found = overlap_reading("group", 1.0, rows)
    assert found.jaccard.num == 2
    assert found.jaccard.estimate == pytest.approx(rows["jaccard"].mean())
    half = 12.706205 * np.std(rows["jaccard"], ddof=1) / math.sqrt(2)
    assert found.jaccard.high - found.jaccard.estimate == pytest.approx(half, rel=1e-5)
    assert found.kept_frozen == pytest.approx(rows["kept_frozen"].mean())


def test_one_seed_has_no_interval_and_what_is_unknown_is_none():
    before, after, _ = made()
    nothing = Picked(whole=before.whole, even={}, odd={})
    rows = after_tuning(nothing, after, {}, 32).where(matrix="all")
    found = overlap_reading("free", 0.0, rows)
    assert found.jaccard.low == found.jaccard.high == found.jaccard.estimate
    assert (found.across is None) == bool(np.isnan(rows["across"][0]))
    assert (found.ceiling, found.kept_frozen, found.frozen_new) == (None, None, None)
    assert found.kept_mobile == found.kept
