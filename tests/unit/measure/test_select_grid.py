"""Does a grid of shares count what each pair alone would take?"""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from driftmap.core.errors import MeasureError
from driftmap.core.places import Site
from driftmap.measure.select import (
    Cut,
    GridTally,
    Picker,
    difference,
    difference_grid,
    overlap,
    overlap_table,
    standing,
)

SITES = tuple(
    Site(path=f"m.{n}.up", layer=n, part="up", num_rows=6 + n, num_columns=10)
    for n in range(3)
)
PS, QS = (0.0, 0.1, 0.3, 1.0), (0.001, 0.2, 0.5)


def made(seed, num_values=7):
    draw = torch.Generator().manual_seed(seed)
    return {s: torch.randint(num_values, s.shape, generator=draw) / 3 for s in SITES}


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 99), per=st.sampled_from(["matrix", "row", "global"]))
def test_every_cell_is_the_difference_at_its_shares(seed, per):
    of, to = made(seed), made(seed + 1000)
    cells = difference_grid(of, to, ps=PS, qs=QS, per=per)
    assert [(c.p, c.q) for c in cells] == [(p, q) for p in PS for q in QS]
    for cell in cells:
        alone = difference(of, to, p=cell.p, q=cell.q, per=per)
        claimed = difference(of, to, p=0, q=cell.q, per=per)
        assert cell.num_weights == sum(map(len, alone.values()))
        assert cell.num_claimed == sum(map(len, claimed.values()))
        assert cell.jaccard is cell.floor is None


def picked(scores, cuts, per):
    picker = Picker(SITES, cuts, per=per)
    found = {}
    for one in SITES:
        found |= picker.add(one, scores[one])
    return found


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 99), per=st.sampled_from(["matrix", "layer", "global"]))
def test_the_ceiling_is_the_overlap_of_what_halves_take(seed, per):
    even, odd = ((made(seed + n), made(seed + n + 50)) for n in (0, 1))
    q_cuts, p_cuts = ([Cut(share=s) for s in shares] for shares in (QS, PS))
    parts = [
        (picked(of, q_cuts, per), picked(to, p_cuts, per)) for of, to in (even, odd)
    ]
    tally = GridTally(PS, QS)
    for one in SITES:
        halves = tuple((of[one], to[one]) for of, to in parts)
        tally.add(one, halves[0], halves)
    for cell in tally.cells():
        left, right = (
            difference(of, to, p=cell.p, q=cell.q, per=per) for of, to in (even, odd)
        )
        a, b = (
            {(s, i) for s, index in group.items() for i in index.tolist()}
            for group in (left, right)
        )
        if not a | b:
            assert cell.jaccard is cell.floor is None
            continue
        assert cell.jaccard == pytest.approx(len(a & b) / len(a | b), abs=1e-15)
        assert cell.floor == pytest.approx(overlap(left, right).total.floor, abs=1e-15)


def test_the_share_kept_by_hand():
    one = Site(path="map", layer=0, part="up", num_rows=1, num_columns=10)
    of = {one: torch.arange(10.0)[None]}
    to = {one: torch.tensor([[0.0, 0, 0, 0, 0, 0, 0, 0, 5, 9]])}
    (cell,) = difference_grid(of, to, ps=[0.1], qs=[0.4])
    assert (cell.num_weights, cell.num_claimed, cell.share_kept) == (3, 4, 0.75)
    (empty,) = difference_grid(of, to, ps=[0.1], qs=[0.01])
    assert (empty.num_weights, empty.share_kept) == (0, None)


def test_a_grid_needs_both_scores_and_shares_that_are_some():
    with pytest.raises(MeasureError, match=r"^m\.2\.up has only one of the two scores"):
        difference_grid(made(0), dict(list(made(1).items())[:2]), ps=[0], qs=[1])
    with pytest.raises(MeasureError, match=r"a share of 1\.5 is none"):
        difference_grid(made(0), made(1), ps=[0.1, 1.5], qs=[0.1])


def test_overlap_by_hand():
    a, b = SITES[:2]
    old = {a: np.array([0, 1, 2]), b: np.array([4])}
    new = {a: np.array([2, 3])}
    found = overlap(old, new)
    assert found.total.jaccard == 1 / 5
    assert found.total.kept == 1 / 4
    assert found.places[a].kept == 1 / 3
    # Densities 3/60 and 2/60 of the first matrix.
    x, y = 3 / 60, 2 / 60
    assert found.places[a].floor == pytest.approx(x * y / (x + y - x * y))
    assert found.places[b].floor == 0
    assert overlap({}, new).total.kept is None


def test_the_floor_is_what_blind_draws_share():
    draw = np.random.default_rng(0)
    found = []
    for _ in range(400):
        left, right = (
            {s: np.sort(draw.choice(s.num_weights, 12, replace=False)) for s in SITES}
            for _ in range(2)
        )
        shared = overlap(left, right).total
        found.append(shared.num_common)
    assert np.mean(found) == pytest.approx(shared.num_by_chance, rel=0.05)
    shares = [12 / s.num_weights for s in SITES]
    assert shared.num_by_chance == pytest.approx(sum(12 * share for share in shares))


def test_an_overlap_stands_between_chance_and_noise():
    assert standing(0.15, 0.05, 0.55) == pytest.approx(0.2)
    assert standing(0.55, 0.05, 0.55) == 1
    assert standing(0.05, 0.05, 0.55) == 0
    assert standing(0.5, 0.3, 0.3) is None


def test_the_table_of_an_overlap_says_where_each_matrix_stands():
    a, b = SITES[:2]
    old, new = {a: np.array([0, 1, 2]), b: np.array([4])}, {a: np.array([2, 3])}
    ceiling = overlap(old, {a: np.array([0, 1])})
    table = overlap_table(overlap(old, new), ceiling, 64)
    assert table["matrix"].tolist() == ["all", "m.0.up", "m.1.up"]
    assert table["jaccard"].tolist() == [0.2, 0.25, 0.0]
    assert table["ceiling"].tolist() == [0.5, 2 / 3, 0.0]
    assert table["num_samples"].tolist() == [64] * 3
    floor = table["floor"][1]
    assert table["standing"][1] == pytest.approx((0.25 - floor) / (2 / 3 - floor))
    assert np.isnan(table["standing"][2])  # halves share nothing there: no ceiling
    unknown = overlap_table(overlap(old, new))
    assert np.isnan(unknown["ceiling"]).all()
    assert np.isnan(unknown["standing"]).all()
