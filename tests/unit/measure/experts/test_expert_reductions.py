"""Do all ways of forming and summing gradients give the same numbers?"""

from dataclasses import replace

import numpy as np
import pytest
import torch

from driftmap.measure.experts import reductions
from driftmap.measure.experts.reductions import (
    Segments,
    in_blocks,
    in_chunks,
    squares,
    squares_in_chunks,
)

LENGTHS = (3, 1, 40, 2, 2, 7)
EXPERTS = (0, 0, 1, 1, 3, 4)


def rows(out=12, into=10, seed=0):
    rng = np.random.default_rng(seed)
    start = tuple(np.cumsum([0, *LENGTHS]).tolist())
    return Segments(
        inputs=torch.from_numpy(rng.normal(size=(start[-1], into))).float(),
        output_gradients=torch.from_numpy(rng.normal(size=(start[-1], out))).float(),
        start=start,
        expert=EXPERTS,
    )


def weight(expert):
    return torch.full((12, 10), float(expert + 1))


def gradients(made):
    own = zip(made.start, made.start[1:], strict=False)
    D, X = made.output_gradients.double(), made.inputs.double()
    return [D[a:b].T @ X[a:b] for a, b in own]


WAYS = {
    "blocks": in_blocks,
    "chunks": in_chunks,
    "small chunks": lambda *a, **k: in_chunks(*a, **k, num_bytes=3000),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kept", ["out", "in"])
def test_sums_are_those_of_dense_gradients(way, kept, monkeypatch):
    monkeypatch.setattr(reductions, "_BLOCK_BYTES", 200)  # blocks of 5 rows
    made = rows()
    found = WAYS[way](made, kept, square=True, weight=weight)
    for n, G in enumerate(gradients(made)):
        by_unit = G.abs().sum(1 if kept == "out" else 0).float()
        assert torch.allclose(found.absolute[n], by_unit, rtol=1e-5)
        assert float(found.square[n]) == pytest.approx(float((G**2).sum()), rel=1e-5)
        weighted = float(G.abs().sum()) * (EXPERTS[n] + 1)
        assert float(found.weighted[n]) == pytest.approx(weighted, rel=1e-5)


@pytest.mark.parametrize("way", WAYS)
def test_rows_can_be_scaled_one_by_one(way):
    made = rows()
    scale = torch.linspace(0.5, 2.0, made.start[-1])
    scaled = replace(made, output_gradients=made.output_gradients * scale[:, None])
    found = WAYS[way](replace(made, scale=scale), "out").absolute
    assert torch.allclose(found, WAYS[way](scaled, "out").absolute, rtol=1e-5)


@pytest.mark.parametrize("way", WAYS)
def test_what_was_not_asked_for_is_not_there(way):
    found = WAYS[way](rows(), "out")
    assert found.square is None
    assert found.weighted is None


@pytest.mark.parametrize("way", [squares, squares_in_chunks])
def test_squares_without_gradients_are_those_with_them(way):
    made = rows()  # 40 rows are more than 120 / 22, the others fewer
    for found, G in zip(way(made), gradients(made), strict=True):
        assert float(found) == pytest.approx(float((G**2).sum()), rel=1e-5)


def test_a_short_segment_forms_no_gradient(monkeypatch):
    made = rows(out=4000, into=3000)
    monkeypatch.setattr(torch.linalg, "vector_norm", None)
    assert (squares(made) > 0).all()


def test_numbers_of_others_do_not_leak_through_padding():
    made = rows()
    made.inputs[4] = torch.nan
    found = in_chunks(made, "out").absolute
    assert torch.isnan(found[2]).all()
    assert torch.isfinite(found[[0, 1, 3, 4, 5]]).all()
