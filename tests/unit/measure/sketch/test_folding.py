from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from driftmap.measure.sketch.folding import Folding
from driftmap.measure.sketch.tables import fold_table
from driftmap.signals.gradients import WholeGradients
from sketch_signals import looked_up, naive, outer, signal, vectors

SHAPE = (210, 170)  # three tiles, the last not full
KINDS = {
    "a map": lambda seed: (outer(*SHAPE, samples=2, seed=seed),),
    "a table": lambda seed: (looked_up(*SHAPE, samples=2, tokens=40, seed=seed),),
    "a tied embedding": lambda seed: (
        outer(*SHAPE, samples=2, seed=seed),
        looked_up(*SHAPE, samples=2, tokens=40, scale=3.0, seed=seed),
    ),
    "any matrix": lambda seed: (vectors(210 * 170, samples=2, seed=seed),),
}
CPU = torch.device("cpu")


def folded(made, size=64, seed=0):
    return Folding(made.tensor, size, seed, CPU)(made)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [64, 1536])
def test_the_sketch_is_the_sum_that_its_table_says(kind, size):
    made = signal(KINDS[kind](0), SHAPE, name="some.weight")
    truth = naive(made.pieces, SHAPE).numpy()
    expected = []
    for half in (0, 1):
        table = fold_table(7, "some.weight", half, truth.shape[1], size // 2)
        length = len(table.order)
        sums = np.zeros((2, size // 2))
        for j in range(truth.shape[1]):
            bucket = (table.order[j % length] + table.rotation[j // length]) % (
                size // 2
            )
            minus = table.signs[j // 8] >> (j % 8) & 1
            sums[:, bucket] += -truth[:, j] if minus else truth[:, j]
        expected.append(sums)
    found = folded(made, size, seed=7)
    np.testing.assert_allclose(
        found.values, np.concatenate(expected, 1) / 2**0.5, rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("kind", KINDS)
def test_energies_are_those_of_the_gradient(kind):
    made = signal(KINDS[kind](0), SHAPE)
    exact = naive(made.pieces, SHAPE).square().sum(1)
    torch.testing.assert_close(folded(made).energy, exact, rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(kind, marks=() if "tied" in kind else pytest.mark.slow)
        for kind in KINDS
    ],
)
def test_products_of_sketches_are_right_on_average(kind):
    """Fails for a tensor whose numbers miss their scale, or that loses a piece."""
    made = signal(KINDS[kind](0), SHAPE)
    gradients = naive(made.pieces, SHAPE)
    found = np.array([
        (values @ values.T).flatten().tolist()
        for values in (folded(made, 64, seed).values.double() for seed in range(200))
    ])  # fmt: skip
    truth = (gradients @ gradients.T).flatten().numpy()
    error = found.std(axis=0, ddof=1) / 200**0.5
    assert (np.abs(found.mean(axis=0) - truth) < 4 * error).all()
    assert (error < 0.05 * truth[[0, 3, 0, 3]]).all()


@pytest.mark.parametrize("size", [16, 128, 1024])
def test_the_error_falls_as_the_square_root_of_the_size(size):
    cosine, errors = _errors(size, seeds=40)
    rms = errors.mean(dim=1).square().mean().sqrt()
    expected = ((1 + cosine.square()) / size).mean().sqrt()
    assert float(rms / expected) == pytest.approx(1, abs=0.1)


def test_halves_tell_the_error():
    """`|x1 - x2| / 2` against the error that is made, both over many pairs."""
    _, errors = _errors(128, seeds=60)
    told = (errors[:, 0] - errors[:, 1]).div(2).square().mean().sqrt()
    made = errors.mean(dim=1).square().mean().sqrt()
    assert float(told / made) == pytest.approx(1, abs=0.1)


def test_sketches_are_linear():
    a, b = vectors(35_700, seed=0), vectors(35_700, seed=1)
    both = WholeGradients(values=a.values + b.values, summed_squares=a.summed_squares)
    parts = [folded(signal((p,), SHAPE)).values for p in (a, b, both)]
    torch.testing.assert_close(parts[0] + parts[1], parts[2], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("size", [64, 1536, 2**14])
def test_reading_in_order_sums_as_adding_in_order_does(size):
    """What a GPU does, where adding has no order that repeats."""
    made = signal((vectors(50_000),), (50_000,))
    values = made.pieces[0].values.double()
    (half, _) = Folding(made.tensor, size, 0, CPU)._halves
    signed = values * half._signs(0, 50_000)
    added = half.start(3, signed)
    added.index_add_(1, half._buckets(0, 50_000).long(), signed)
    cuts = [0, 1, 16_384, 20_001, 50_000]
    gathered = sum(half.gathered(signed[:, a:b], a) for a, b in pairwise(cuts))
    torch.testing.assert_close(gathered, half.finish(added), rtol=0, atol=1e-10)


def _errors(size, seeds):
    """Cosines of all pairs of 12 samples, and how far each half's estimate is off."""
    made = signal((outer(*SHAPE, samples=12),), SHAPE)
    gradients = naive(made.pieces, SHAPE)
    length = gradients.norm(dim=1, keepdim=True)
    cosine = (gradients / length) @ (gradients / length).T
    upper = torch.triu_indices(12, 12, 1)
    errors = []
    for seed in range(seeds):
        values = folded(made, size, seed).values.double() / length
        halves = [2 * half @ half.T - cosine for half in values.split(size // 2, 1)]
        errors.append(torch.stack([half[*upper] for half in halves]))
    return cosine[*upper], torch.stack(errors)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("kind", KINDS)
def test_a_gpu_folds_as_a_cpu_does_and_the_same_each_time(kind):
    made = signal(KINDS[kind](0), SHAPE)
    there = replace(made, pieces=tuple(_on_gpu(piece) for piece in made.pieces))
    way = Folding(made.tensor, 64, 0, torch.device("cuda"))
    first, second = way(there), way(there)
    assert torch.equal(first.values, second.values)
    expected = folded(made)
    torch.testing.assert_close(
        first.values.cpu(), expected.values, rtol=1e-4, atol=1e-3
    )
    torch.testing.assert_close(first.energy.cpu(), expected.energy, rtol=1e-5, atol=0)


def _on_gpu(piece):
    return replace(
        piece,
        **{
            name: getattr(piece, name).cuda()
            for name in piece.__dataclass_fields__
            if isinstance(getattr(piece, name), torch.Tensor)
        },
    )
