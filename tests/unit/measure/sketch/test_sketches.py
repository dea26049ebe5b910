from dataclasses import replace

import numpy as np
import pytest
import torch

from driftmap.core.errors import MeasureError
from driftmap.core.places import TensorPlace
from driftmap.measure.sketch import Sketches
from driftmap.results.sketches import SketchSettings
from driftmap.signals.gradients import OuterProducts
from sketch_signals import looked_up, naive, outer, signal, vectors

SHAPES = {"embed": (50, 12), "q": (40, 30), "norm": (12,)}


def batch(first=0, seed=0):
    """Three samples at a table, a map and a vector."""
    return [
        signal((looked_up(50, 12, seed=seed),), (50, 12), "embed", first, "embed"),
        signal((outer(40, 30, seed=seed),), (40, 30), "q", first),
        signal((vectors(12, seed=seed),), (12,), "norm", first, "norm"),
    ]


def sketched(batches, **settings):
    tensors = [made.tensor for made in batches[0]]
    fold = Sketches(tensors, SketchSettings(**{"size": 64, **settings}))
    for signals in batches:
        for made in signals:
            fold.take(made)
    return fold.result()


@pytest.mark.parametrize("kind", ["fold", "two-sided", "legacy"])
def test_rows_belong_to_gradients_of_length_one_and_energies_are_exact(kind):
    result = sketched([batch()], kind=kind)
    assert result.sample_ids == ("s0", "s1", "s2")
    assert [t.name for t in result.tensors] == ["embed", "q", "norm"]
    for number, made in enumerate(batch()):
        gradients = naive(made.pieces, made.shape)
        exact = gradients.square().sum(1).numpy()
        np.testing.assert_allclose(result.energies[:, number], exact, rtol=1e-6)
        # Of 64 numbers a length errs by sqrt(2/64), of gradients of low rank by more.
        lengths = np.square(result.rows[number]).sum(1)
        assert np.abs(lengths - 1).max() < (0.75 if number < 2 else 1e-6)


@pytest.mark.parametrize("kind", ["fold", "two-sided", "legacy"])
def test_a_tensor_with_no_more_weights_than_numbers_is_exact(kind):
    result = sketched([batch()], kind=kind)
    assert result.is_exact(2)
    gradients = naive(batch()[2].pieces, (12,))
    unit = gradients / gradients.norm(dim=1, keepdim=True)
    rows = result.rows[2]
    np.testing.assert_allclose(rows @ rows.T, unit @ unit.T, atol=2e-6)


def test_a_small_table_is_kept_whole_too():
    result = sketched([batch()], size=1024)
    gradients = naive(batch()[0].pieces, (50, 12))
    unit = gradients / gradients.norm(dim=1, keepdim=True)
    np.testing.assert_allclose(result.rows[0], unit, atol=1e-6)


def test_legacy_sizes_go_by_weights():
    tensors = [
        TensorPlace(name="wide", part="up", num_weights=900_000),
        TensorPlace(name="small", part="q", num_weights=100_000),
    ]
    fold = Sketches(tensors, SketchSettings(kind="legacy", share=0.01))
    for tensor, shape in zip(tensors, [(900, 1000), (100, 1000)], strict=True):
        fold.take(replace(signal((outer(*shape),), shape), tensor=tensor))
    # 1 % of a million weights is 20 blocks of 512; of them 17.6 and 2 are theirs.
    assert fold.result().num_numbers == (18 * 512, 2 * 512)


@pytest.mark.parametrize("kind", ["fold", "two-sided"])
def test_the_order_of_batches_changes_no_byte(kind):
    one, two = batch(0, seed=0), batch(3, seed=1)
    forward = sketched([one, two], kind=kind)
    backward = sketched([two, one[::-1]], kind=kind)
    again = {
        t.name: rows for t, rows in zip(backward.tensors, backward.rows, strict=True)
    }
    assert forward.sample_ids == backward.sample_ids == tuple(f"s{i}" for i in range(6))
    for tensor, rows in zip(forward.tensors, forward.rows, strict=True):
        assert rows.tobytes() == again[tensor.name].tobytes()


def test_a_sample_alone_is_sketched_as_in_its_batch():
    together = sketched([batch()])
    alone = sketched([[_only(made, row) for made in batch()] for row in range(3)])
    for left, right in zip(together.rows, alone.rows, strict=True):
        np.testing.assert_allclose(left, right, atol=1e-6)


def test_a_gradient_of_rounding_noise_has_no_direction():
    noise = OuterProducts(
        inputs=torch.ones(1, 2, 30),
        gradients=torch.tensor([[[1.0] * 40, [-1.0 - 1e-7] * 40]]),
    )
    signals = [signal((noise,), (40, 30), "q"), signal((vectors(4, samples=1),), (4,))]
    result = sketched([signals])
    assert result.energies[0, 0] == 0
    assert not result.rows[0].any()
    assert result.energies[0, 1] > 0


def test_what_a_batch_does_not_show_adds_nothing():
    signals = batch()
    signals[1] = replace(signals[1], pieces=())
    result = sketched([signals])
    assert not result.energies[:, 1].any()
    assert result.rows[1].shape == (3, 64)


def test_nothing_to_sketch_is_refused():
    with pytest.raises(MeasureError, match="there is no tensor to sketch"):
        Sketches([], SketchSettings())
    tensors = [made.tensor for made in batch()]
    with pytest.raises(MeasureError, match="no sample came to be sketched"):
        Sketches(tensors, SketchSettings()).result()
    with pytest.raises(MeasureError, match="q: its number of weights is not known"):
        Sketches([TensorPlace(name="q", part="q")], SketchSettings())


def test_a_tensor_that_misses_samples_is_refused_by_name():
    fold = Sketches([made.tensor for made in batch()], SketchSettings(size=64))
    for made in [*batch(), *batch(3)[:2]]:
        fold.take(made)
    with pytest.raises(MeasureError, match="norm: 3 samples came, of embed 6"):
        fold.result()


def test_a_sample_without_any_gradient_is_refused_by_name():
    zero = OuterProducts(
        inputs=torch.ones(2, 1, 30),
        gradients=torch.tensor([[[0.0] * 40], [[1.0] * 40]]),
    )
    with pytest.raises(MeasureError, match=r"gradient of \['s0'\] is zero in every"):
        sketched([[signal((zero,), (40, 30))]])


def test_a_gradient_that_is_no_number_is_refused_by_name():
    broken = outer(40, 30)
    broken.inputs[1, 0, 0] = torch.nan
    with pytest.raises(MeasureError, match=r"q: the gradient of \['s1'\] is not fin"):
        sketched([[signal((broken,), (40, 30), "q")]])


def _only(made, row):
    (piece,) = made.pieces
    fields = {
        name: value[row : row + 1] if isinstance(value, torch.Tensor) else value
        for name, value in ((n, getattr(piece, n)) for n in piece.__dataclass_fields__)
    }
    return replace(
        made,
        pieces=(type(piece)(**fields),),
        sample_ids=made.sample_ids[row : row + 1],
        sample_index=made.sample_index[row : row + 1],
    )
