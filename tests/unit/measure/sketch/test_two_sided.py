import numpy as np
import pytest
import torch

from driftmap.measure.sketch.two_sided import (
    TwoSided,
    exact_energy,
    orthonormal_rows,
    sides,
)
from sketch_signals import looked_up, naive, outer, signal

SHAPE = (60, 90)
KINDS = {
    "a map": (outer(*SHAPE, samples=2),),
    "a table": (looked_up(*SHAPE, samples=2),),
    "a tied embedding": (
        outer(*SHAPE, samples=2),
        looked_up(*SHAPE, samples=2, scale=3.0),
    ),
}


def projected(made, size=64, seed=0):
    way = TwoSided(made.tensor, made.shape, size, seed=seed, device=torch.device("cpu"))
    return way(made)


@pytest.mark.parametrize("kind", KINDS)
def test_products_of_projections_are_right_on_average(kind):
    made = signal(KINDS[kind], SHAPE)
    gradients = naive(made.pieces, SHAPE)
    found = np.array([
        (values @ values.T).flatten().tolist()
        for values in (projected(made, 64, s).values.double() for s in range(200))
    ])  # fmt: skip
    truth = (gradients @ gradients.T).flatten().numpy()
    error = found.std(axis=0, ddof=1) / 200**0.5
    assert (np.abs(found.mean(axis=0) - truth) < 4 * error).all()
    assert (error < 0.1 * truth[[0, 3, 0, 3]]).all()


@pytest.mark.parametrize("kind", KINDS)
def test_factors_are_projected_as_the_gradient_would_be(kind):
    made = signal(KINDS[kind], SHAPE, name="w")
    gradients = naive(made.pieces, SHAPE).reshape(-1, *SHAPE)
    expected = []
    for half in (0, 1):
        out = orthonormal_rows(4, 60, f"9\x1fw\x1fo{half}").double()
        into = orthonormal_rows(8, 90, f"9\x1fw\x1fi{half}").double()
        expected.append((out @ gradients @ into.T).flatten(1) / 2**0.5)
    found = projected(made, 64, seed=9).values.double()
    torch.testing.assert_close(found, torch.cat(expected, 1), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("tokens", [2, 100])
def test_energies_are_exact_whichever_way_is_cheaper(kind, tokens):
    pieces = {
        "a map": (outer(*SHAPE, tokens=tokens),),
        "a table": (looked_up(*SHAPE, tokens=tokens),),
        "a tied embedding": (
            outer(*SHAPE, tokens=tokens),
            looked_up(*SHAPE, tokens=tokens),
        ),
    }[kind]
    found = exact_energy(signal(pieces, SHAPE))
    exact = naive(pieces, SHAPE).square().sum(1)
    torch.testing.assert_close(found, exact, rtol=1e-6, atol=0)


@pytest.mark.parametrize("shape", [(64, 64), (1, 4096), (3, 700), (5000, 7), (90, 60)])
@pytest.mark.parametrize("size", [2, 32, 512])
def test_sides_hold_the_size_and_fit_the_shape(shape, size):
    rows, columns = sides(shape, size)
    assert rows * columns == size
    assert rows <= shape[0]
    assert columns <= shape[1]


def test_rows_are_orthonormal_and_keep_lengths_on_average():
    rows = orthonormal_rows(4, 100, "a").double()
    torch.testing.assert_close(
        rows @ rows.T, 25 * torch.eye(4).double(), rtol=0, atol=1e-5
    )
    assert not torch.equal(rows, orthonormal_rows(4, 100, "b").double())


def test_the_two_pairs_are_independent_estimates():
    made = signal(KINDS["a map"], SHAPE)
    first, second = (
        (2 * half @ half.T)[0, 1] for half in projected(made).values.split(32, 1)
    )
    assert first != second
