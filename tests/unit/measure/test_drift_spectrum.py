"""Directions of a change are those of the dense matrix, and chance is what is drawn."""

import numpy as np
import pytest
import torch

from driftmap.core.errors import MeasureError
from driftmap.core.places import Site
from driftmap.measure.drift import changed_matrix
from driftmap.measure.drift import spectrum as module
from driftmap.signals.changes import DenseChange, DoraFactors, MaskedFactors
from driftmap.signals.factors import LoraFactors
from driftmap.stats.spectra import Shape, largest_by_chance, random_edge, random_values

SITE = Site(path="b.3.up", layer=3, part="up", num_rows=12, num_columns=7)


def factors(rank=3, *, scale=0.5, seed=0):
    draw = torch.Generator().manual_seed(seed)
    return LoraFactors(
        down=torch.randn(rank, 7, generator=draw, dtype=torch.float64),
        up=torch.randn(12, rank, generator=draw, dtype=torch.float64),
        scale=scale,
    )


def weight(seed=5):
    return torch.randn(12, 7, generator=torch.Generator().manual_seed(seed))


def masked(change):
    dense = change.scale * change.up @ change.down
    dense.view(-1)[torch.tensor([0, 5, 83])] = 0
    return dense


CHANGES = {
    "factors": (factors(), lambda: 0.5 * factors().up @ factors().down),
    "wide factors": (factors(9), lambda: 0.5 * factors(9).up @ factors(9).down),
    "masked": (
        MaskedFactors(factors=factors(), frozen=np.array([0, 5, 83])),
        lambda: masked(factors()),
    ),
    "whole": (
        DenseChange(values=factors().up @ factors().down),
        lambda: factors().up @ factors().down,
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_equals_its_dense_matrix(name):
    change, dense = CHANGES[name]
    moved = dense().numpy()
    found = changed_matrix(SITE, change, weight())
    values = np.linalg.svd(moved, compute_uv=False)
    assert found is not None
    assert found.spectrum is not None
    own = found.spectrum.values
    assert own == pytest.approx(values[: len(own)], abs=1e-12)
    assert values[len(own) :] == pytest.approx(0, abs=1e-12)
    energy = values**2 / (values**2).sum()
    share = values / values.sum()
    assert found.spectrum.stable_rank == pytest.approx(1 / energy[0])
    entropy = -sum(p * np.log(p) for p in share if p > 1e-14)
    assert found.spectrum.effective_rank == pytest.approx(np.exp(entropy))
    assert energy[: found.spectrum.half].sum() >= 0.5
    assert energy[: found.spectrum.half - 1].sum() < 0.5
    assert found.length == pytest.approx(np.linalg.norm(moved))
    assert found.size == pytest.approx(np.linalg.norm(weight().double()))
    before = weight().double().numpy().ravel()
    after = before + moved.ravel()
    cosine = before @ after / np.linalg.norm(before) / np.linalg.norm(after)
    assert found.cosine_distance == pytest.approx(1 - cosine)
    by_row = np.linalg.norm(moved, axis=1)
    assert list(found.rows.index) == list(np.argsort(-by_row)[:5])
    assert found.rows.lengths == pytest.approx(np.sort(by_row)[::-1][:5])
    assert found.rows.typical == pytest.approx(np.sqrt((by_row**2).mean()))
    by_column = np.linalg.norm(moved, axis=0)
    assert list(found.columns.index) == list(np.argsort(-by_column)[:5])


def test_dora_is_measured_on_its_own_matrix():
    held = weight().double()
    added = 0.5 * factors().up @ factors().down
    magnitude = held.norm(dim=1) * 1.1
    whole = held + added
    moved = whole * (magnitude / whole.norm(dim=1))[:, None] - held
    found = changed_matrix(
        SITE, DoraFactors(factors=factors(), magnitude=magnitude), weight()
    )
    assert found is not None
    assert found.spectrum is not None
    assert found.made == "stretched factors"
    values = np.linalg.svd(moved.numpy(), compute_uv=False)
    assert found.spectrum.values == pytest.approx(values, rel=1e-6)


def test_large_matrices_go_another_way_to_the_same_values(monkeypatch):
    change = DenseChange(values=weight(1).double())
    near = changed_matrix(SITE, change, weight())
    monkeypatch.setattr(module, "LARGEST_SIDE", 2)
    for one in (change, DenseChange(values=weight(1).double() @ torch.eye(7).double())):
        far = changed_matrix(SITE, one, weight())
        assert far.spectrum.values == pytest.approx(near.spectrum.values, rel=1e-9)


@pytest.mark.parametrize(
    "change",
    [
        LoraFactors(
            down=factors().down, up=torch.zeros(12, 3, dtype=torch.float64), scale=1.0
        ),
        DenseChange(values=torch.zeros(12, 7, dtype=torch.float64)),
    ],
)
def test_a_change_of_nothing_is_none(change):
    assert changed_matrix(SITE, change, weight()) is None


def test_without_a_base_factors_still_tell_how_far():
    known, alone = (changed_matrix(SITE, factors(), w) for w in (weight(), None))
    assert alone.size is alone.relative is alone.cosine_distance is None
    assert alone.length == pytest.approx(known.length)
    assert alone.rows.lengths == pytest.approx(known.rows.lengths)
    assert alone.rows.sizes.size == 0
    dora = DoraFactors(factors=factors(), magnitude=torch.ones(12).double())
    with pytest.raises(MeasureError, match="not known without it; give the base, too"):
        changed_matrix(SITE, dora, None)


@pytest.mark.parametrize("shape", [(60, 40), (40, 60), (50, 50)])
def test_independent_entries_have_the_values_of_the_limit_law(shape):
    rng = np.random.default_rng(3)
    drawn = np.mean(
        [np.linalg.svd(rng.normal(size=shape), compute_uv=False) for _ in range(50)], 0
    )
    drawn *= 1 / np.sqrt((drawn**2).sum())
    own = random_values(Shape(num_rows=shape[0], num_columns=shape[1]), 1.0)
    assert own == pytest.approx(drawn, abs=0.01)
    edge = random_edge(Shape(num_rows=shape[0], num_columns=shape[1]), 1.0)
    assert drawn[0] == pytest.approx(edge, rel=0.05)


def test_factors_with_independent_entries_have_the_values_that_are_drawn():
    rng = np.random.default_rng(4)
    drawn = []
    for _ in range(200):
        product = rng.normal(size=(30, 6)) @ rng.normal(size=(6, 20))
        values = np.linalg.svd(product, compute_uv=False)[:6]
        drawn.append(values / np.linalg.norm(values))
    own = random_values(Shape(num_rows=30, num_columns=20, rank=6), 2.0)
    assert np.linalg.norm(own) == pytest.approx(2)
    assert own / 2 == pytest.approx(np.mean(drawn, 0), abs=0.02)


@pytest.mark.parametrize(("rank", "num_free"), [(None, 20), (4, 4)])
def test_the_largest_random_row_passes_the_level_one_time_in_twenty(rank, num_free):
    rng = np.random.default_rng(5)
    above = 0
    for _ in range(400):
        rows = rng.normal(size=(40, 20))
        if rank:  # columns of A at right angles: rows have `rank` free numbers
            rows = rng.normal(size=(40, rank)) @ np.eye(rank, 20)
        lengths = np.linalg.norm(rows, axis=1)
        typical = np.sqrt((lengths**2).mean())
        above += lengths.max() / typical > largest_by_chance(40, num_free)
    assert 0.015 < above / 400 < 0.09
