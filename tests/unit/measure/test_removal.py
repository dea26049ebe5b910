import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from driftmap.core.errors import MeasureError
from driftmap.measure.removal import (
    output_directions,
    without_behaviour,
    without_last,
    without_top,
)

SHAPES = [(6, 6), (9, 5), (4, 8)]


def data(shape, *, tokens=40, seed=0, spread=1.0):
    """A matrix and inputs whose sizes differ from column to column."""
    draw = torch.Generator().manual_seed(seed)
    W = torch.randn(shape, generator=draw, dtype=torch.float64)
    X = torch.randn(tokens, shape[1], generator=draw, dtype=torch.float64)
    return W, X * torch.logspace(0, spread, shape[1], dtype=torch.float64)


def directions(W, X):
    return output_directions(W, X.T @ X, len(X))


def svd(W, X):
    """The way that stacks all outputs."""
    _, strengths, V = torch.linalg.svd(X @ W.T, full_matrices=False)
    most = min(W.shape)
    return strengths[:most], V[:most].T


def projector(V):
    return V @ V.T


@pytest.mark.parametrize("shape", SHAPES)
def test_directions_are_those_of_the_stacked_outputs(shape):
    W, X = data(shape)
    found = directions(W, X)
    strengths, V = svd(W, X)
    assert found.rank == found.most == min(shape)
    torch.testing.assert_close(found.energies, strengths**2, rtol=1e-9, atol=0)
    for count in range(1, found.most + 1):
        torch.testing.assert_close(
            projector(found.vectors[:, :count]), projector(V[:, :count])
        )


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("count", [1, 3])
def test_removing_the_top_is_what_the_stacked_outputs_say(shape, count):
    W, X = data(shape)
    V = svd(W, X)[1][:, :count]
    found = without_top(W, directions(W, X), count)
    torch.testing.assert_close(found, W - projector(V) @ W)
    assert (torch.linalg.svdvals(found) > 1e-9).sum() == min(shape) - count


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("count", [1, 3])
def test_dropping_the_last_is_what_the_stacked_outputs_say(shape, count):
    W, X = data(shape)
    V = svd(W, X)[1][:, : min(shape) - count]
    found = without_last(W, directions(W, X), count)
    torch.testing.assert_close(found, projector(V) @ W)


def test_dropping_the_last_is_the_best_fit_of_its_rank():
    """Eckart and Young: no other matrix of that rank comes closer to Y."""
    W, X = data((6, 6))
    kept = without_last(W, directions(W, X), 2)
    U, S, V = torch.linalg.svd(X @ W.T, full_matrices=False)
    best = U[:, :4] * S[:4] @ V[:4]
    torch.testing.assert_close(X @ kept.T, best)


@pytest.mark.parametrize("shape", SHAPES)
def test_removing_nothing_changes_no_bit(shape):
    W, X = data(shape)
    found = directions(W, X)
    most = min(shape)
    assert torch.equal(without_top(W, found, 0), W)
    assert torch.equal(without_last(W, found, 0), W)
    assert torch.equal(without_behaviour(W, found, found, (0, 2)), W)
    assert torch.equal(without_behaviour(W, found, found, (2, most)), W)


@given(st.sampled_from(SHAPES), st.integers(0, 4), st.integers(0, 99))
def test_removing_twice_is_removing_once(shape, count, seed):
    W, X = data(shape, seed=seed)
    found = directions(W, X)
    for remove in (without_top, without_last):
        once = remove(W, found, count)
        torch.testing.assert_close(remove(once, found, count), once)


@given(
    st.sampled_from(SHAPES), st.integers(0, 4), st.integers(0, 4), st.integers(0, 99)
)
def test_what_utility_uses_stays_as_it_is(shape, utility_rank, behaviour_rank, seed):
    W, X = data(shape, seed=seed)
    other = data(shape, seed=seed + 1)[1].flip(1)
    behaviour, utility = directions(W, X), directions(W, other)
    ranks = (utility_rank, behaviour_rank)
    changed = without_behaviour(W, behaviour, utility, ranks)
    spared = utility.vectors[:, : utility.most - utility_rank]
    torch.testing.assert_close(spared.T @ changed, spared.T @ W)
    bound = min(utility_rank, behaviour.most - behaviour_rank)
    strengths = torch.linalg.svdvals(changed - W)
    assert (strengths > 1e-9).sum() <= bound


@pytest.mark.parametrize("shape", SHAPES)
def test_the_orthogonal_projection_is_that_of_whole_projectors(shape):
    W, X = data(shape)
    other = data(shape, seed=1)[1].flip(1)
    V_s, V_u = svd(W, X)[1], svd(W, other)[1]
    most = min(shape)
    safety, useful = projector(V_s[:, : most - 1]), projector(V_u[:, : most - 2])
    expected = W - (torch.eye(shape[0], dtype=torch.float64) - useful) @ safety @ W
    found = without_behaviour(W, directions(W, X), directions(W, other), (2, 1))
    torch.testing.assert_close(found, expected)


def test_the_share_of_energy_is_that_of_the_outputs():
    W, X = data((6, 6))
    found = directions(W, X)
    strengths = svd(W, X)[0]
    expected = float((strengths[:2] ** 2).sum() / (strengths**2).sum())
    assert found.energy_share(2) == pytest.approx(expected, rel=1e-9)
    left = X @ without_top(W, found, 2).T
    assert 1 - found.energy_share(2) == pytest.approx(
        float(left.norm() ** 2 / (X @ W.T).norm() ** 2)
    )
    assert found.energy_share(0) == 0
    assert found.energy_share(found.rank) == pytest.approx(1)


def test_outputs_that_are_all_zero_have_no_direction():
    found = output_directions(torch.zeros(3, 2), torch.eye(2).double(), 5)
    assert found.rank == 0
    assert found.energy_share(0) == 0


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_few_tokens_tell_few_directions_apart(dtype):
    W, X = data((6, 6), tokens=4)
    narrow = X.to(dtype)
    found = output_directions(W, (narrow.T @ narrow).double(), 4)
    assert found.rank == 4
    assert without_top(W, found, 4) is not None
    message = (
        "layers.0.q: 5 of 6 directions are asked for, but the 4 tokens that were seen "
        "tell 4 apart; take more samples or fewer directions"
    )
    with pytest.raises(MeasureError, match=message):
        without_top(W, found, 5, "layers.0.q")
    with pytest.raises(MeasureError, match="5 of 6 directions"):
        without_last(W, found, 1)
    with pytest.raises(MeasureError, match="5 of 6 directions"):
        without_behaviour(W, found, found, (3, 1))
    with pytest.raises(MeasureError, match="6 of 6 directions"):
        without_behaviour(W, found, found, (3, 0))


def test_repeated_tokens_tell_no_more_directions_apart():
    W, X = data((6, 6), tokens=3)
    X = X.repeat(50, 1).float()
    assert output_directions(W, (X.T @ X).double(), len(X)).rank == 3


def test_inputs_a_million_times_smaller_are_not_blurred_away():
    """Massive activations: float32 products, and a direction far below the largest."""
    W, X = data((6, 6), tokens=200, spread=6.0)
    narrow = X.float()
    found = output_directions(W, (narrow.T @ narrow).double(), len(X))
    assert found.rank == 6
    strengths, V = svd(W, X)
    torch.testing.assert_close(found.energies, strengths**2, rtol=1e-4, atol=0)
    for count in range(1, 7):
        torch.testing.assert_close(
            projector(found.vectors[:, :count]), projector(V[:, :count]),
            rtol=0, atol=1e-4,
        )  # fmt: skip


def test_the_same_data_give_the_same_bytes():
    W, X = data((9, 5))
    first, again = (without_top(W, directions(W, X), 2) for _ in range(2))
    assert torch.equal(first, again)
