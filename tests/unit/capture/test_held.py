import numpy as np
import pytest
import torch

from driftmap.capture.held import holding
from driftmap.capture.scaling import BatchShape, fit_scaling


def test_what_is_kept_counts_and_what_is_dropped_does_not():
    with holding() as moments:
        kept = torch.ones(10)
        dropped = torch.ones(1000)
        del dropped
        kept.add_(1)
    assert moments[-1] == 40
    assert max(moments) == 4040


def test_views_and_given_tensors_take_nothing():
    given = torch.ones(10)
    with holding() as moments:
        views = [given[2:], given.view(2, 5), given.add_(1)]
    assert views
    assert set(moments) == {0}


def test_memory_that_nothing_has_written_takes_nothing():
    with holding() as moments:
        buffer = torch.empty(100, 100)
        torch.mm(torch.ones(10, 3), torch.ones(3, 5), out=buffer[:10, :5])
    assert moments[0] == 0
    assert moments[-1] == 4 * 10 * 5 + 4 * (10 * 3 + 3 * 5)


def test_the_backward_pass_counts():
    weight = torch.ones(50, 50, requires_grad=True)
    with holding() as moments:
        loss = weight.mul(2).sum()
        loss.backward()
    assert moments[-1] == weight.grad.nbytes + 4 + 4  # the sum and its gradient


def test_a_peak_is_that_of_the_moment_that_is_largest_on_the_large_shape():
    def held(rows, tokens):
        return [1000 + rows, 8 * rows * tokens, rows * tokens**2]

    small = [(2, 4), (3, 4), (2, 8), (2, 12)]
    shapes = [BatchShape(num_samples=r, num_tokens=t) for r, t in small]
    scaling = fit_scaling(shapes, [held(*pair) for pair in small])
    for rows, tokens in [(1, 1), (16, 7), (16, 700)]:
        shape = BatchShape(num_samples=rows, num_tokens=tokens)
        assert scaling.peak([shape]) == pytest.approx(max(held(rows, tokens)), rel=1e-6)


def test_pieces_with_other_operations_are_compared_by_their_peaks():
    shapes = [BatchShape(num_samples=1, num_tokens=n) for n in (1, 2, 3)]
    scaling = fit_scaling(shapes, [[1] * n + [10 * n] for n in (1, 2, 3)])
    far = scaling.peak([BatchShape(num_samples=1, num_tokens=100)])
    assert np.isclose(far, 1000)
