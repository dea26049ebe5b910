import pytest
import torch

from driftmap.core.errors import MeasureError
from driftmap.signals.assembled import (
    add_at,
    check_finite,
    noise_floor,
    only_looked_up,
    squared_sums,
    stretches,
    touched_rows,
)
from driftmap.signals.gradients import OuterProducts, WholeGradients
from sketch_signals import looked_up, naive, outer, signal, vectors

TABLE = (11, 4)
KINDS = {
    "one map": (outer(11, 4),),
    "a map that runs twice": (outer(11, 4), outer(11, 4, tokens=2, seed=1)),
    "a table": (looked_up(11, 4, scale=3.0),),
    "a table looked up twice": (looked_up(11, 4), looked_up(11, 4, seed=1, scale=0.5)),
    "a tied embedding": (outer(11, 4), looked_up(11, 4, scale=2.0)),
    "any matrix": (vectors(44),),
    "a map and what autograd gave": (outer(11, 4), vectors(44)),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("numbers", [1, 40, 2**22])
def test_stretches_join_to_the_naive_gradient(kind, numbers):
    made = signal(KINDS[kind], TABLE)
    found = list(stretches(made, numbers))
    ends = [0, *(s.start + s.values.shape[1] for s in found)]
    assert ends[:-1] == [s.start for s in found]
    joined = torch.cat([s.values for s in found], dim=1)
    torch.testing.assert_close(
        joined.double(), naive(made.pieces, TABLE), rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("kind", ["a table", "a table looked up twice"])
def test_touched_rows_come_once_per_sample_and_hold_all(kind):
    made = signal(KINDS[kind], TABLE)
    touched = touched_rows(made)
    places = list(zip(touched.sample.tolist(), touched.row.tolist(), strict=True))
    assert places == sorted(set(places))
    whole = torch.zeros(3, *TABLE, dtype=torch.float64)
    whole[touched.sample, touched.row] = touched.values.double()
    torch.testing.assert_close(
        whole.flatten(1), naive(made.pieces, TABLE), rtol=1e-6, atol=1e-6
    )


def test_only_tables_have_rows_alone():
    assert only_looked_up(signal(KINDS["a table"], TABLE))
    assert not only_looked_up(signal(KINDS["a tied embedding"], TABLE))


def test_a_signal_without_pieces_has_no_stretch():
    empty = signal(KINDS["one map"], TABLE)
    assert not list(stretches(type(empty)(**{**_fields(empty), "pieces": ()})))


def test_long_sums_of_squares_keep_their_digits():
    """One float32 sum over four million numbers errs a hundred times as much."""
    values = torch.rand(1, 2**22, generator=torch.Generator().manual_seed(0))
    truth = values.double().square().sum()
    assert abs(squared_sums(values)[0] / truth - 1) < 1e-7


def test_the_noise_floor_tells_cancelled_sums_from_gradients():
    x = torch.ones(1, 2, 4)
    cancelled = torch.tensor([[[1.0] * 8, [-1.0 - 1e-7] * 8]])
    kept = torch.tensor([[[1.0] * 8, [-1.0 + 1e-4] * 8]])
    for gradients, is_noise in ((cancelled, True), (kept, False)):
        made = signal((OuterProducts(inputs=x, gradients=gradients),), (8, 4))
        (stretch,) = stretches(made)
        energy = squared_sums(stretch.values)
        assert bool(energy[0] < noise_floor(made)[0]) == is_noise


def test_the_noise_floor_of_each_kind_by_hand():
    unit = (64 * torch.finfo(torch.float32).eps) ** 2
    map_floor = noise_floor(signal((_ones_map(),), (2, 3)))
    torch.testing.assert_close(map_floor / unit, torch.tensor([6.0 * 4]).double())
    table = looked_up(5, 2, samples=1, tokens=3, scale=2.0)
    table.counted[:] = torch.tensor([[True, False, True]])
    table.gradients[:] = 1
    table_floor = noise_floor(signal((table,), (5, 2)))
    torch.testing.assert_close(table_floor / unit, torch.tensor([2 * 4 * 4.0]).double())
    vector = WholeGradients(
        values=torch.ones(1, 2), summed_squares=torch.tensor([7.0]).double()
    )
    vector_floor = noise_floor(signal((vector,), (2,)))
    torch.testing.assert_close(vector_floor / unit, torch.tensor([7.0]).double())


def test_a_gradient_that_is_no_number_is_refused_by_tensor_and_sample():
    made = signal(KINDS["one map"], TABLE, name="layers.0.q")
    check_finite(made, torch.ones(3).double())
    with pytest.raises(
        MeasureError, match=r"layers\.0\.q: the gradient of \['s1'\] is not finite"
    ):
        check_finite(made, torch.tensor([1.0, float("nan"), 1.0]).double())


def test_values_add_up_at_places_that_repeat():
    total = torch.zeros(3, 2)
    add_at(total, torch.tensor([2, 0, 2]), torch.arange(6.0).reshape(3, 2))
    assert total.tolist() == [[2, 3], [0, 0], [4, 6]]


def _ones_map():
    return OuterProducts(inputs=torch.ones(1, 2, 3), gradients=torch.ones(1, 2, 2))


def _fields(made):
    return {name: getattr(made, name) for name in made.__dataclass_fields__}
